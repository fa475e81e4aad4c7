"""A data set of susceptibilities with a structure that is known, for tests of what reads one.

    chi[c, t] = a_c·start_t + b_c·repeat_t + mean[c, probe of t] + noise

`start` is 1 where a token begins a word, `repeat` where it occurred before in its example. Half of
the components answer to the first alone, half to the second alone; probes differ in their means.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import islice

import numpy as np
import xarray as xr

from germ.zoo import bundled

CONTEXT = 32
NOISE = 0.02


def fake(
    components: Sequence[str] | int = 8,
    probes: Sequence[str] | int = ("code_python", "literature"),
    tokens: int = 310,
    seed: int = 0,
) -> xr.Dataset:
    """A data set as `germ.susceptibility` makes it: the same variables, coordinates, attributes.

    Args:
        components: Names, or how many (of two layers).
        probes: Names, or how many. A bundled domain has its own text, any other name one of them.
        tokens: Predicted tokens a probe, rounded up to whole examples of `CONTEXT` − 1.
        seed: Of noise and probe means.

    Returns:
        The data set. `attrs["planted"]` has the vectors a, b (component) and the noise.
    """
    if isinstance(components, int):
        half = -(-components // 2)
        components = [f"layers.{i // half}.head.{i % half}" for i in range(components)]
    if isinstance(probes, int):
        probes = [*bundled.domains(), *(f"probe_{i}" for i in range(probes))][:probes]
    generator = np.random.default_rng(seed)
    num_examples = -(-tokens // (CONTEXT - 1))
    rows = np.concatenate([_rows(name, num_examples) for name in probes])
    example = np.tile(np.arange(num_examples), len(probes))
    probe = np.repeat(np.array(probes, dtype=str), num_examples)
    shape = (len(rows), CONTEXT - 1)
    position = np.broadcast_to(np.arange(1, CONTEXT), shape).reshape(-1)
    row = np.broadcast_to(np.arange(len(rows))[:, None], shape).reshape(-1)
    start, repeat = _features(rows)
    a = np.array([1.0 if i % 2 == 0 else 0.0 for i in range(len(components))])
    b = 1.0 - a
    a, b = a * generator.uniform(0.5, 1.5, len(a)), b * generator.uniform(0.5, 1.5, len(b))
    means = 0.3 * generator.standard_normal((len(components), len(probes)))
    error = NOISE * generator.uniform(0.5, 1.5, (len(components), row.size))
    chi = a[:, None] * start + b[:, None] * repeat
    chi += means[:, np.repeat(np.arange(len(probes)), num_examples * (CONTEXT - 1))]
    chi += error * generator.standard_normal(chi.shape)
    by_probe = chi.reshape(len(components), len(probes), -1)
    token = {
        "token_probe": ("token", probe[row]),
        "example": ("token", example[row]),
        "position": ("token", position),
        "token_id": ("token", rows[:, 1:].reshape(-1)),
        "row": ("token", row),
    }
    return xr.Dataset(
        {
            "chi": (("component", "token"), chi.astype(np.float32)),
            "standard_error": (("component", "token"), error.astype(np.float32)),
            "chi_probe": (("component", "probe"), by_probe.mean(-1).astype(np.float32)),
            "standard_error_probe": (
                ("component", "probe"),
                np.full(means.shape, NOISE / by_probe.shape[-1] ** 0.5, dtype=np.float32),
            ),
            "loss_at_anchor": ("token", generator.gamma(2.0, 1.0, row.size).astype(np.float32)),
            "tokens": (("probe_example", "context"), rows),
        },
        coords={
            "component": np.array(components, dtype=str),
            "probe": np.array(probes, dtype=str),
            "example_probe": ("probe_example", probe),
            "example_index": ("probe_example", example),
            **token,
        },
        attrs={
            "model": "fake",
            "nbeta": 30.0,
            "localization": 300.0,
            "centring": "restricted",
            "least_draws": 200,
            "least_groups": 4,
            "settings": {"seed": seed},
            "units": "nats² (the covariance of a loss with a token's loss)",
            "planted": {"a": a.tolist(), "b": b.tolist(), "noise": NOISE},
        },
    )


def fake_checkpoints(steps: Sequence[int] = (0, 100, 1000), **arguments: object) -> xr.Dataset:
    """The same at several checkpoints: the planted structure grows from nothing in proportion."""
    whole = fake(**arguments)  # type: ignore[arg-type]
    grown = []
    for i in range(len(steps)):
        share = i / (len(steps) - 1)
        one = whole[["chi", "chi_probe"]] * share
        same = whole.drop_vars(["chi", "chi_probe", "tokens"])
        grown.append(one.merge(same[["standard_error", "standard_error_probe", "loss_at_anchor"]]))
    found = xr.concat(grown, xr.DataArray(list(steps), dims="checkpoint", name="checkpoint"))
    return found.assign(tokens=whole["tokens"]).assign_attrs(whole.attrs)


def _rows(probe: str, num_examples: int) -> np.ndarray:
    domains = bundled.domains()
    domain = probe if probe in domains else domains[zlib.crc32(probe.encode()) % len(domains)]
    ids: list[int] = []
    for document in islice(bundled.documents(domain, "heldout"), 1000):
        ids += bundled.tokenizer().encode(document).ids
        if len(ids) >= num_examples * CONTEXT:
            break
    return np.array(ids[: num_examples * CONTEXT], dtype=np.int64).reshape(-1, CONTEXT)


def _features(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each predicted token begins a word; whether it came before in its example."""
    names = {i: bundled.tokenizer().id_to_token(i) for i in np.unique(rows).tolist()}
    begins = {i: str(name).startswith("Ġ") for i, name in names.items()}
    start = [begins[i] for i in rows[:, 1:].reshape(-1).tolist()]
    repeat = [
        bool((row[:position] == row[position]).any())
        for row in rows
        for position in range(1, CONTEXT)
    ]
    return np.array(start, dtype=float), np.array(repeat, dtype=float)
