"""What a draw says of a token's covariance: plain draws, reflected ones, and interpolation.

    python -m benchmarks.gaussian_noise [--component layers.1.head.6] [--draws 48]

All from N(w*, 1/γ) around the bundled model, for the same tokens and the same φ (of 128 fixed
examples). Prints rms standard error × √(evaluations of the probes), which no number of draws
changes, and the seconds that each takes for the same error. Gradients are counted in the seconds.

Writes `benchmarks/results/gaussian_noise.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.overhead import RESULTS, machine

NUM_DATA, NUM_PROBE, GROUPS, STEP = 128, 16, 24, 0.25


def main() -> None:
    """Measure and print."""
    from germ import LocalPosterior, prefix
    from germ.zoo import bundled

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--component", default="layers.1.head.6")
    parser.add_argument("--draws", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokens = bundled.tokens("all", context=128)
    data = {"input_ids": tokens[:NUM_DATA]}
    posterior = prefix.shorten(
        LocalPosterior.from_model(bundled.model(), data, restrict=options.component)
    )
    probe = posterior.attach({"input_ids": tokens[300 : 300 + NUM_PROBE]})
    batches = [posterior.batch(i) for i in torch.arange(NUM_DATA).split(32)]
    nbeta, scale = posterior.nbeta, posterior.localization**-0.5

    def phi(w: Tensor) -> Tensor:
        return torch.stack([posterior.example_losses(w, b).mean() for b in batches]).mean()

    def losses(w: Tensor) -> Tensor:
        return posterior.token_losses(w, probe).flatten().double()

    def slope(w: Tensor) -> tuple[float, Tensor]:
        leaf = w.clone().requires_grad_()
        with torch.enable_grad():
            value = phi(leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), gradient

    source = torch.Generator().manual_seed(0)
    seconds = {"plain": 0.0, "reflected": 0.0, "interpolated": 0.0}
    rows: dict[str, list[Any]] = {"phi": [], "losses": [], "moved": []}
    with torch.no_grad():
        origin, anchor = float(phi(posterior.anchor)), losses(posterior.anchor)
        for _ in range(options.draws):
            x = scale * torch.randn(posterior.anchor.shape, generator=source)
            t = float(torch.rand((), generator=source))
            y = t * x + (1 - t * t) ** 0.5 * scale * torch.randn(x.shape, generator=source)
            began = time.perf_counter()
            values = [float(phi(posterior.anchor + s * x)) - origin for s in (1, -1)]
            found = [losses(posterior.anchor + s * x) - anchor for s in (1, -1)]
            passed = time.perf_counter() - began
            seconds["plain"] += passed / 2
            seconds["reflected"] += passed
            began = time.perf_counter()
            moved = []
            for s in (1, -1):
                _, along = slope(posterior.anchor + s * x)
                step = STEP * scale / float(along.norm())
                at = posterior.anchor + s * y
                moved.append((losses(at + step * along) - losses(at - step * along)) / (2 * step))
            seconds["interpolated"] += time.perf_counter() - began
            rows["phi"].append(values)
            rows["losses"].append(torch.stack(found))
            rows["moved"].append(torch.stack(moved) * scale**2)
    values = torch.tensor(rows["phi"], dtype=torch.float64)
    found, moved = torch.stack(rows["losses"]), torch.stack(rows["moved"])

    def covariance(keep: Tensor, ends: int) -> Tensor:
        x, y = values[keep, :ends], found[keep, :ends]
        weight = torch.exp(-nbeta * (x - x.mean()))
        weight = (weight / weight.sum())[..., None]
        mean = (weight * y).sum((0, 1))
        return (weight * x[..., None] * (y - mean)).sum((0, 1))

    def interpolated(keep: Tensor) -> Tensor:
        x = values[keep]
        weight = torch.exp(-nbeta * (x - x.mean()))
        weight = weight / weight.mean()
        bend = weight * (1 - nbeta * (x - (weight * x).mean()))
        return (bend[..., None] * moved[keep]).mean((0, 1))

    table: dict[str, Any] = {}
    for name, evaluations, function in (
        ("plain", 1, lambda keep: covariance(keep, 1)),
        ("reflected", 2, lambda keep: covariance(keep, 2)),
        ("interpolated", 4, interpolated),
    ):
        error = _error(function, options.draws)
        table[name] = {
            "rms_error": error,
            "error_by_root_evaluations": error * (evaluations * options.draws) ** 0.5,
            "seconds_by_squared_error": seconds[name] * error**2,
        }
    for row in table.values():
        for key in ("error_by_root_evaluations", "seconds_by_squared_error"):
            row[f"{key}_ratio"] = row[key] / table["interpolated"][key]
    result = {"component": options.component, "draws": options.draws, "table": table,
              "machine": machine()}  # fmt: skip
    (RESULTS / "gaussian_noise.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, row in table.items():
        print(f"{name:14}", {key: f"{value:.3g}" for key, value in row.items()})


def _error(function: Any, num: int) -> float:
    """Rms standard error over tokens, by leaving out groups of draws."""
    group = torch.arange(num) % GROUPS
    parts = torch.stack([function(group != k) for k in range(GROUPS)])
    variance = (GROUPS - 1) / GROUPS * (parts - parts.mean(0)).square().sum(0)
    return float(variance.mean().sqrt())


if __name__ == "__main__":
    main()
