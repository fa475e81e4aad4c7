"""A reference checked against the No-U-Turn sampler of a kept library, BlackJAX.

    python -m benchmarks.truth.nuts [--case WORDS]     where blackjax is installed beside germ

The posterior of a deep linear net is written down again in JAX, from the second moments of the data
alone: another sampler, another code of the loss, another machine for the gradients. The outcome is
kept with the reference. (pip install blackjax==1.7.1 jax==0.10.2; nothing else of germ needs them.)
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from benchmarks.truth.cases import CASES
from benchmarks.truth.linear import Linear
from benchmarks.truth.references import PATH, load
from germ.diagnostics import average

CHAINS, WARMUP, DRAWS = 4, 600, 1000


def nuts(case: Linear) -> dict[str, Any]:
    """E[nβ(L_n(w) − L_n(w*))] by NUTS with an adapted diagonal metric, in double precision."""
    import blackjax  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    inputs, targets = (x.double().numpy() for x in case.data())
    second = jnp.asarray(inputs.T @ inputs / len(inputs))
    cross = jnp.asarray(targets.T @ inputs / len(inputs))
    anchor = [jnp.asarray(p.detach().double().numpy()) for p in case.truth().parameters()]

    def rise(weights: Any) -> Any:
        product = weights[0]
        for weight in weights[1:]:
            product = weight @ product
        return jnp.sum((product @ second) * product) - 2 * jnp.sum(product * cross)

    base = rise(anchor)

    def energy(weights: Any) -> Any:
        return case.nbeta * (rise(weights) - base)

    def log_density(weights: Any) -> Any:
        away = sum(jnp.sum((w - a) ** 2) for w, a in zip(weights, anchor, strict=True))
        return -energy(weights) - 0.5 * case.localization * away

    def chain(key: Any) -> Any:
        warm, run = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)
        (state, found), _ = adaptation.run(warm, anchor, WARMUP)
        step = blackjax.nuts(log_density, **found).step

        def one(state: Any, key: Any) -> Any:
            state, about = step(key, state)
            return state, (energy(state.position), about.is_divergent)

        return jax.lax.scan(one, state, jax.random.split(run, DRAWS))[1]

    began = time.time()
    keys = jax.random.split(jax.random.key(0), CHAINS)
    parts = [jax.jit(chain)(key) for key in keys]
    energies = np.stack([np.asarray(part[0]) for part in parts])
    found = average(energies)
    return {
        "sampler": f"NUTS, blackjax {blackjax.__version__}",
        "value": found.mean,
        "error": found.standard_error,
        "ess": found.ess,
        "rhat": found.rhat,
        "divergences": int(sum(int(np.asarray(part[1]).sum()) for part in parts)),
        "chains": CHAINS,
        "draws": DRAWS,
        "seconds": time.time() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="6-4-6, rank 2", help="words of a linear case's name")
    settings = parser.parse_args()
    for case in CASES:
        if not isinstance(case, Linear) or settings.case not in case.name:
            continue
        found = nuts(case)
        known = load()
        entry = known[case.key]
        entry["nuts"] = found
        PATH.write_text(json.dumps(known, indent=1, ensure_ascii=False))
        print(
            f"{case.name}: NUTS {found['value']:.3f} ± {found['error']:.3f} "
            f"(R̂ {found['rhat']:.3f}, {found['divergences']} divergences, "
            f"{found['seconds']:.0f} s); the reference {entry['value']:.3f} ± {entry['error']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
