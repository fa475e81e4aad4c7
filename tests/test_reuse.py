"""A kept calibration is used where it holds, and not where it does not; the reasons say which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.support import Net, net_data, net_posterior, quadratic_posterior

import germ
from germ.calibrate import calibrate
from germ.errors import GermError
from germ.plan import max_batch_size
from germ.recipes import Recipe
from germ.reuse import Kept, Reused, reuse
from germ.samplers import BAOAB, Diagonal

SETTINGS: dict[str, Any] = {"batch_size": 8, "seed": 0, "num_steps": 64}


def keep(posterior: germ.LocalPosterior) -> Kept:
    return Kept.of(posterior, calibrate(posterior, batch_size=8, seed=0, num_steps=64))


def scale_of(sampler: Any) -> torch.Tensor:
    return sampler.preconditioner.scale


def moved(by: float) -> germ.LocalPosterior:
    """The net of `net_posterior` a little further on in its training."""
    model = Net()
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p += by * torch.randn(p.shape, generator=source)
    return germ.LocalPosterior.from_model(
        model, net_data(), loss="mse", nbeta=20.0, localization=10.0
    )


def test_it_comes_back_from_its_file_as_it_went(tmp_path):
    kept = keep(net_posterior(restrict={"outer.weight": torch.eye(3) > 0}))
    again = Kept.load(kept.save(tmp_path / "new" / "kept.safetensors"))
    assert again.identity() == kept.identity()
    assert again.metric_for(net_posterior()) is None, "most weights of the net never moved"


def test_at_the_same_place_it_holds_and_costs_less():
    posterior = net_posterior()
    found = calibrate(posterior, batch_size=8, seed=0, num_steps=64)
    again = reuse(Kept.of(posterior, found), posterior, **SETTINGS)
    assert again.reasons["reused"].startswith("tested at this w*")
    assert again.num_gradients < found.num_gradients / 4
    assert again.batch_size == found.batch_size
    assert again.sampler.step_size == found.sampler.step_size
    assert torch.equal(again.sampler.preconditioner.scale, scale_of(found.sampler))


def test_at_a_neighbouring_checkpoint_and_for_a_component_it_holds():
    kept = keep(net_posterior())
    assert "tested" in reuse(kept, moved(0.02), **SETTINGS).reasons["reused"]
    component = net_posterior(restrict="head")
    found = reuse(kept, component, **SETTINGS)
    assert "tested" in found.reasons["reused"]
    coordinates = net_posterior().coordinates
    start, stop = coordinates.slices()["head.weight"].start, coordinates.slices()["head.bias"].stop
    whole = scale_of(kept.sampler)
    assert torch.equal(found.sampler.preconditioner.scale, whole[start:stop])


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"nbeta": 40.0}, "made at nβ = 20"), ({"localization": 1.0}, "made at γ = 10")],
)
def test_at_another_resolution_it_is_made_anew(changes, why):
    posterior = net_posterior(**changes)
    found = reuse(keep(net_posterior()), posterior, **SETTINGS)
    assert found.reasons["reused"].startswith("no, calibrated anew") and why in str(found.reasons)
    most = max_batch_size(posterior, 8)
    fresh = calibrate(posterior, batch_size=8, seed=0, num_steps=64, max_batch_size=most)
    assert found.sampler.step_size == fresh.sampler.step_size
    assert torch.equal(found.sampler.preconditioner.scale, scale_of(fresh.sampler))


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_where_curvature_is_another_it_is_made_anew(factor):
    """The same posterior but for its curvature: what was kept is stale, and is found to be."""
    settings: dict[str, Any] = {"nbeta": 10.0, "localization": 1e-3}
    kept = keep(quadratic_posterior((1.0, 3.0, 2.0, 5.0), **settings))
    other = quadratic_posterior([factor * c for c in (1.0, 3.0, 2.0, 5.0)], **settings)
    found = reuse(kept, other, **SETTINGS)
    assert "curvature in its metric" in found.reasons["reused"]
    fresh = calibrate(other, batch_size=8, seed=0, num_steps=64)
    assert torch.equal(found.sampler.preconditioner.scale, scale_of(fresh.sampler))


def test_gradient_noise_that_is_larger_here_is_found():
    """A step that was cool with the noise of 24 examples is not with plain batches of one."""
    posterior = net_posterior()
    metric = Diagonal(torch.full((posterior.num_coordinates,), 1 / 30))
    kept = Kept(BAOAB(0.3, metric), 1, 20.0, 10.0, keep(posterior).places)
    found = reuse(kept, posterior, batch_size=24, seed=0, num_steps=64, anchored=False)
    assert "gradient noise" in found.reasons["reused"]


def test_a_recipe_of_it_is_told_from_others_by_what_it_holds():
    one, two = (Reused(keep(posterior)) for posterior in (net_posterior(), moved(0.02)))
    assert isinstance(one, Recipe)
    assert one.kept.identity() != two.kept.identity()
    assert one.kept.identity() == keep(net_posterior()).identity()


def test_files_that_are_no_calibration_are_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("no tensors")
    save_file({"scale": torch.ones(2)}, tmp_path / "weights.safetensors")
    for name, match in (
        ("missing", "cannot read"), ("text", "cannot read"), ("weights.safetensors", "calibration"),
    ):  # fmt: skip
        with pytest.raises(GermError, match=match):
            Kept.load(tmp_path / name)
