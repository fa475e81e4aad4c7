"""Susceptibilities from runs: of posteriors whose answer is known, and of a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support_susceptibility import fake, fake_checkpoints
from torch import Tensor, nn

import germ
from germ import responses
from germ.errors import GermError
from germ.responding import susceptibility
from germ.samplers import HMC, SGLD
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig

DIM = 4
NBETA, LOCALIZATION = 20.0, 5.0


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(DIM, dtype=torch.float64))


def quadratics(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """½w'Aw + a'w of each example (A, a)."""
    matrices, vectors = batch
    w = model.weight
    return 0.5 * torch.einsum("i,nij,j->n", w, matrices, w) + vectors @ w


def examples(num: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randn(num, DIM, DIM, dtype=torch.float64, generator=generator)
    vectors = torch.randn(num, DIM, dtype=torch.float64, generator=generator)
    return roots @ roots.mT / DIM, 0.3 * vectors


def mask(*indices: int) -> dict[str, Tensor]:
    chosen = torch.zeros(DIM, dtype=torch.bool)
    chosen[list(indices)] = True
    return {"weight": chosen}


COMPONENTS: dict[str, Any] = {"first": mask(0, 1), "last": mask(1, 2, 3), "all": None}
MOVING = {"first": [0, 1], "last": [1, 2, 3], "all": [0, 1, 2, 3]}


def closed_form(moving: list[int], data: Any, probe: Any) -> Tensor:
    """χ of each example of the probe in the Gaussian posterior of the moving coordinates."""
    A, a = (part[:, moving] for part in (data[0][:, :, moving], data[1]))
    B, b = (part[:, moving] for part in (probe[0][:, :, moving], probe[1]))
    H, slope = A.mean(0), a.mean(0)
    S = torch.linalg.inv(NBETA * H + LOCALIZATION * torch.eye(len(moving), dtype=H.dtype))
    m = -NBETA * S @ slope

    def covariance(C: Tensor, c: Tensor) -> Tensor:
        quadratic = 0.5 * torch.einsum("ij,nji->n", H @ S, C @ S)
        return quadratic + (c + C @ m) @ S @ (slope + H @ m)

    return covariance(H[None], slope[None]) - covariance(B, b)


DATA = examples(400, seed=0)
PROBES = {"near": examples(6, seed=1), "own": tuple(part[:8] for part in DATA)}


def run(data: Any = DATA, **changes: Any) -> germ.responses.Susceptibility:
    settings: dict[str, Any] = {
        "probes": PROBES, "components": COMPONENTS, "loss": quadratics, "nbeta": NBETA,
        "localization": LOCALIZATION, "chains": 16, "draws": 60, "warmup": 10, "thin": 1,
        "sampler": HMC(0.03, 4),
    }  # fmt: skip
    return susceptibility(Weights(), data, **{**settings, **changes})


def agree(found: germ.responses.Susceptibility, scale: float = 4.0) -> None:
    for name, moving in MOVING.items():
        truth = torch.cat([closed_form(moving, DATA, probe) for probe in PROBES.values()]).numpy()
        one = found.data.sel(component=name)
        error = one["standard_error"].values
        assert np.median(4 * error) < 0.5 * np.abs(truth).max(), "blind"
        assert (np.abs(one["chi"].values - truth) < scale * error).all()
        means = [truth[:6].mean(), truth[6:].mean()]
        assert (
            np.abs(one["chi_probe"].values - means) < scale * one["standard_error_probe"].values
        ).all()


def test_equals_the_closed_form_of_a_gaussian_posterior():
    """An asymmetric one: where probes pull to different sides, signs are told apart."""
    found = run()
    agree(found)
    truth = closed_form(MOVING["all"], DATA, PROBES["near"])
    assert (truth > 0).any() and (truth < 0).any()
    # Neighbouring draws of so short a trajectory hang together, which is said, and does no harm.
    assert "thin" in found.warnings[0]


@pytest.mark.parametrize("gradient", ["anchored", "minibatch"])
def test_batches_leave_no_bias(gradient):
    """With noisy batches of 10 of 400 examples, against the same closed form."""
    sampler = SGLD(0.03)
    found = run(
        sampler=sampler, batch_size=10, gradient=gradient, chains=8, draws=100, thin=4,
        components={"last": COMPONENTS["last"]},
    )  # fmt: skip
    truth = torch.cat([closed_form(MOVING["last"], DATA, probe) for probe in PROBES.values()])
    gap = np.abs(found.data["chi"].values[0] - truth.numpy())
    allowed = 4 * found.data["standard_error"].values[0]
    # Of the step and of gradient noise some bias is left: it heats the chain by a few per cent.
    assert (gap < allowed + 0.1 * truth.abs().max().item()).all()


@pytest.mark.slow
def test_full_centring_takes_the_means_of_the_run_of_all_weights():
    chosen = {"components": {"first": COMPONENTS["first"]}, "draws": 150}
    restricted, full = run(**chosen), run(**chosen, centring="full")
    for name, moving in (("first", MOVING["first"]),):
        H, slope = DATA[0].mean(0), DATA[1].mean(0)

        def means(moving: list[int], H: Tensor = H, slope: Tensor = slope) -> Any:
            block = H[moving][:, moving]
            S = torch.linalg.inv(
                NBETA * block + LOCALIZATION * torch.eye(len(moving), dtype=H.dtype)
            )
            m = -NBETA * S @ slope[moving]

            def of(C: Tensor, c: Tensor) -> Tensor:
                C, c = C[:, moving][:, :, moving], c[:, moving]
                return 0.5 * torch.einsum("nij,ji->n", C, S + torch.outer(m, m)) + c @ m

            return of(H[None], slope[None]), torch.cat([of(*p) for p in PROBES.values()])

        phi, losses = means(moving)
        phi_all, losses_all = means(MOVING["all"])
        change = phi * ((phi - losses) - (phi_all - losses_all))
        truth = torch.cat([closed_form(moving, DATA, p) for p in PROBES.values()]) + change
        one = full.data.sel(component=name)
        assert (np.abs(one["chi"].values - truth.numpy()) < 4 * one["standard_error"].values).all()
    assert full.data.attrs["centring"] == "full"
    gap = np.abs(full.data["chi"] - restricted.data["chi"])
    assert bool((gap > 3 * full.data["standard_error"]).any()), "blind to the centring"


@pytest.mark.parametrize("moving", MOVING.values())
def test_the_closed_form_is_the_response_to_mixing(moving):
    """Exactly, no draws: −Cov(φ, L' − L) is (1/nβ)·d⟨φ⟩/dh, and its sign that of the response."""
    other = examples(20, seed=5)
    (H, slope), (G, turn) = (
        (part[0].mean(0)[moving][:, moving], part[1].mean(0)[moving]) for part in (DATA, other)
    )

    def phi(h: float) -> float:
        curvature, gradient = (1 - h) * H + h * G, (1 - h) * slope + h * turn
        S = torch.linalg.inv(
            NBETA * curvature + LOCALIZATION * torch.eye(len(moving), dtype=H.dtype)
        )
        m = -NBETA * S @ gradient
        return float(0.5 * torch.trace(H @ (S + torch.outer(m, m))) + slope @ m)

    h = 1e-4
    direct = (phi(h) - phi(-h)) / (2 * h * NBETA)
    assert closed_form(moving, DATA, other).mean().item() == pytest.approx(direct, rel=1e-6)


@pytest.mark.slow
def test_sums_equal_the_finite_difference():
    """χ summed over a data set is (1/nβ)·d⟨φ⟩/dh of a posterior with that data mixed in.

    Sampled at h = ±0.05 with common random numbers. The published check has r = .958 and a slope
    of 9.79 for 10 (Baker et al. 2504.18274).
    """
    few = (DATA[0][:200], DATA[1][:200])  # Of so few φ has no noise.
    sets = {f"set {seed}": examples(20, seed) for seed in range(5, 9)}
    chosen = ("first", "all")
    found = (
        run(few, probes=sets, components={name: COMPONENTS[name] for name in chosen}, draws=300)
        .data["chi_probe"]
        .values
    )
    share = 0.05

    def phi(model: Any) -> Tensor:
        return quadratics(model, few).mean()

    def mixed(extra: Any, h: float) -> tuple[Tensor, Tensor]:
        # Weights of examples, exactly: A and a are linear in them, and so is L_n.
        return tuple((1 - h) * own + h * new.mean(0) for own, new in zip(few, extra, strict=True))  # type: ignore[return-value]

    direct = np.zeros_like(found)
    for row, name in enumerate(chosen):
        restriction = COMPONENTS[name]
        for column, extra in enumerate(sets.values()):
            ends = []
            for h in (share, -share):
                posterior = germ.LocalPosterior.from_model(
                    Weights(), mixed(extra, h), loss=quadratics, nbeta=NBETA,
                    localization=LOCALIZATION, restrict=restriction,
                )  # fmt: skip
                samples = germ.sample(
                    posterior, SGLD(0.02), chains=16, draws=60, warmup=60,
                    batch_size=200, observables={"phi": phi},
                )  # fmt: skip
                ends.append(float(samples["phi"].mean()))
            direct[row, column] = (ends[0] - ends[1]) / (2 * share * NBETA)
    r = np.corrcoef(found.ravel(), direct.ravel())[0, 1]
    slope = float((found * direct).sum() / (found * found).sum())
    assert r >= 0.95
    assert abs(slope - 1) <= 0.05


# ---------------------------------------------------------------------------- a language model

CONTEXT, VOCABULARY = 12, 30
QUICK: dict[str, Any] = {
    "chains": 3, "draws": 8, "thin": 2, "warmup": 4, "batch_size": 8, "sampler": SGLD(1e-4)
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> AttentionOnly:
    torch.manual_seed(0)
    config = AttentionOnlyConfig(
        vocab_size=VOCABULARY, context=CONTEXT, num_layers=2, num_heads=2, d_model=8, d_head=4
    )
    return AttentionOnly(config).eval()


def rows(num: int, seed: int, context: int = CONTEXT) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(VOCABULARY, (num, context), generator=generator)}


TEXTS = {"code": rows(3, 1), "law": rows(5, 2)}


def quick(model: nn.Module, **changes: Any) -> germ.responses.Susceptibility:
    settings = {"probes": TEXTS, "components": "layers.1.head.*,embed", **QUICK, **changes}
    return susceptibility(model, rows(40, 0), **settings)


def same(one: germ.responses.Susceptibility, other: germ.responses.Susceptibility) -> None:
    for name in ("chi", "standard_error", "chi_probe", "standard_error_probe", "ess"):
        np.testing.assert_array_equal(one.data[name].values, other.data[name].values)


def test_the_data_set_is_what_others_read(model):
    found, pattern = quick(model).data, fake()
    assert set(pattern.variables) <= set(found.variables)
    for name in pattern.variables:
        assert found[name].dims == pattern[name].dims, name
        assert found[name].dtype.kind == pattern[name].dtype.kind, name
    assert set(pattern.attrs) - {"planted"} <= set(found.attrs)
    assert found["component"].values.tolist() == ["layers.1.head.0", "layers.1.head.1", "embed"]
    predicted = found["tokens"].values[found["row"].values, found["position"].values]
    np.testing.assert_array_equal(predicted, found["token_id"].values)
    law = found.isel(token=(found["token_probe"] == "law").values)
    np.testing.assert_array_equal(
        law["token_id"].values, TEXTS["law"]["input_ids"][:, 1:].reshape(-1)
    )
    assert law["example"].values.max() == 4
    by_probe = found["chi"].groupby("token_probe").mean().sel(token_probe=["code", "law"])
    np.testing.assert_allclose(by_probe.values, found["chi_probe"].values, rtol=1e-3, atol=1e-9)
    for name in ("chi", "standard_error", "chi_probe", "standard_error_probe"):
        assert bool(np.isfinite(found[name]).all())


def test_a_stored_run_is_used_again_and_an_interrupted_one_goes_on(model, tmp_path):
    whole = quick(model)
    seen = 0

    def stop(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        nonlocal seen
        seen += stage == "draws"
        if seen == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(model, folder=tmp_path, progress=stop)
    same(quick(model, folder=tmp_path), whole)

    def never(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        assert index == total, "it sampled again"

    same(quick(model, folder=tmp_path, progress=never), whole)
    assert len(list(tmp_path.glob("*.zarr"))) == 3


def test_an_interrupted_run_of_many_examples_goes_on_to_the_bit(model, tmp_path):
    """Where φ is of some of the examples: chosen by step and chain, not by what came before."""
    settings = {"components": "embed", "chains": 2, "batch_size": 4}

    def stop(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        if stage == "draws" and done >= 7:
            raise KeyboardInterrupt

    def run(**more: Any) -> germ.responses.Susceptibility:
        return susceptibility(model, rows(300, 0), probes=TEXTS, **{**QUICK, **settings, **more})

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, progress=stop)
    same(run(folder=tmp_path), whole)


def test_a_component_does_not_depend_on_those_beside_it(model):
    alone = quick(model, components="layers.1.head.1").data.isel(component=0)
    among = quick(model).data.sel(component="layers.1.head.1")
    np.testing.assert_array_equal(alone["chi"].values, among["chi"].values)


def test_disk_does_not_grow_with_draws(model, tmp_path):
    sizes = []
    many = rows(60, 3)
    for draws in (10, 60):
        folder = tmp_path / str(draws)
        quick(model, folder=folder, draws=draws, components="embed", probes={"a": many})
        arrays = folder.glob("*.zarr/response_chi/**/*")
        sizes.append(sum(path.stat().st_size for path in arrays if path.is_file()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    tokens = 60 * (CONTEXT - 1)
    assert sizes[1] < 6 * tokens


def test_written_and_read(model, tmp_path):
    found = quick(model)
    found.write(tmp_path)
    again = responses.read(tmp_path)
    xr.testing.assert_identical(again.data.drop_attrs(), found.data.drop_attrs())
    assert again.data.attrs["settings"]["chains"]["thin"] == 2
    table = (tmp_path / "susceptibility.csv").read_text().splitlines()
    assert table[0] == "component,probe,chi,standard_error,z" and len(table) == 1 + 3 * 2
    with pytest.raises(GermError, match="expected the folder of a germ susceptibility"):
        responses.read(tmp_path / "nothing")


def test_checkpoints_side_by_side(model):
    one, two = quick(model), quick(model, seed=1)
    both = responses.across({0: one, 10: two})
    assert both.data["chi"].dims == ("checkpoint", "component", "token")
    assert set(both.data.variables) >= set(fake_checkpoints().variables)
    np.testing.assert_array_equal(both.data["chi"].sel(checkpoint=10), two.data["chi"])
    assert both.rows()[-1]["checkpoint"] == 10
    other = quick(model, components="embed")
    with pytest.raises(GermError, match="10 and 0 differ"):
        responses.across({0: one, 10: other})


def test_standardized_columns_and_then_centred_rows():
    data = fake(6, 2)
    plain = responses.Susceptibility(data).standardize()
    assert float(np.abs(plain.mean("component")).max()) < 1e-6
    scale = xr.DataArray([1.0, 10, 100, 5, 1, 1], dims="component")
    scaled = data.assign(chi=3.0 + data["chi"] * scale)
    np.testing.assert_allclose(responses.Susceptibility(scaled).standardize(), plain, atol=1e-4)


def test_a_classifier_has_a_token_an_example():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    x, labels = torch.randn(30, 3), torch.arange(30) % 3
    found = susceptibility(
        net, (x, labels), probes={"few": (x[:7], labels[:7])}, loss="cross_entropy",
        components={"first": "0", "out": "2"}, **QUICK,
    ).data  # fmt: skip
    assert found.sizes["token"] == 7 and "tokens" not in found
    np.testing.assert_array_equal(found["token_id"].values, labels[:7])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chains": 1}, "at least 2 chains"),
        ({"draws": 5}, "at least 8 draws"),
        ({"centring": "median"}, "centring to be one of"),
        ({"probes": {}}, "at least one probe"),
        ({"probes": {"law": rows(3, 1, CONTEXT - 2)}}, "probe 'law'.*10"),
        ({"probes": {"law": {"input_ids": torch.full((2, CONTEXT), 30)}}}, "probe 'law'.*30"),
        ({"probes": {"law": torch.zeros(2, 3)}}, "probe 'law'"),
        ({"components": "layers.1.haed.0"}, "layers.1.head.0"),
        ({"components": {}}, "at least one component"),
    ],
)
def test_what_is_refused(model, changes, said):
    with pytest.raises(GermError, match=said):
        quick(model, **changes)


def test_tokens_of_another_tokenizer_are_doubted(model):
    """They are in the vocabulary, but the model does worse on them than if it knew nothing."""
    sharp = AttentionOnly(model.config).eval()
    sharp.load_state_dict(model.state_dict())
    with torch.no_grad():
        # It expects the token 0 and no other.
        sharp.unembed.weight.zero_()
        sharp.norm.bias.fill_(1.0)
        sharp.norm.weight.zero_()
        sharp.unembed.weight[0] = 1.0
    zeros = {"input_ids": torch.zeros(20, CONTEXT, dtype=torch.long)}
    found = susceptibility(
        sharp, zeros, probes={"same": zeros, "foreign": TEXTS["law"]}, components="unembed", **QUICK
    )
    assert len(found.warnings) >= 1 and "'foreign'" in found.warnings[0]
    assert not any("'same'" in text for text in found.warnings)
