r"""χ summed over a data set, against the response to really mixing that data set in.

    python -m benchmarks.susceptibility_slope [--heads 4] [--out benchmarks/results]

For heads C of the bundled model and data sets D, the mean of χ over D should be

$$ \frac1{n\beta}\,\frac{d\langle\varphi_C\rangle_h}{dh}, \qquad L_h = (1-h)\,L + h\,L_D, $$

here the difference of two runs at h = ±`SHARE`, with common random numbers, of all the data at
every step: what is compared is the estimator, not the noise. The published comparison has r = .958
and a slope of 9.79 where theory has 10 (Baker et al. 2504.18274; one-sided, h = 0.1).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import germ
import germ.responding
from germ.components import expand
from germ.losses import causal_lm
from germ.samplers import LeimkuhlerMatthews
from germ.zoo import bundled

CONTEXT, NUM, NUM_PROBE = 24, 48, 24
SHARE, NBETA = 0.1, 30.0
STEP = 5e-4
CHAINS, WARMUP, DRAWS, THIN = 4, 40, 40, 2
"""Of the runs with common random numbers."""
CHI_DRAWS = 64
"""Of χ, from the Gaussian."""


def mixed(share: float) -> Any:
    """The loss of pairs: an example of the data, and all of the other data set in equal parts."""

    def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
        own = causal_lm(model, {"input_ids": batch["own"]}).mean(1)
        other = causal_lm(model, {"input_ids": batch["other"]}).mean(1)
        return (1 - share) * own + share * other

    return loss


def response(model: Any, data: Tensor, other: Tensor, restriction: Any) -> float:
    """(⟨φ⟩₊ₕ − ⟨φ⟩₋ₕ)/(2h·nβ)."""
    pairs = {"own": data, "other": other.repeat(-(-len(data) // len(other)), 1)[: len(data)]}

    def phi(model: Any) -> Tensor:
        return causal_lm(model, {"input_ids": data}).mean()

    ends = []
    for share in (SHARE, -SHARE):
        posterior = germ.LocalPosterior.from_model(
            model, pairs, loss=mixed(share), nbeta=NBETA, localization=300.0, restrict=restriction
        )
        samples = germ.sample(
            posterior, LeimkuhlerMatthews(STEP), chains=CHAINS, draws=DRAWS, warmup=WARMUP,
            thin=THIN, batch_size=len(data), observables={"phi": phi},
        )  # fmt: skip
        ends.append(float(samples["phi"].mean()))
    return (ends[0] - ends[1]) / (2 * SHARE * NBETA)


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=4, help="of each of the two layers")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    begun, model = time.monotonic(), bundled.model()
    data = bundled.tokens("all", context=CONTEXT)[:NUM]
    sets = {
        name: bundled.tokens(name, "heldout", CONTEXT)[:NUM_PROBE] for name in bundled.domains()
    }
    heads = [f"layers.{layer}.head.{head}" for layer in (1, 0) for head in range(options.heads)]
    restrictions = expand(model, heads)
    found = germ.responding.susceptibility(
        model, {"input_ids": data}, probes={k: {"input_ids": v} for k, v in sets.items()},
        components=restrictions, draws=CHI_DRAWS,
    )  # fmt: skip
    chi, error = found.data["chi_probe"].values, found.data["standard_error_probe"].values
    print(f"chi: {time.monotonic() - begun:.0f} s", flush=True)
    direct = np.zeros_like(chi)
    for row, name in enumerate(heads):
        for column, other in enumerate(sets.values()):
            direct[row, column] = response(model, data, other, restrictions[name])
            print(name, list(sets)[column], f"{chi[row, column]:.3e} ± {error[row, column]:.1e}",
                  f"direct {direct[row, column]:.3e}", f"{time.monotonic() - begun:.0f} s",
                  flush=True)  # fmt: skip
    # The direct response, nearly without noise, explains χ: a slope of 1, or 10 in their units.
    slope = float((chi * direct).sum() / (direct * direct).sum())
    inside = np.abs(chi - direct) / error
    summary = {
        "correlation": float(np.corrcoef(chi.ravel(), direct.ravel())[0, 1]),
        "slope": slope,
        "slope_error": float(((direct * error) ** 2).sum() ** 0.5 / (direct * direct).sum()),
        "rms_z": float(np.sqrt((inside**2).mean())),
        "seconds": round(time.monotonic() - begun),
        "heads": heads,
        "sets": list(sets),
        "chi": chi.tolist(),
        "standard_error": error.tolist(),
        "direct": direct.tolist(),
        "settings": {
            "context": CONTEXT, "examples": NUM, "probe_examples": NUM_PROBE, "share": SHARE,
            "nbeta": NBETA, "localization": 300.0, "step_size": STEP, "chains": CHAINS,
            "draws": DRAWS, "thin": THIN,
            "chi_draws": CHI_DRAWS, "chi_methods": found.data.attrs["methods"],
            "torch": torch.__version__,
        },
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "susceptibility_slope.json"
    path.write_text(json.dumps(summary, indent=1) + "\n")
    print(
        {k: summary[k] for k in ("correlation", "slope", "slope_error", "rms_z", "seconds")}, path
    )


if __name__ == "__main__":
    main()
