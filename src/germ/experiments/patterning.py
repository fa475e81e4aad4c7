"""`germ experiment patterning`: do data weights chosen from χ do to heads what χ says they do?

A small attention-only transformer is trained on four domains in equal parts. From its
susceptibilities the data weights are chosen that should move λ̂ of one head up, or down; then it is
trained again on that mixture, and λ̂ measured again, on the unchanged data. Twice: going on from the
trained weights, and from scratch; and once without any training, where the posterior around the
same w* is tilted, which is what χ speaks of. Random mixtures as far from the equal one are the
control, and training on the same mixture with other batches is the noise.

After *Patterning* (arXiv 2601.13548), whose numbers are not public.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from germ.errors import GermError
from germ.estimate.patterning import pattern
from germ.experiments.catalogue import Progress
from germ.experiments.patterning_loop import MODES, VOCAB, Loop, Settings, changes, unit_tilt
from germ.experiments.patterning_page import figure, text
from germ.experiments.patterning_verdict import verdict
from germ.report.page import Page
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig
from germ.zoo.train import TrainSettings

NAME = "patterning"
SUMMARY = "data weights chosen from susceptibilities, retraining, and what it really did"

PRESETS = {
    "quick": Settings(
        AttentionOnlyConfig(VOCAB, context=32, num_heads=2, d_model=32, d_head=16),
        TrainSettings(num_steps=600, batch_size=32, lr=1e-2, warmup=60),
        finetune_steps=150,
        tilt=0.3,
        num_random=2,
        num_replicas=2,
        contexts=32,
        components="layers.1.head.*",
        draws=32,
        chi_draws=64,
    ),
    "small": Settings(
        AttentionOnlyConfig(VOCAB, context=32, num_heads=2, d_model=32, d_head=16),
        TrainSettings(num_steps=800, batch_size=32, lr=1e-2, warmup=80),
        finetune_steps=200,
        tilt=0.3,
        num_random=3,
        num_replicas=2,
        contexts=64,
    ),
    "large": Settings(
        AttentionOnlyConfig(VOCAB, context=64, num_heads=4, d_model=64, d_head=16),
        TrainSettings(num_steps=6000, batch_size=32, lr=4.5e-3, warmup=300),
        finetune_steps=1000,
        tilt=0.3,
        num_random=8,
        num_replicas=4,
        contexts=128,
        draws=192,
        chi_draws=384,
    ),
}

COST = {
    "quick": "about 5 minutes, 1 GiB on 2 CPU cores (estimated)",
    "small": "about 25 minutes, 1 GiB on 2 CPU cores (estimated)",
    "large": "about 10 hours, 2 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, choose, retrain, compare.

    Args:
        settings: A preset.
        out: Results are kept in `out/results`, and taken from there.
        seed: Of everything random.
        progress: Told (stage, done, total).
    """
    loop = Loop(settings, Path(out) / "results", seed)
    equal = np.full(len(loop.domains), 1 / len(loop.domains))
    progress("the model", 0, 1)
    base = _weights(loop, "base", lambda: loop.train(equal))
    progress("susceptibilities", 0, 1)
    found = loop.kept("chi", lambda: loop.chi(base))
    chi = _dataset(found, loop.domains, settings.nbeta)
    heads = [str(name) for name in chi["component"].values]
    slope = settings.nbeta**2 * chi["chi_probe"].values.astype(float)
    slope_error = settings.nbeta**2 * chi["standard_error_probe"].values.astype(float)
    tilts = _tilts(chi, heads, equal, settings, seed)
    at_base = loop.kept("measured-base", lambda: loop.measure(base))
    rows: list[dict[str, Any]] = []
    worst = min(at_base["worth"].values())
    trained = [mode for mode in settings.modes if mode != "same"]
    total, done = len(trained) * (len(tilts) + settings.num_replicas + 1), 0
    for mode in settings.modes:
        start = base if mode == "continued" else None

        def measured(
            name: str, shares: np.ndarray, batches: int = 0, *,
            mode: str = mode, start: AttentionOnly | None = start,
        ) -> Any:  # fmt: skip
            nonlocal done, worst
            progress(f"retraining {MODES[mode]}", done, total)
            done += 1
            found = loop.kept(
                f"measured-{mode}-{name}",
                lambda: loop.measure(loop.train(shares, start=start, batches=batches)),
            )
            worst = min(worst, *found["worth"].values())
            return found

        def row(about: dict[str, Any], after: Any, before: Any, *, mode: str = mode) -> None:
            change, error = changes(after, before)
            rows.append({**about, "mode": mode, "measured": change, "measured_error": error})

        tilted: dict[str, Any] = {}
        if mode == "same":
            given = {tilt["name"]: tilt["tilt"] for tilt in tilts}
            progress(MODES[mode], 0, 1)
            tilted = loop.kept("tilted", lambda given=given: loop.tilted(base, given))
            before = tilted[""]
        else:
            before = at_base if mode == "scratch" else measured("equal", equal)
        for tilt in tilts:
            h, name = np.array(tilt["tilt"]), tilt["name"]
            about = {
                **tilt,
                "predicted": (slope @ h).tolist(),
                "predicted_error": np.sqrt(slope_error**2 @ h**2).tolist(),
            }
            row(about, tilted[name] if tilted else measured(name, equal + h), before)
        for i in range(settings.num_replicas if mode in trained else 0):
            about = {"name": f"replica {i}", "kind": "replica"}
            row(about, measured(f"replica-{i}", equal, i + 1), before)
    progress("done", total, total)
    data = {
        "seed": seed, "heads": heads, "domains": loop.domains, "base": at_base, "rows": rows,
        "slope": slope.tolist(), "slope_error": slope_error.tolist(), "worth": worst,
        "methods": found["method"], "modes": list(settings.modes),
        "verdicts": {
            mode: verdict([[r for r in rows if r["mode"] == mode]], len(heads))
            for mode in settings.modes
        },
    }  # fmt: skip
    return Page(
        "Patterning: data weights chosen to move one head, and what retraining did",
        text(data), {"changes": figure(data)}, data,
    )  # fmt: skip


def _dataset(found: dict[str, Any], domains: list[str], nbeta: float) -> xr.Dataset:
    coords = {"component": found["components"], "probe": domains}
    dims = ("component", "probe")
    variables = {"chi_probe": (dims, found["chi"]), "standard_error_probe": (dims, found["error"])}
    return xr.Dataset(variables, coords=coords, attrs={"nbeta": nbeta})


def _weights(loop: Loop, name: str, make: Any) -> AttentionOnly:
    """A model from its file, or trained and written."""
    from germ.zoo.attention_only import load_checkpoint, save_checkpoint

    path = loop.folder / f"{name}.safetensors"
    if not path.exists():
        save_checkpoint(make(), path, loop.settings.train.num_steps)
    return load_checkpoint(path)


def _tilts(
    chi: xr.Dataset, heads: list[str], base: np.ndarray, settings: Settings, seed: int
) -> list[dict[str, Any]]:
    """Patterns for each head, up and down, and random tilts; all of one norm."""
    found = []
    for i, head in enumerate(heads):
        for sign, word in ((1.0, "up"), (-1.0, "down")):
            # The size of the wish follows from the norm of the tilt: the response is linear.
            small, above = _smallest(chi, head, sign)
            tilt = unit_tilt(small, settings.tilt, base)
            found.append({"name": f"{head}-{word}", "kind": "pattern", "target": i, "sign": sign,
                          "above_noise": above, "tilt": tilt.tolist()})  # fmt: skip
    source = np.random.default_rng([seed, 2601, 13548])
    for i in range(settings.num_random):
        tilt = unit_tilt(source.standard_normal(len(base)), settings.tilt, base)
        found.append({"name": f"random-{i}", "kind": "random", "tilt": tilt.tolist()})
    return found


def _smallest(chi: xr.Dataset, head: str, sign: float) -> tuple[np.ndarray, bool]:
    """The direction of the smallest tilt that moves a head, and whether χ is above its noise."""
    # Wide bounds: only the direction is asked for.
    wide: dict[str, Any] = {"method": "min_norm", "bounds": (-1e9, 1e9)}
    try:
        return pattern(chi, {head: sign}, **wide).tilt.values, True
    except GermError:
        return pattern(
            chi.drop_vars("standard_error_probe"), {head: sign}, **wide
        ).tilt.values, False
