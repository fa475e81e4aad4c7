"""The options that commands share, in groups, and what each group is for the library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from germ.data import Data
    from germ.hub import Loaded
    from germ.recipes import Recipe
    from germ.setup import AnySampler

DATA_FORMS = (
    ".txt, .jsonl, .json (also .gz, .xz), .parquet, tokens as .npy or .bin, a Hugging Face data "
    "set, bundled:DOMAIN, or package.module:function"
)


class SamplerName(StrEnum):
    """The samplers by the names they have on the command line."""

    AUTO = "auto"
    SGLD = "sgld"
    LM = "lm"
    BAOAB = "baoab"
    SGHMC = "sghmc"
    SGNHT = "sgnht"
    RMSPROP = "rmsprop"
    MALA = "mala"
    HMC = "hmc"


class MetricName(StrEnum):
    """The metrics of samplers chosen by name."""

    IDENTITY = "identity"
    DIAGONAL = "diagonal"
    KRONECKER = "kronecker"


class GradientName(StrEnum):
    """How a gradient is estimated from a batch."""

    ANCHORED = "anchored"
    MINIBATCH = "minibatch"


def _panel(title: str) -> Any:
    def option(*names: str, help: str, **more: Any) -> Any:
        return Option(*names, help=help, rich_help_panel=title, show_default=True, **more)

    return option


_model, _data = _panel("Model"), _panel("Data")
_posterior, _sampling = _panel("Posterior"), _panel("Sampling")
_output = _panel("Output")


@dataclass(frozen=True)
class Loading:
    """How a model and its data are read."""

    loss: Annotated[
        str | None,
        _model("--loss", help="causal_lm, cross_entropy, mse or bce, where the model has none."),
    ] = None
    into: Annotated[
        str | None,
        _model("--into", help="A function that makes the module a bare file of weights fills."),
    ] = None
    device: Annotated[
        str, _model("--device", help="cpu, cuda, cuda:1; auto is cuda where there is one.")
    ] = "auto"
    dtype: Annotated[
        str | None, _model("--dtype", help="float32, bfloat16, ...; by default as stored.")
    ] = None
    trust_remote_code: Annotated[
        bool, _model("--trust-remote-code", help="Run code that comes with a model.")
    ] = False
    tokenizer: Annotated[
        str | None, _data("--tokenizer", help="A tokenizer.json, or a Hugging Face name or folder.")
    ] = None
    context: Annotated[
        int | None,
        _data("--context", help="Tokens in an example; by default the model's, at most 256."),
    ] = None
    max_examples: Annotated[
        int | None,
        _data("--max-examples", "--num-examples", help="Keep the first so many examples."),
    ] = None
    field: Annotated[
        str | None, _data("--field", help="The field or column with the text or the tokens.")
    ] = None
    split: Annotated[str, _data("--split", help="Which split of a Hugging Face data set.")] = (
        "train"
    )
    token_dtype: Annotated[str, _data("--token-dtype", help="Of a .bin file of tokens.")] = "uint16"

    def model(self, name: str) -> Loaded:
        """The model of that name."""
        from germ import hub

        return hub.load(
            name,
            device=self._device(),
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            into=self.into,
            tokenizer=self.tokenizer,
        )

    def data(self, loaded: Loaded, name: str | None) -> Data:
        """The data of that name, or the model's own, for a model."""
        from germ import hub

        data = hub.load_data(
            loaded,
            name,
            context=self.context,
            max_examples=self.max_examples,
            field=self.field,
            split=self.split,
            dtype=self.token_dtype,
        )
        return data.to(self._device())

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Posterior:
    """What is sampled."""

    restrict: Annotated[
        list[str] | None,
        _posterior(
            "--restrict",
            help="Only these weights move: a parameter, a module, a glob; several with commas, "
            "! takes away. By default all.",
        ),
    ] = None
    nbeta: Annotated[
        str,
        _posterior("--nbeta", help="nβ; auto is 30 for language models and n/log n otherwise."),
    ] = "auto"
    localization: Annotated[
        str,
        _posterior("--localization", help="γ; auto is 300 for language models and 1 otherwise."),
    ] = "auto"

    def settings(self) -> dict[str, Any]:
        """Arguments of `LocalPosterior.from_model`."""
        return {
            "restrict": self.restrict or None,
            "nbeta": self.nbeta,
            "localization": self.localization,
        }


@dataclass(frozen=True)
class Sampling:
    """How it is sampled."""

    sampler: Annotated[
        SamplerName,
        _sampling(
            "--sampler",
            help="auto measures the curvature and chooses metric and step. sghmc is baoab; rmsprop "
            "is biased, to compare with the literature.",
        ),
    ] = SamplerName.AUTO
    calibration: Annotated[
        Path | None,
        _sampling(
            "--calibration",
            help="A file of germ calibrate --save, for --sampler auto: tested at each w*, and used "
            "where it holds.",
        ),
    ] = None
    metric: Annotated[
        MetricName,
        _sampling(
            "--metric",
            help="Of a sampler chosen by name: fitted around w* and frozen, or the identity.",
        ),
    ] = MetricName.IDENTITY
    step_size: Annotated[
        float | None,
        _sampling("--step-size", help="ε of a sampler chosen by name; measured under a --metric."),
    ] = None
    friction: Annotated[
        float | None, _sampling("--friction", help="Γ of baoab and sgnht; 1 by default.")
    ] = None
    leapfrog_steps: Annotated[
        int | None, _sampling("--leapfrog-steps", help="Of --sampler hmc; 10 by default.")
    ] = None
    gradient: Annotated[
        GradientName,
        _sampling("--gradient", help="anchored at w*, which noises less, or plain minibatch."),
    ] = GradientName.ANCHORED
    chains: Annotated[
        int | None,
        _sampling("--chains", help="Chains; all start at w*. By default 4, more where it is free."),
    ] = None
    draws: Annotated[
        int | None,
        _sampling(
            "--draws",
            help="Draws of each chain; by default 1000, or 200 of a sequence model, and up to four "
            "times as many until the precision is reached.",
        ),
    ] = None
    precision: Annotated[
        float | None,
        _sampling(
            "--precision",
            help="Draw until the standard error of λ̂ is at most this share of it; 0.025 by default "
            "unless --draws are given.",
        ),
    ] = None
    max_draws: Annotated[
        int | None,
        _sampling("--max-draws", help="The most draws, whatever the precision; by default 4×."),
    ] = None
    warmup: Annotated[
        int | None,
        _sampling(
            "--warmup", help="Steps before the first draw; by default half as many as after."
        ),
    ] = None
    thin: Annotated[int, _sampling("--thin", help="Steps from one draw to the next.")] = 1
    batch_size: Annotated[
        int | None, _sampling("--batch-size", help="Examples a batch; chosen by size by default.")
    ] = None
    seed: Annotated[int, _sampling("--seed", help="Of noise and batches.")] = 0

    def make(self) -> str | AnySampler | Recipe:
        """The sampler, or the recipe that becomes one at its posterior.

        Raises:
            GermError: Options that do not go together, or a step size that is missing.
        """
        from germ.errors import GermError
        from germ.recipes import Named

        name = self.sampler
        if self.leapfrog_steps is not None and name is not SamplerName.HMC:
            raise GermError(f"--leapfrog-steps belongs to --sampler hmc; got --sampler {name}")
        if self.calibration is not None and name is not SamplerName.AUTO:
            raise GermError(f"--calibration belongs to --sampler auto; got --sampler {name}")
        if name is SamplerName.AUTO:
            theirs: dict[str, object] = {"--step-size": self.step_size, "--friction": self.friction}
            if self.metric is not MetricName.IDENTITY:
                theirs["--metric"] = self.metric
            for flag, given in theirs.items():
                if given is not None:
                    raise GermError(
                        f"{flag} belongs to a sampler chosen by name; --sampler auto measures its "
                        "own: leave one of them out"
                    )
            if self.calibration is None:
                return "auto"
            from germ.reuse import Kept, Reused

            return Reused(Kept.load(self.calibration))
        if self.step_size is None and (
            self.metric is MetricName.IDENTITY or name is SamplerName.RMSPROP
        ):
            raise GermError(
                f"--sampler {name} needs a --step-size, of the order of 1/(nβ·curvature + γ); "
                "--sampler auto measures it, as does a --metric other than identity"
            )
        recipe = Named(
            "baoab" if name is SamplerName.SGHMC else name.value,
            self.step_size,
            self.metric.value,
            self.friction,
            self.leapfrog_steps,
        )
        return recipe.sampler() or recipe

    def settings(self) -> dict[str, Any]:
        """Arguments of `germ.sample`."""
        return {
            "chains": self.chains,
            "draws": self.draws,
            "warmup": self.warmup,
            "thin": self.thin,
            "precision": "auto" if self.precision is None else self.precision,
            "max_draws": self.max_draws,
            "batch_size": self.batch_size,
            "gradient": self.gradient.value,
            "seed": self.seed,
        }

    @property
    def num_steps_after_warmup(self) -> int | None:
        """Steps from the first draw to the last, for the progress bar; None where germ decides."""
        return None if self.draws is None else (self.draws - 1) * self.thin + 1


@dataclass(frozen=True)
class Keeping:
    """What becomes of runs that are there already, and of chains that failed."""

    resume: Annotated[
        bool, _output("--resume/--no-resume", help="Go on with a run that was interrupted.")
    ] = True
    fresh: Annotated[bool, _output("--fresh", help="Sample anew, in place of a stored run.")] = (
        False
    )
    drop_failed: Annotated[
        bool, _output("--drop-failed", help="Estimate from the chains that did not fail.")
    ] = False

    def settings(self) -> dict[str, Any]:
        """Arguments of `germ.sample`."""
        return {"fresh": self.fresh, "resume": self.resume}


@dataclass(frozen=True)
class Printing:
    """What is printed."""

    json: Annotated[
        bool, _output("--json", help="JSON on stdout; all else on stderr, without progress bars.")
    ] = False
