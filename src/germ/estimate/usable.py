"""What every estimate asks of samples before it reads a number off them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from germ.diagnostics import MIN_DRAWS
from germ.errors import GermError, Status


def usable(samples: xr.Dataset, *needed: str, drop_failed: bool = False) -> xr.Dataset:
    """The chains of `samples` that are ok, with the variables that are needed.

    Args:
        samples: What `germ.sample` or `germ.load` returned.
        needed: Names of variables.
        drop_failed: Leave out chains whose status is not ok, instead of refusing.

    Returns:
        A selection of `samples`.

    Raises:
        GermError: No samples, a variable is missing, a chain failed and `drop_failed` is false,
            none is left, or there are fewer than four draws.
    """
    if "statuses" not in samples.attrs:
        raise GermError("expected samples as germ.sample returns them; their attributes are gone")
    labels = samples["chain"].values.tolist() if "chain" in samples.coords else []
    names = samples.attrs["statuses"]
    statuses = {i: name for i, name in enumerate(names) if i in labels or not labels}
    ok = [i for i, name in statuses.items() if Status[name].ok]
    if len(ok) < len(statuses) and not (drop_failed and ok):
        failed = ", ".join(f"{i}: {name}" for i, name in statuses.items() if i not in ok)
        raise GermError(
            f"expected every chain to be ok; got {failed}. Sample again with a smaller step"
            + (", or leave these chains out (drop_failed=True)" if ok else "")
        )
    for name in needed:
        if name not in samples:
            raise GermError(
                f"expected samples with a variable {name!r}; "
                f"got {sorted(map(str, samples.data_vars))}"
            )
    if samples.sizes.get("draw", 0) < MIN_DRAWS:
        raise GermError(f"expected at least {MIN_DRAWS} draws; got {samples.sizes.get('draw', 0)}")
    return samples.sel(chain=ok)


def same_posterior(runs: Sequence[xr.Dataset]) -> None:
    """Refuse runs that differ in more than nβ, as far as their attributes tell.

    Raises:
        GermError: Another anchor, localization, data or set of moving coordinates.
    """
    for name in ("localization", "num_examples", "num_coordinates", "anchor_loss"):
        values = [float(run.attrs[name]) for run in runs]
        if not np.allclose(values, values[0], rtol=1e-6, atol=1e-12):
            raise GermError(
                f"expected runs of one posterior that differ in nbeta alone; {name} is "
                f"{', '.join(f'{value:g}' for value in values)}"
            )


def combined_error(
    weights: Sequence[float], errors: Sequence[float], seeds: Sequence[int]
) -> float:
    """Standard error of a weighted sum over runs.

    Runs of one seed see the same noise and the same batches, so their errors may add up: then the
    sum of their absolute values stands. Runs with seeds of their own are independent.
    """
    parts = np.abs(np.asarray(weights) * np.asarray(errors))
    independent = len(set(seeds)) == len(seeds)
    return float(np.sqrt(np.square(parts).sum()) if independent else parts.sum())
