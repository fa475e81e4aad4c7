r"""What a matrix of susceptibilities is made of: standardisation, principal components, noise.

Rows are tokens, columns components of the model. Columns are not comparable as they are: in a run
restricted to C the susceptibility carries a constant that depends on C alone. So each column is
made a z-score first, and then each row is centred, so that what remains is how components *differ*
in their answer to a token (Baker et al. 2025, arXiv 2504.18274).

A principal component is a claim, and noise has principal components too. `pca` tells how many are
larger than what noise alone gives, from two sources:

- the standard errors: independent normal noise of that size, through the same standardisation,
- χ from two halves of the chains, where the data have them (`chi_half`): half their difference is
  one draw of the noise of the mean, with all its correlations. Tokens share the draws of a run, so
  their errors are correlated, and the first source alone takes too much for structure. One draw is
  no 95% limit either: what exceeds it narrowly may be noise (`docs/structure.md` has the rates).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import xarray as xr

from germ.errors import GermError

NUM_NOISE, NOISE_QUANTILE = 20, 0.95
"""Simulations of the noise, and the quantile of their largest eigenvalue that is the limit."""

MIN_COMPONENTS, MIN_TOKENS = 2, 8


@dataclass(frozen=True)
class PCA:
    """Principal components of standardised susceptibilities.

    Attributes:
        explained: Share of the variance, (pc,), descending.
        loadings: Unit vectors, (pc, component); the largest entry of each is positive.
        scores: Coordinates of tokens, (pc, token) or (pc, checkpoint, token).
        noise_limit: Share of the variance that the largest component of noise alone has: the 95%
            quantile of simulations from the errors, or what the halves show, if that is more.
        noise_source: `"standard_error"` or `"halves"`: which of the two set the limit.
        num_significant: Leading components above the limit.
        warnings: What a reader must know.
    """

    explained: xr.DataArray
    loadings: xr.DataArray
    scores: xr.DataArray
    noise_limit: float
    noise_source: str
    num_significant: int
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        shares = ", ".join(f"{100 * share:.2f}%" for share in self.explained.values[:3])
        return (
            f"principal components explain {shares}, …; noise alone about "
            f"{100 * self.noise_limit:.2f}% ({self.noise_source}): {self.num_significant} "
            "exceed it"
        )


def standardized(chi: xr.DataArray, *, center_rows: bool = True) -> xr.DataArray:
    r"""Column z-score, then row centring.

    $$ z_{ct} = \frac{\chi_{ct} - \bar\chi_c}{s_c}, \qquad
       x_{ct} = z_{ct} - \tfrac1C \sum_{c'} z_{c't} $$

    Mean and deviation of a column are over all tokens, and over all checkpoints where there are
    several: what grows in training then still grows.

    Args:
        chi: Dims component, token and, if there are several, checkpoint.
        center_rows: Whether to centre rows as well.

    Raises:
        GermError: Too few components or tokens, a NaN, or a component that answers to nothing.
    """
    return _Scaling.of(chi, center_rows=center_rows).apply(chi)


@dataclass(frozen=True)
class _Scaling:
    """The affine map of `standardized`, to be applied to noise as well."""

    mean: xr.DataArray
    deviation: xr.DataArray
    center_rows: bool

    @classmethod
    def of(cls, chi: xr.DataArray, *, center_rows: bool) -> _Scaling:
        for dim, least in (("component", MIN_COMPONENTS), ("token", MIN_TOKENS)):
            if chi.sizes.get(dim, 0) < least:
                raise GermError(
                    f"expected at least {least} {dim}s; got {chi.sizes.get(dim, 0)}: measure more"
                )
        values = chi.astype(np.float64)
        over = [dim for dim in chi.dims if dim != "component"]
        if not bool(np.isfinite(values).all()):
            raise GermError("expected finite susceptibilities; got NaN or infinity: measure anew")
        mean, deviation = values.mean(over), values.std(over)
        still = deviation <= 1e-12 * np.abs(mean)
        if bool(still.any()):
            names = ", ".join(map(str, chi["component"].values[still.values][:3]))
            raise GermError(
                f"expected components that answer to tokens differently; {names} does not at all: "
                "leave it out"
            )
        return cls(mean, deviation, center_rows)

    def apply(self, chi: xr.DataArray, *, noise: bool = False) -> xr.DataArray:
        shifted = chi.astype(np.float64) if noise else chi.astype(np.float64) - self.mean
        scaled = shifted / self.deviation
        return scaled - scaled.mean("component") if self.center_rows else scaled


def pca(data: xr.Dataset, *, center_rows: bool = True, seed: int = 0) -> PCA:
    """Principal components of the susceptibilities of one checkpoint, or jointly of several.

    Jointly, tokens of all checkpoints are rows of one matrix: loadings are shared, and a token has
    a trajectory of scores (Wang et al. 2025, arXiv 2508.00331).

    Args:
        data: As of `germ.susceptibility`: chi (component, token) or (checkpoint, component,
            token), standard_error, and perhaps chi_half (half, …).
        center_rows: As for `standardized`.
        seed: Of the simulated noise.

    Returns:
        The components and what noise alone would give.

    Raises:
        GermError: As `standardized`.
    """
    chi = data["chi"]
    scaling = _Scaling.of(chi, center_rows=center_rows)
    x = scaling.apply(chi)
    rows = _rows(x)  # (tokens, components)
    rows = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    # Centred rows sum to zero over the components: one direction has no variance, and is left out.
    num = rows.shape[1] - int(center_rows)
    values, vectors = values[::-1][:num].clip(min=0.0), vectors[:, ::-1][:, :num].T
    heaviest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    vectors = vectors * np.sign(heaviest)
    total = values.sum()
    if total == 0:
        raise GermError("expected components that differ; after centring nothing is left")
    limit, source, warnings = _noise(data, scaling, seed)
    pc = np.arange(1, num + 1)
    loadings = xr.DataArray(
        vectors, dims=("pc", "component"), coords={"pc": pc, "component": chi["component"].values}
    )
    centred = x - x.mean([dim for dim in x.dims if dim != "component"])
    scores = loadings.dot(centred, dim="component").transpose("pc", ..., "token")
    above = values > limit
    return PCA(
        xr.DataArray(values / total, dims="pc", coords={"pc": pc}),
        loadings,
        scores,
        limit / total,
        source,
        int(num if above.all() else above.argmin()),
        warnings,
    )


def by_layer(data: xr.Dataset, *, center_rows: bool = False, seed: int = 0) -> dict[str, PCA]:
    """Principal components of each layer's components alone (Baker et al., section 5).

    Rows are not centred by default, as published: the first component is then mostly what all
    heads of a layer have in common.

    Args:
        data: As for `pca`; components are called `layers.L…`.
        center_rows: As for `standardized`.
        seed: Of the simulated noise.

    Returns:
        By layer, those of two components or more.
    """
    layers: dict[str, list[str]] = {}
    for name in data["component"].values.tolist():
        match = re.match(r"layers\.\d+", name)
        if match:
            layers.setdefault(match.group(), []).append(name)
    return {
        layer: pca(data.sel(component=names), center_rows=center_rows, seed=seed)
        for layer, names in layers.items()
        if len(names) >= MIN_COMPONENTS
    }


def _rows(x: xr.DataArray) -> np.ndarray:
    return x.transpose(..., "token", "component").values.reshape(-1, x.sizes["component"])


def _noise(data: xr.Dataset, scaling: _Scaling, seed: int) -> tuple[float, str, tuple[str, ...]]:
    """The largest eigenvalue of noise, where it is from, and what to say of it."""
    largest: dict[str, float] = {}
    if "standard_error" in data:
        error = data["standard_error"].astype(np.float64)
        generator = np.random.default_rng(seed)
        found = [
            _top(scaling.apply(error * generator.standard_normal(error.shape), noise=True))
            for _ in range(NUM_NOISE)
        ]
        largest["standard_error"] = float(np.quantile(found, NOISE_QUANTILE))
    if "chi_half" in data:
        half = data["chi_half"].astype(np.float64)
        difference = (half.isel(half=0) - half.isel(half=1)) / 2
        largest["halves"] = _top(scaling.apply(difference, noise=True))
    if not largest:
        return 0.0, "none", ("the data have no errors: nothing tells structure from noise",)
    warnings = ()
    if "halves" not in largest:
        warnings = (
            "the noise limit takes the errors of tokens for independent; they share their draws, "
            "so noise alone can have larger components",
        )
    source = max(largest, key=lambda name: largest[name])
    return largest[source], source, warnings


def _top(noise: xr.DataArray) -> float:
    rows = _rows(noise)
    rows = rows - rows.mean(0)
    return float(np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1])
