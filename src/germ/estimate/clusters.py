"""Clusters of tokens by their susceptibilities, and how far such clusters are to be believed.

How many clusters there are is a property of the pipeline: of the density estimate, its smallest
cluster, the number of principal components. What can be asked is whether the *same* tokens fall
together when tokens are left out, or when χ is moved by its own error. Both are measured, as the
adjusted Rand index (0 by chance, 1 for the same partition) of the tokens that are in a cluster.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from germ.errors import GermError
from germ.estimate.structure import PCA, pca

MIN_CLUSTER = 20
"""Tokens in the smallest cluster, as published (arXiv 2601.12703)."""

MAX_TOKENS = 5000
"""Tokens that are clustered: a sample of more takes minutes and shows the same."""

NUM_RESAMPLES = 5

NEIGHBOURS = 45
"""Neighbours in the graph of UMAP, as published (arXiv 2601.12703)."""


@dataclass(frozen=True)
class Clusters:
    """HDBSCAN clusters of tokens.

    Attributes:
        labels: Cluster of each clustered token, −1 for none, (token,); its coordinate `token` says
            which tokens they are.
        num_clusters: How many.
        share: Of the tokens that are in a cluster.
        stability_tokens: Mean adjusted Rand index when one token in five is left out.
        stability_noise: The same when χ is moved by its standard error.
        counts: Numbers of clusters found in these repetitions.
    """

    labels: xr.DataArray
    num_clusters: int
    share: float
    stability_tokens: float
    stability_noise: float
    counts: tuple[int, ...]

    def __str__(self) -> str:
        """One line."""
        counts = f"{min(self.counts)} to {max(self.counts)}" if self.counts else "–"
        return (
            f"{self.num_clusters} clusters of {100 * self.share:.0f}% of the tokens; left-out "
            f"tokens: ARI {self.stability_tokens:.2f}; moved by their errors: ARI "
            f"{self.stability_noise:.2f}; {counts} clusters in the repetitions"
        )


def clusters(
    data: xr.Dataset,
    *,
    num_pcs: int | None = None,
    min_cluster: int = MIN_CLUSTER,
    max_tokens: int = MAX_TOKENS,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Clusters:
    """Cluster the tokens of one checkpoint in the space of their significant principal components.

    Args:
        data: As of `germ.susceptibility`, one checkpoint.
        num_pcs: Principal components; None is those above the noise, at least one.
        min_cluster: Tokens in the smallest cluster.
        max_tokens: Of more tokens a random sample is taken.
        num_resamples: Repetitions of each kind; 0 measures no stability.
        seed: Of samples and noise.

    Raises:
        GermError: scikit-learn is missing, or there are several checkpoints.
    """
    hdbscan = optional("sklearn.cluster", "scikit-learn").HDBSCAN
    if "checkpoint" in data["chi"].dims:
        raise GermError("expected one checkpoint to cluster; choose one: data.sel(checkpoint=...)")
    generator = np.random.default_rng(seed)
    num = data.sizes["token"]
    chosen = np.arange(num)
    if num > max_tokens:
        chosen = np.sort(generator.choice(num, max_tokens, replace=False))
    data = data.isel(token=chosen)

    def label(part: xr.Dataset) -> np.ndarray:
        points = significant_scores(pca(part, seed=seed), num_pcs)
        return hdbscan(min_cluster_size=min_cluster, copy=True).fit_predict(points)

    labels = label(data)
    same_tokens, same_noise, counts = [], [], []
    for _ in range(num_resamples):
        kept = np.sort(generator.choice(len(chosen), int(0.8 * len(chosen)), replace=False))
        again = label(data.isel(token=kept))
        same_tokens.append(_agreement(labels[kept], again))
        noise = data["standard_error"] * generator.standard_normal(data["chi"].shape)
        moved = label(data.assign(chi=data["chi"] + noise))
        same_noise.append(_agreement(labels, moved))
        counts += [_count(again), _count(moved)]
    return Clusters(
        xr.DataArray(labels, dims="token", coords={"token": chosen}),
        _count(labels),
        float((labels >= 0).mean()),
        _mean(same_tokens),
        _mean(same_noise),
        tuple(counts),
    )


def embed(
    found: PCA, *, num_pcs: int | None = None, neighbours: int = NEIGHBOURS, seed: int = 0
) -> np.ndarray:
    """UMAP of tokens in two dimensions (McInnes, Healy & Melville 2018, arXiv 1802.03426).

    Distances in it mean little, and clumps can be made by the method: it is a picture.

    Args:
        found: The principal components of one checkpoint.
        num_pcs: How many of them; None is those above the noise.
        neighbours: In its graph.
        seed: Of its optimization.

    Returns:
        Shape (token, 2), float64.

    Raises:
        GermError: umap-learn is missing.
    """
    umap = optional("umap", "umap-learn")
    points = significant_scores(found, num_pcs)
    neighbours = min(neighbours, len(points) - 1)
    # One job: with a seed it uses one anyway, and warns that it does.
    mapper = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
    return np.asarray(mapper.fit_transform(points), dtype=np.float64)


def significant_scores(found: PCA, num_pcs: int | None) -> np.ndarray:
    """Scores (token, pc) of the components above the noise, or of so many.

    Raises:
        GermError: There are several checkpoints.
    """
    if found.scores.ndim != 2:
        raise GermError("expected the principal components of one checkpoint; got several")
    num = max(1, found.num_significant) if num_pcs is None else num_pcs
    return np.ascontiguousarray(found.scores.values[:num].T)


def optional(module: str, package: str) -> Any:
    """A module of the `structure` extra.

    Raises:
        GermError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise GermError(
            f"this needs {package}, which is not installed: pip install 'germ[structure]'"
        ) from error


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _count(labels: np.ndarray) -> int:
    return int(labels.max()) + 1


def _agreement(left: np.ndarray, right: np.ndarray) -> float:
    """Adjusted Rand index of the tokens that are in a cluster both times."""
    both = (left >= 0) & (right >= 0)
    if both.sum() < 2:
        return 0.0
    score = optional("sklearn.metrics", "scikit-learn").adjusted_rand_score
    return float(score(left[both], right[both]))
