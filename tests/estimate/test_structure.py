"""PCA and clusters on matrices whose structure is planted, and on noise, which has none."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr
from tests.support_susceptibility import fake, fake_checkpoints

from germ.errors import GermError
from germ.estimate.clusters import clusters, embed, significant_scores
from germ.estimate.structure import by_layer, pca, standardized
from germ.estimate.top_tokens import context, top_tokens


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return fake(tokens=620)


def noise_only(seed: int = 0, *, common: float = 0.0) -> xr.Dataset:
    """χ that is its own error: independent, or shared in part by directions over tokens."""
    source = np.random.default_rng(seed)
    whole = fake(tokens=620)
    error = whole["standard_error"].astype(float)

    def draw() -> np.ndarray:
        few = source.standard_normal((len(error), 3)) @ source.standard_normal((3, error.shape[1]))
        own = source.standard_normal(error.shape)
        return np.sqrt(1 - common) * own + np.sqrt(common / 3) * few

    halves = np.stack([draw(), draw()]) * np.sqrt(2) * error.values
    whole = whole.assign(chi=error.copy(data=halves.mean(0)))
    return whole.assign(chi_half=(("half", "component", "token"), halves))


def test_standardized_columns_and_rows(data: xr.Dataset):
    only_columns = standardized(data["chi"], center_rows=False)
    np.testing.assert_allclose(only_columns.mean("token"), 0, atol=1e-9)
    np.testing.assert_allclose(only_columns.std("token"), 1, rtol=1e-9)
    whole = standardized(data["chi"])
    np.testing.assert_allclose(whole.mean("component"), 0, atol=1e-9)
    # Whatever constant and scale a restriction puts into its column is gone.
    scale = xr.DataArray(np.arange(1.0, 9.0), dims="component")
    np.testing.assert_allclose(standardized(3 + scale * data["chi"]), whole, atol=1e-6)


def test_pca_is_the_singular_value_decomposition(data: xr.Dataset):
    found = pca(data)
    x = standardized(data["chi"]).transpose("token", "component").values
    x = x - x.mean(0)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    num = x.shape[1] - 1
    np.testing.assert_allclose(found.explained, values[:num] ** 2 / (values**2).sum(), rtol=1e-6)
    for pc in range(3):
        sign = np.sign(found.loadings.values[pc] @ right[pc])
        np.testing.assert_allclose(found.loadings.values[pc], sign * right[pc], atol=1e-6)
        expected = sign * left[:, pc] * values[pc]
        np.testing.assert_allclose(found.scores.values[pc], expected, atol=1e-6 * values[0])


def test_the_planted_structure_is_found_and_told_from_noise(data: xr.Dataset):
    found = pca(data)
    # Two features, of which centring the rows leaves the difference, and the probes' means.
    a, b = (np.array(data.attrs["planted"][name]) for name in "ab")
    loading = found.loadings.values[0]
    assert (np.sign(loading[a > 0]) == -np.sign(loading[b > 0][0])).all()
    assert (np.sign(loading[b > 0]) == np.sign(loading[b > 0][0])).all()
    assert 1 <= found.num_significant < found.loadings.sizes["pc"]
    assert found.explained.values[0] > 5 * found.noise_limit
    assert "independent" in found.warnings[0]


def test_noise_alone_has_no_structure():
    significant = [pca(noise_only(seed), seed=seed).num_significant for seed in range(10)]
    # The limit is a 95% quantile; that of two halves is one draw, and the larger of both stands.
    assert np.mean(np.array(significant) > 0) <= 0.3


def test_noise_that_tokens_share_is_seen_by_halves_and_not_by_errors():
    independent, halves = [], []
    for seed in range(12):
        data = noise_only(seed, common=0.5)
        independent.append(pca(data.drop_vars("chi_half"), seed=seed).num_significant)
        halves.append(pca(data, seed=seed).num_significant)
    # Over 60 seeds 45 are fooled by errors alone and 25 with the halves, one draw against one.
    assert np.mean(np.array(independent) > 0) > 0.5
    assert np.mean(np.array(halves) > 0) < np.mean(np.array(independent) > 0)
    assert pca(noise_only(0, common=0.5)).noise_source == "halves"


def test_layers_alone(data: xr.Dataset):
    found = by_layer(data)
    assert list(found) == ["layers.0", "layers.1"]
    for layer, part in found.items():
        assert all(name.startswith(layer) for name in part.loadings["component"].values)
        assert part.loadings.sizes["pc"] == 4


def test_jointly_over_checkpoints():
    data = fake_checkpoints((0, 10, 100), tokens=310)
    found = pca(data)
    assert found.scores.dims == ("pc", "checkpoint", "token")
    spread = found.scores.isel(pc=0).std("token").values
    # The planted structure grows in proportion; at the first checkpoint there is none.
    assert spread[0] < 1e-6 and spread[2] == pytest.approx(2 * spread[1], rel=1e-3)
    with pytest.raises(GermError, match="one checkpoint"):
        significant_scores(found, 2)
    with pytest.raises(GermError, match="choose one"):
        clusters(data)


def test_top_tokens_and_their_context(data: xr.Dataset):
    values = data["chi"].isel(component=0)
    rows = top_tokens(data, values, num=3, window=4)
    assert [row["sign"] for row in rows] == ["+"] * 3 + ["-"] * 3
    assert rows[0]["value"] == float(values.max()) and rows[3]["value"] == float(values.min())
    for row in rows:
        ids = data["tokens"].values[int(data["row"].values[row["token"]])]
        at = row["position"]
        assert ids[at] == row["token_id"]
        assert [*row["left"], row["token_id"], *row["right"]] == ids[
            max(0, at - 4) : at + 5
        ].tolist()
    assert context(data.drop_vars("tokens"), 0) == ([], [])
    with pytest.raises(GermError, match="a value of each of"):
        top_tokens(data, values[:5])


def blobs(spread: float) -> xr.Dataset:
    """Four groups of tokens, far apart where `spread` is small; errors of that size."""
    data = fake(tokens=310)
    source = np.random.default_rng(0)
    centres = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    group = np.arange(data.sizes["token"]) % 4
    values = np.concatenate([centres, 1 - centres])[:, group]
    values = values + spread * source.standard_normal(values.shape)
    return data.assign(
        chi=data["chi"].copy(data=values.astype(np.float32)),
        standard_error=data["standard_error"].copy(
            data=np.full(values.shape, spread, dtype=np.float32)
        ),
    )


def test_clusters_that_are_there_are_found_and_are_stable():
    data = blobs(0.05)
    found = clusters(data, num_resamples=2)
    assert found.num_clusters == 4 and found.share > 0.95
    assert found.stability_tokens > 0.95 and found.stability_noise > 0.95
    group = np.arange(data.sizes["token"]) % 4
    for label in range(4):
        assert len(set(group[found.labels.values == label])) == 1
    sampled = clusters(data, num_resamples=0, max_tokens=200)
    assert sampled.labels.sizes["token"] == 200 and np.isnan(sampled.stability_noise)


def test_clusters_of_noise_are_not_stable():
    data = noise_only().drop_vars("chi_half").isel(token=slice(0, 400))
    found = clusters(data, min_cluster=5, num_resamples=2)
    assert found.num_clusters == 0 or found.share < 0.5 or found.stability_noise < 0.5


def test_what_is_refused(data: xr.Dataset, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(GermError, match="at least 2 components"):
        pca(data.isel(component=[0]))
    with pytest.raises(GermError, match="at least 8 tokens"):
        pca(data.isel(token=slice(0, 5)))
    with pytest.raises(GermError, match="finite"):
        pca(data.assign(chi=data["chi"] * np.nan))
    constant = data["chi"].copy()
    constant[3] = 2.5
    with pytest.raises(GermError, match=r"layers\.0\.head\.3 does not at all"):
        pca(data.assign(chi=constant))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(GermError, match=r"umap-learn.*pip install 'germ\[structure\]'"):
        embed(pca(data))
