r"""The path of a model through the space of its outputs, in the few directions it moves in most.

The outputs on fixed inputs, $f_{w_t}(D)$, one long vector a checkpoint, of one training run or of
many stacked, are centred and decomposed, $F - \bar F = U S V^\top$; the path is $(F - \bar F) V$.
Ideal predictors do not enter the decomposition and are projected into it afterwards.

Hoogland et al. 2024, arXiv 2402.02364 (essential dynamics); Carroll et al. 2025, arXiv 2501.17745
(joint over runs). Random walks: Antognini and Sohl-Dickstein 2018, arXiv 1806.08805.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from germ.errors import GermError

NUM_COMPONENTS = 3

Outputs = Float[np.ndarray, "checkpoints outputs"]
Path = Float[np.ndarray, "checkpoints components"]


@dataclass(frozen=True, eq=False)
class EssentialDynamics:
    """Paths in the principal components of outputs.

    Coordinates are in units of an output: a path's coordinate is the projection divided by the root
    of the number of outputs, so that distances are root mean squares over outputs, whatever their
    number.

    Attributes:
        paths: By run, where each checkpoint is.
        explained: The share of variance of each component.
        random_walk: The share that it would have of a random walk in many dimensions, of as many
            runs and checkpoints: smooth curves and a few large shares are what chance looks like.
        mean: The mean output, (outputs,).
        directions: Unit vectors, (components, outputs).
    """

    paths: Mapping[str, Path]
    explained: Float[np.ndarray, " components"]
    random_walk: Float[np.ndarray, " components"]
    mean: Float[np.ndarray, " outputs"]
    directions: Float[np.ndarray, "components outputs"]

    def project(self, outputs: Float[np.ndarray, "any outputs"]) -> Path:
        """Where other outputs on the same inputs are, such as those of an ideal predictor.

        Raises:
            GermError: They are not as many as a checkpoint's.
        """
        if outputs.shape[1] != len(self.mean):
            raise GermError(
                f"expected {len(self.mean):,} outputs, those on the same inputs as the "
                f"checkpoints', got {outputs.shape[1]:,}"
            )
        return (outputs - self.mean) @ self.directions.T / np.sqrt(len(self.mean))

    def smoothed(self, width: float) -> dict[str, Path]:
        """The paths, each coordinate averaged with Gaussian weights over neighbouring checkpoints.

        Args:
            width: Standard deviation in checkpoints; of checkpoints evenly spaced in log step this
                is one in log step. At the ends the last one is repeated.

        Raises:
            GermError: It is not positive.
        """
        if not width > 0:
            raise GermError(f"expected a width > 0, in checkpoints, got {width:g}")
        return {
            name: ndimage.gaussian_filter1d(path, width, axis=0, mode="nearest")
            for name, path in self.paths.items()
        }


def essential_dynamics(
    outputs: Mapping[str, Outputs], num_components: int = NUM_COMPONENTS
) -> EssentialDynamics:
    """Decompose the outputs of checkpoints, of one run or of many together.

    Args:
        outputs: By run, the outputs of its checkpoints on the same inputs, flattened, in order.
        num_components: So many directions.

    Returns:
        The paths. The sign of a direction is such that the first run ends on its positive side.

    Raises:
        GermError: There are too few checkpoints, they differ in outputs, or nothing moves.

    Example:
        >>> line = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> essential_dynamics({"run": line}, 1).explained
        array([1.])
    """
    widths = {path.shape[1] for path in outputs.values()}
    total = sum(len(path) for path in outputs.values())
    if len(widths) != 1:
        raise GermError(f"expected outputs on the same inputs for every run, got {sorted(widths)}")
    if not 1 <= num_components < total:
        raise GermError(
            f"expected 1 to {total - 1} components of {total} checkpoints, got {num_components}"
        )
    stacked = np.concatenate([np.asarray(path, dtype=np.float64) for path in outputs.values()])
    if not np.isfinite(stacked).all():
        raise GermError("expected finite outputs; some are NaN or infinite")
    centre = stacked.mean(0)
    stacked -= centre
    left, scales, directions = np.linalg.svd(stacked, full_matrices=False)
    variance = np.square(scales)
    if not variance.sum() > 0:
        raise GermError("expected outputs that change from checkpoint to checkpoint; these do not")
    coordinates = left[:, :num_components] * scales[:num_components]
    first = len(next(iter(outputs.values())))
    signs = np.where(coordinates[first - 1] < 0, -1.0, 1.0)
    coordinates *= signs / np.sqrt(stacked.shape[1])
    ends = np.cumsum([len(path) for path in outputs.values()])[:-1]
    return EssentialDynamics(
        dict(zip(outputs, np.split(coordinates, ends), strict=True)),
        (variance / variance.sum())[:num_components],
        random_walk_shares([len(path) for path in outputs.values()])[:num_components],
        centre,
        directions[:num_components] * signs[:, None],
    )


def path_errors(
    outputs: Mapping[str, Float[np.ndarray, "checkpoints examples outputs"]],
    num_components: int = NUM_COMPONENTS,
) -> dict[str, Path]:
    r"""Standard errors of the paths, from leaving out one example at a time (jackknife).

    $$ \mathrm{se}^2 = \frac{E - 1}{E} \sum_e (\theta_{-e} - \bar\theta)^2 $$

    A component whose share is near another's turns freely between them, and has a large error.

    Args:
        outputs: By run, the outputs of its checkpoints on each example; examples are independent.
        num_components: As of `essential_dynamics`.

    Returns:
        By run, the error of each coordinate of each checkpoint; NaN with a single example.
    """
    stacked = np.concatenate([np.asarray(path, dtype=np.float64) for path in outputs.values()])
    stacked = stacked - stacked.mean(0)
    num, width = stacked.shape[1], stacked.shape[2]
    # What is decomposed is a sum over examples: the products of the checkpoints' outputs.
    grams = np.einsum("seo,teo->est", stacked, stacked)
    whole = _coordinates(grams.sum(0), num * width, num_components)
    lengths = [len(path) for path in outputs.values()]
    if num < 2:
        errors = np.full_like(whole, np.nan)
    else:
        left = [
            _coordinates(grams.sum(0) - gram, (num - 1) * width, num_components) for gram in grams
        ]
        aligned = np.stack([path * np.sign((path * whole).sum(0)) for path in left])
        errors = np.sqrt((num - 1) * aligned.var(0))
    return dict(zip(outputs, np.split(errors, np.cumsum(lengths)[:-1]), strict=True))


def _coordinates(gram: np.ndarray, num_outputs: int, num_components: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(gram / num_outputs)
    largest = slice(None, -num_components - 1, -1)
    return vectors[:, largest] * np.sqrt(values[largest].clip(min=0))


def random_walk_shares(lengths: list[int]) -> Float[np.ndarray, " components"]:
    r"""Shares of variance of independent random walks from one start, in very many dimensions.

    Increments then are orthogonal, so that the shares are the eigenvalues of $C W W^\top C$: W
    sums increments to positions, C centres. One long walk has $6/(\pi k)^2$: 61%, 15%, 7%.

    Args:
        lengths: Checkpoints of each walk.
    """
    size = sum(lengths)
    sums = np.zeros((size, size))
    start = 0
    for length in lengths:
        # The first checkpoint of every run is the start itself.
        sums[start : start + length, start : start + length] = np.tril(np.ones((length, length)))
        sums[:, start] = 0.0
        start += length
    sums -= sums.mean(0)
    variance = np.square(np.linalg.svd(sums, compute_uv=False))
    return variance / max(variance.sum(), np.finfo(float).tiny)
