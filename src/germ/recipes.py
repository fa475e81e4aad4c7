"""Samplers chosen by name whose numbers only a posterior gives: a metric to fit, a step to find.

A recipe stands where a sampler does, and becomes one when the run sees its posterior. It is a
dataclass of plain settings, so a stored run can tell one recipe from another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from germ.calibrate import NUM_ITERATIONS, NUM_PAIRS, NUM_ROUNDS, STABILITY
from germ.curvature import Curvature
from germ.errors import GermError
from germ.metric import MetricFit
from germ.posterior import LocalPosterior
from germ.rotated import RotatedFit
from germ.samplers import BAOAB, HMC, MALA, SGLD, SGNHT, Diagonal, LeimkuhlerMatthews, RMSpropSGLD
from germ.types import Preconditioner

METRICS = ("identity", "diagonal", "kronecker")

LARGEST_STEPS = {
    "sgld": 0.1, "lm": 0.1, "baoab": 0.5, "sgnht": 0.5, "mala": 0.5, "hmc": 0.5,
}  # fmt: skip
"""ε without unit where none was given, if the largest curvature in the metric allows it."""

MOMENTUM = ("baoab", "sgnht")


@dataclass(frozen=True)
class Resolved:
    """What became of a recipe.

    Attributes:
        sampler: The sampler.
        batch_size: Examples a batch.
        num_gradients: What it cost, in gradients of such a batch.
        reasons: For each setting that was measured, its value and why.
    """

    sampler: Any
    batch_size: int
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Recipe(Protocol):
    """Becomes a sampler at a posterior."""

    def resolve(
        self, posterior: LocalPosterior, *, batch_size: int, seed: int, anchored: bool
    ) -> Resolved:
        """The sampler for `posterior`, the batch it is for, its cost and its reasons.

        The same arguments give the same bits.
        """
        ...


@dataclass(frozen=True)
class Named:
    """A sampler by name, in a metric that is fitted to the posterior.

    Attributes:
        name: `"sgld"`, `"lm"`, `"baoab"`, `"sgnht"`, `"rmsprop"`, `"mala"` or `"hmc"`.
        step_size: ε; None is the largest that suits the sampler and that the largest curvature in
            the metric allows, which needs a metric other than the identity.
        metric: `"identity"`, `"diagonal"` or `"kronecker"`.
        friction: Γ of `baoab` and `sgnht`; None is 1.
        num_leapfrog_steps: L of `hmc`; None is 10.
    """

    name: str
    step_size: float | None = None
    metric: str = "identity"
    friction: float | None = None
    num_leapfrog_steps: int | None = None

    def __post_init__(self) -> None:
        """Check that the settings go together.

        Raises:
            GermError: They do not.
        """
        names = (*LARGEST_STEPS, "rmsprop")
        if self.name not in names:
            raise GermError(f"expected a sampler among {', '.join(names)}; got {self.name!r}")
        if self.metric not in METRICS:
            raise GermError(f"expected a metric among {', '.join(METRICS)}; got {self.metric!r}")
        if self.friction is not None and self.name not in MOMENTUM:
            raise GermError(f"expected no friction for {self.name}, which has no momentum")
        if self.name == "rmsprop" and self.metric != "identity":
            raise GermError("expected no metric for rmsprop, which adapts its own")
        if self.step_size is None and self.metric == "identity":
            raise GermError(
                f"{self.name} without a metric needs a step size, of the order of "
                "1/(nβ·curvature + γ); with the diagonal or kronecker metric it is measured"
            )

    def sampler(self) -> Any | None:
        """The sampler itself where no posterior is needed to make it, else None."""
        if self.metric != "identity" or self.name == "rmsprop" or self.step_size is None:
            return None
        return self._sampler(self.step_size, None)

    def resolve(
        self, posterior: LocalPosterior, *, batch_size: int, seed: int, anchored: bool
    ) -> Resolved:
        """Fit the metric and, where it is left open, the step size."""
        spent, reasons = 0, {}
        metric: Preconditioner | None = None
        if self.metric != "identity":
            metric, spent = fit_metric(self.metric, posterior, batch_size, seed)
            reasons["preconditioner"] = f"{self.metric}: equilibrates the curvature around w*"
        step_size = self.step_size
        if step_size is None:
            assert metric is not None
            largest, more = largest_curvature(posterior, metric, batch_size, seed)
            most = LARGEST_STEPS[self.name]
            step_size = min(most, STABILITY / largest) if largest > 0 else most
            spent += more
            reasons["step_size"] = f"{step_size:.3g}: {STABILITY:g}/{largest:.3g}, at most {most}"
        sampler: Any
        if self.name == "rmsprop":
            sampler = RMSpropSGLD(step_size, posterior.nbeta, posterior.localization)
        else:
            sampler = self._sampler(step_size, metric)
        return Resolved(sampler, batch_size, spent, reasons)

    def _sampler(self, step_size: float, metric: Preconditioner | None) -> Any:
        friction = 1.0 if self.friction is None else float(self.friction)
        if self.name == "baoab":
            return BAOAB(step_size, metric, friction)
        if self.name == "sgnht":
            return SGNHT(step_size, metric, friction)
        if self.name == "hmc":
            return HMC(step_size, self.num_leapfrog_steps or 10, metric)
        kinds = {"sgld": SGLD, "lm": LeimkuhlerMatthews, "mala": MALA}
        return kinds[self.name](step_size, metric)


def fit_metric(
    name: str, posterior: LocalPosterior, batch_size: int, seed: int
) -> tuple[Preconditioner, int]:
    """The metric of that name, fitted around w*, and the gradients it took."""
    if name == "kronecker":
        rotated = RotatedFit(posterior, batch_size, seed)
        return rotated.kronecker(NUM_ROUNDS, NUM_PAIRS), rotated.num_gradients
    fit = MetricFit(posterior, batch_size, seed)
    return Diagonal(1.0 / fit.fit(NUM_ROUNDS, NUM_PAIRS)), fit.num_gradients


def largest_curvature(
    posterior: LocalPosterior, metric: Preconditioner, batch_size: int, seed: int
) -> tuple[float, int]:
    """λmax of D^½ ∇²U D^½ at a draw from N(w*, D), and the gradients it took."""
    curvature = Curvature(posterior, batch_size, seed)
    place = MetricFit(posterior, batch_size, seed).typical(metric)
    return curvature.largest(metric, NUM_ITERATIONS, None, place), curvature.num_gradients
