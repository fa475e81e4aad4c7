r"""Patterning: data weights that move components' response by a wished amount.

Susceptibilities are the linear response of components to the data (arXiv 2601.13548). Where the
loss is tilted towards data sets d,

$$ L_h = L + \sum_d h_d (\ell_d - L), \qquad
   \frac{\partial \hat\lambda_C}{\partial h_d} = (n\beta)^2 \chi_{Cd}, $$

so a wished change $t$ of $\hat\lambda_C = n\beta\langle\phi_C\rangle$ is a linear system
$(n\beta)^2 \chi h = t$. It is solved by the smallest $h$ (pseudoinverse), or by the smallest within
bounds. Directions in which $\chi$ is no larger than its own noise are left out: inverted, they
would be the largest part of the answer.

Linear response speaks of the posterior around *this* w*. What retraining does is another question:
`germ experiment patterning` measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from germ.errors import GermError

METHODS = ("constrained", "min_norm")

NUM_NOISE, NOISE_QUANTILE = 200, 0.95
"""Simulated matrices of errors alone; singular values below the quantile of their largest are
taken for noise."""

TOLERANCE = 0.01
"""Share of the wished change that may be left undone before it counts as not feasible."""


@dataclass(frozen=True)
class Pattern:
    """Data weights and what they are predicted to do.

    Attributes:
        weights: Share of each data set in the new mixture, (probe,); non-negative. What is missing
            to 1 is the share of training data that is in none of them.
        base: Shares before, (probe,).
        tilt: h, (probe,): weights = base·(1 − Σh) + h.
        target: Wished change of λ̂, (component,); NaN where nothing was wished.
        predicted: Change of λ̂ of every component, (component,): (nβ)²·χ·h.
        predicted_error: Its standard error, from those of χ, taken as independent between data
            sets. Since h was chosen from the same χ, it is a lower bound.
        residual: Norm of predicted − target over the wished components.
        rank: Directions of χ above the noise that were used.
        noise: Largest singular value, in units of λ̂, that errors alone have.
        method: How it was found.
    """

    weights: xr.DataArray
    base: xr.DataArray
    tilt: xr.DataArray
    target: xr.DataArray
    predicted: xr.DataArray
    predicted_error: xr.DataArray
    residual: float
    rank: int
    noise: float
    method: str

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        named = {
            field: dict(zip(array[array.dims[0]].values.tolist(), array.values.tolist(),
                            strict=True))
            for field in ("weights", "base", "tilt", "target", "predicted", "predicted_error")
            for array in (getattr(self, field),)
        }  # fmt: skip
        rest = {field: getattr(self, field) for field in ("residual", "rank", "noise", "method")}
        return {**named, **rest}

    def __str__(self) -> str:
        """One line: the weights."""
        parts = ", ".join(
            f"{name} {before:.2f}→{after:.2f}"
            for name, before, after in zip(
                self.weights["probe"].values, self.base.values, self.weights.values, strict=True
            )
        )
        return f"weights {parts} ({self.method}, rank {self.rank}, residual {self.residual:.2g})"


class Infeasible(GermError):
    """No weights within the bounds do what was wished; `best` is the nearest.

    Attributes:
        best: The pattern that comes nearest.
    """

    def __init__(self, message: str, best: Pattern) -> None:
        """Keep the best that can be done."""
        super().__init__(message)
        self.best = best


def pattern(
    chi_probe: xr.Dataset | xr.DataArray,
    target: Mapping[str, float],
    *,
    nbeta: float | None = None,
    standard_error: xr.DataArray | None = None,
    base: Mapping[str, float] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    hold: bool = False,
    method: str = "constrained",
    seed: int = 0,
) -> Pattern:
    """Data weights for a wished change of components' λ̂.

    Args:
        chi_probe: χ (component, probe), or what `germ.susceptibility` returned as its data.
        target: The wished change of λ̂ by component; others may do what they like.
        nbeta: nβ of the posterior; by default the data set's.
        standard_error: Of χ, (component, probe); by default the data set's. Without one no
            direction is left out as noise.
        base: Share of each data set in the training data; by default they are all of it, in equal
            parts. Shares that sum to less than 1: the rest is other data.
        bounds: Least and greatest weight of a data set afterwards.
        hold: Whether the components that are not named should stay as they are.
        method: `"constrained"`, the smallest tilt within the bounds, or `"min_norm"`, the
            pseudoinverse.
        seed: Of the simulated errors.

    Returns:
        The weights, and what they are predicted to do to every component.

    Raises:
        Infeasible: No weights within the bounds do it.
        GermError: An unknown component or data set, shares that are none, nothing above the noise.
    """
    problem = _Problem.of(chi_probe, target, nbeta, standard_error, base, bounds, hold, seed)
    if method not in METHODS:
        raise GermError(f"expected a method, one of {', '.join(METHODS)}; got {method!r}")
    if method == "min_norm":
        tilt = problem.free()
        found = problem.pattern(tilt, method)
        low, high = problem.bounds
        weights = problem.weights(tilt)
        if (weights < low - 1e-9).any() or (weights > high + 1e-9).any():
            share = problem.feasible_share(tilt)
            raise Infeasible(
                f"expected weights within {low:g} to {high:g}; the pseudoinverse gives "
                f"{weights.min():.3g} to {weights.max():.3g}: wish for at most {share:.2g} of this "
                'change, or take method="constrained"',
                problem.pattern(share * tilt, method),
            )
        return _judged(problem, found, f"rank {problem.rank}")
    return _judged(problem, problem.pattern(problem.constrained(), method), "the bounds")


def _judged(problem: _Problem, found: Pattern, why: str) -> Pattern:
    if found.residual <= TOLERANCE * np.linalg.norm(problem.wish):
        return found
    wished = found.target.dropna("component")
    best = ", ".join(
        f"{name} {float(found.predicted.sel(component=name)):+.3g} (wished {value:+.3g})"
        for name, value in zip(wished["component"].values.tolist(), wished.values, strict=True)
    )
    raise Infeasible(
        f"no weights do this ({why}); the best gives {best}: wish for less, widen the bounds, or "
        "give more data sets",
        found,
    )


@dataclass(frozen=True)
class _Problem:
    """The linear system, in units of λ̂, and what bounds its solution."""

    response: np.ndarray  # (component, probe)
    error: np.ndarray
    chosen: np.ndarray  # rows that are wished for
    wish: np.ndarray
    base: np.ndarray
    bounds: tuple[float, float]
    components: list[str]
    probes: list[str]
    noise: float
    rank: int
    kept: np.ndarray  # response[chosen] in the directions above the noise
    directions: np.ndarray  # those directions, orthonormal rows (rank, probe)

    @classmethod
    def of(
        cls,
        chi: xr.Dataset | xr.DataArray,
        target: Mapping[str, float],
        nbeta: float | None,
        error: xr.DataArray | None,
        base: Mapping[str, float] | None,
        bounds: tuple[float, float],
        hold: bool,
        seed: int,
    ) -> _Problem:
        if isinstance(chi, xr.Dataset):
            nbeta = float(chi.attrs["nbeta"]) if nbeta is None else nbeta
            error = chi.get("standard_error_probe") if error is None else error
            chi = chi["chi_probe"]
        if nbeta is None:
            raise GermError("expected nbeta, for χ alone does not say at which nβ it was measured")
        if set(chi.dims) != {"component", "probe"}:
            raise GermError(f"expected χ of dims component and probe; got {chi.dims}")
        chi = chi.transpose("component", "probe")
        names = [str(name) for name in chi["component"].values]
        probes = [str(name) for name in chi["probe"].values]
        unknown = [name for name in target if name not in names]
        if unknown or not target:
            raise GermError(
                f"expected wishes for components among {', '.join(names)}; got "
                f"{', '.join(unknown) or 'none'}"
            )
        rows = names if hold else [name for name in names if name in target]
        chosen = np.array([names.index(name) for name in rows])
        response = nbeta**2 * chi.values.astype(np.float64)
        spread = np.zeros_like(response)
        if error is not None:
            given = error.transpose("component", "probe").values.astype(np.float64)
            spread = nbeta**2 * given
        shares = _shares(base, probes)
        # Where data sets are all the data, tilting towards the mixture itself changes nothing:
        # that direction is taken out, and the tilt sums to 0.
        closed = shares.sum() > 1 - 1e-9
        free = np.eye(len(probes)) - (np.full((len(probes),) * 2, 1 / len(probes)) if closed else 0)
        noise = _noise(spread[chosen], free, seed)
        left, values, right = np.linalg.svd(response[chosen] @ free, full_matrices=False)
        above = values > max(noise, 1e-12 * values.max(initial=0.0))
        if not above.any():
            raise GermError(
                f"expected a response above its noise; the largest singular value of (nβ)²χ is "
                f"{values.max(initial=0.0):.3g} and errors alone give {noise:.3g}: measure χ with "
                "more draws"
            )
        kept = (left[:, above] * values[above]) @ right[above]
        wish = np.array([float(target.get(name, 0.0)) for name in rows])
        return cls(
            response, spread, chosen, wish, shares, bounds, names, probes, noise,
            int(above.sum()), kept, right[above],
        )  # fmt: skip

    @property
    def closed(self) -> bool:
        return bool(self.base.sum() > 1 - 1e-9)

    def weights(self, tilt: np.ndarray) -> np.ndarray:
        return self.base * (1 - tilt.sum()) + tilt

    def free(self) -> np.ndarray:
        """The pseudoinverse's tilt."""
        return np.linalg.pinv(self.kept, rcond=1e-10) @ self.wish

    def feasible_share(self, tilt: np.ndarray) -> float:
        """The greatest s ≤ 1 for which s·tilt stays within the bounds."""
        change = self.weights(tilt) - self.base
        low, high = self.bounds
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(change < 0, (low - self.base) / change, (high - self.base) / change)
        room = room[np.abs(change) > 1e-15]
        return float(np.clip(room.min(initial=1.0), 0.0, 1.0))

    def constrained(self) -> np.ndarray:
        """The tilt within the bounds that comes nearest; of equals the smallest."""
        scale = np.linalg.norm(self.kept, 2)
        matrix, wish = self.kept / scale, self.wish / scale
        start = self.feasible_share(self.free()) * self.free()
        near = self._solve(lambda h: _half_square(matrix @ h - wish, matrix), start)
        rows = self.directions
        reached = rows @ near
        # What is reached is held, and the norm made small.
        small = self._solve(
            lambda h: _half_square(h, np.eye(len(h))),
            near,
            {"type": "eq", "fun": lambda h: rows @ h - reached, "jac": lambda _: rows},
        )
        held = np.allclose(rows @ small, reached, rtol=1e-6, atol=1e-9)
        return small if held and np.linalg.norm(small) <= np.linalg.norm(near) else near

    def _solve(self, objective: Any, start: np.ndarray, *more: dict[str, Any]) -> np.ndarray:
        num = len(self.base)
        mixing = np.eye(num) - np.outer(self.base, np.ones(num))
        low, high = self.bounds
        limits = [
            {"type": "ineq", "fun": lambda h: self.weights(h) - low, "jac": lambda _: mixing},
            {"type": "ineq", "fun": lambda h: high - self.weights(h), "jac": lambda _: -mixing},
        ]
        ones = np.ones((1, num))
        total = {"type": "eq" if self.closed else "ineq", "jac": lambda _: -ones}
        total["fun"] = (lambda h: -h.sum()) if self.closed else (lambda h: 1 - h.sum())
        result = minimize(
            objective, start, jac=True, method="SLSQP", constraints=[*limits, total, *more],
            options={"maxiter": 500, "ftol": 1e-14},
        )  # fmt: skip
        return np.asarray(result.x)

    def pattern(self, tilt: np.ndarray, method: str) -> Pattern:
        predicted = self.response @ tilt
        target = np.full(len(self.components), np.nan)
        target[self.chosen] = self.wish
        by_component = {"dims": "component", "coords": {"component": self.components}}
        by_probe = {"dims": "probe", "coords": {"probe": self.probes}}
        weights = self.weights(tilt)
        weights = np.where(np.abs(weights) < 1e-12, 0.0, weights)
        return Pattern(
            xr.DataArray(weights, **by_probe),
            xr.DataArray(self.base, **by_probe),
            xr.DataArray(tilt, **by_probe),
            xr.DataArray(target, **by_component),
            xr.DataArray(predicted, **by_component),
            xr.DataArray(np.sqrt(self.error**2 @ tilt**2), **by_component),
            float(np.linalg.norm(predicted[self.chosen] - self.wish)),
            self.rank,
            self.noise,
            method,
        )


def _half_square(x: np.ndarray, jacobian: np.ndarray) -> tuple[float, np.ndarray]:
    return 0.5 * float(x @ x), jacobian.T @ x


def _shares(base: Mapping[str, float] | None, probes: list[str]) -> np.ndarray:
    if base is None:
        return np.full(len(probes), 1 / len(probes))
    unknown = [name for name in base if name not in probes]
    shares = np.array([float(base.get(name, 0.0)) for name in probes])
    if unknown or (shares < 0).any() or shares.sum() > 1 + 1e-9:
        raise GermError(
            f"expected shares of {', '.join(probes)}, non-negative and at most 1 together; got "
            f"{dict(base)}"
        )
    return shares


def _noise(error: np.ndarray, free: np.ndarray, seed: int) -> float:
    """The 95% quantile of the largest singular value that errors alone have."""
    if not error.any():
        return 0.0
    source = np.random.default_rng(seed)
    largest = [
        np.linalg.norm((error * source.standard_normal(error.shape)) @ free, 2)
        for _ in range(NUM_NOISE)
    ]
    return float(np.quantile(largest, NOISE_QUANTILE))
