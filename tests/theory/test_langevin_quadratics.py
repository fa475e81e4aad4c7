"""SGLD, Leimkuhler–Matthews and BAOAB on quadratics, against closed forms (facts.md §1).

With gradients of a quadratic a sampler's step is a linear map. Its stationary covariance solves a
Lyapunov equation, so these hold to rounding, without a single random number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from germ.calibrate import heat
from germ.samplers import BAOAB, SGLD, Diagonal, LeimkuhlerMatthews

STEPS = [1e-4, 0.1, 1.0, 2.0, 3.0, 3.9]  # ε·d·a; 4 is where steps diverge

CORRELATED = torch.tensor(
    [[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.5]], dtype=torch.float64
)


def linear_map(sampler: Any, curvature: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a step does to the state, to the noise, and to an error of the gradient."""
    d = len(curvature)
    names = sampler.state_type._fields
    num_state = d * len(names)
    rows = torch.eye(num_state + 2 * d, dtype=torch.float64)
    *state, noise, error = rows.split([d] * (len(names) + 2), dim=1)
    now = sampler.state_type(*state)
    then = sampler.step(now, now.position @ curvature + error, noise)
    image = torch.cat(tuple(then), dim=1).numpy().T
    return np.split(image, [num_state, num_state + d], axis=1)  # type: ignore[return-value]


def stationary_covariance(
    sampler: Any, curvature: torch.Tensor, gradient_noise: float = 0.0
) -> np.ndarray:
    """Covariance of the position in the long run; `gradient_noise` is a variance."""
    step, noise, error = linear_map(sampler, curvature)
    injected = noise @ noise.T + gradient_noise * error @ error.T
    return scipy.linalg.solve_discrete_lyapunov(step, injected)[: len(curvature), : len(curvature)]


def spectral_radius(sampler: Any, curvature: torch.Tensor) -> float:
    return float(np.abs(np.linalg.eigvals(linear_map(sampler, curvature)[0])).max())


@pytest.mark.parametrize("eps_a", STEPS)
@pytest.mark.parametrize("a", [0.3, 155.0])
def test_sgld_has_the_variance_of_its_step_size(eps_a, a):
    curvature = torch.tensor([[a]], dtype=torch.float64)
    variance = stationary_covariance(SGLD(eps_a / a), curvature)
    assert variance == pytest.approx(1 / (a * (1 - eps_a / 4)), rel=1e-9)


@pytest.mark.parametrize("eps_a", STEPS)
@pytest.mark.parametrize("a", [0.3, 155.0])
def test_leimkuhler_matthews_is_exact_at_every_stable_step(eps_a, a):
    curvature = torch.tensor([[a]], dtype=torch.float64)
    variance = stationary_covariance(LeimkuhlerMatthews(eps_a / a), curvature)
    assert variance == pytest.approx(1 / a, rel=1e-9)


@pytest.mark.parametrize("eps_a", STEPS)
@pytest.mark.parametrize(("a", "friction"), [(0.3, 0.1), (0.3, 2.0), (155.0, 20.0)])
def test_baoab_is_exact_at_every_stable_step(eps_a, a, friction):
    curvature = torch.tensor([[a]], dtype=torch.float64)
    variance = stationary_covariance(BAOAB(eps_a / a, friction=friction), curvature)
    assert variance == pytest.approx(1 / a, rel=1e-9)


def test_baoab_with_much_friction_is_leimkuhler_matthews():
    """At the same ε: from rest, the same noises lead to the same places."""
    baoab, lm = BAOAB(0.7, friction=1e3), LeimkuhlerMatthews(0.7)
    source = torch.Generator().manual_seed(0)
    one, two = (s.init(torch.zeros(2, 3, dtype=torch.float64)) for s in (baoab, lm))
    for _ in range(5):
        noise = torch.randn(2, 3, generator=source, dtype=torch.float64)
        one = baoab.step(one, one.position @ CORRELATED, noise)
        two = lm.step(two, two.position @ CORRELATED, noise)
        torch.testing.assert_close(one.position, two.position)


def test_baoab_crosses_flat_directions_sooner():
    """The slowest mode of curvatures 1 and 1/100, both at the step that the stiff one allows."""
    curvature = torch.diag(torch.tensor([1.0, 0.01], dtype=torch.float64))
    slow = -1 / np.log(spectral_radius(LeimkuhlerMatthews(0.5), curvature))
    coasting = -1 / np.log(spectral_radius(BAOAB(0.5, friction=0.2), curvature))
    assert slow > 350 and coasting < 30


@pytest.mark.parametrize("kind", [SGLD, LeimkuhlerMatthews, BAOAB])
def test_steps_diverge_from_four_over_the_curvature(kind):
    curvature = torch.tensor([[2.0]], dtype=torch.float64)
    assert spectral_radius(kind(1.999), curvature) < 1
    assert spectral_radius(kind(2.001), curvature) > 1


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_correlated_directions(eps):
    """SGLD: (A(1 − εA/4))⁻¹ as matrices; Leimkuhler–Matthews: A⁻¹."""
    a = CORRELATED.numpy()
    biased = np.linalg.inv(a @ (np.eye(3) - eps * a / 4))
    np.testing.assert_allclose(stationary_covariance(SGLD(eps), CORRELATED), biased, rtol=1e-9)
    for sampler in (LeimkuhlerMatthews(eps), BAOAB(eps)):
        exact = stationary_covariance(sampler, CORRELATED)
        np.testing.assert_allclose(exact, np.linalg.inv(a), rtol=1e-9)


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_a_preconditioner_changes_the_bias_and_not_the_target(eps):
    """In the coordinates D^(-1/2)·w the step is a plain one for the curvature D^(1/2)·A·D^(1/2)."""
    scale = torch.tensor([0.5, 1.1, 2.3], dtype=torch.float64)
    a, root = CORRELATED.numpy(), np.diag(scale.sqrt().numpy())
    metric = root @ a @ root
    biased = root @ np.linalg.inv(metric @ (np.eye(3) - eps * metric / 4)) @ root
    sgld = stationary_covariance(SGLD(eps, Diagonal(scale)), CORRELATED)
    np.testing.assert_allclose(sgld, biased, rtol=1e-9)
    for kind in (LeimkuhlerMatthews, BAOAB):
        exact = stationary_covariance(kind(eps, Diagonal(scale)), CORRELATED)
        np.testing.assert_allclose(exact, np.linalg.inv(a), rtol=1e-9)


@pytest.mark.parametrize("eps_da", [0.1, 1.0, 3.5])
@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_gradient_noise_heats_by_what_the_docstrings_say(eps_da, scale):
    """An error of variance s² on ∇U adds (ε²d²s²/4)/(εda(1 − εda/4)) to either sampler."""
    a, s2 = 7.0, 11.0
    eps = eps_da / (a * scale)
    metric = Diagonal(torch.tensor([scale], dtype=torch.float64))
    curvature = torch.tensor([[a]], dtype=torch.float64)
    heat = eps**2 * scale**2 * s2 / 4 / (eps * scale * a * (1 - eps * scale * a / 4))
    sgld = stationary_covariance(SGLD(eps, metric), curvature, s2)
    assert sgld == pytest.approx(1 / (a * (1 - eps_da / 4)) + heat, rel=1e-9)
    lm = stationary_covariance(LeimkuhlerMatthews(eps, metric), curvature, s2)
    assert lm == pytest.approx(1 / a + heat, rel=1e-9)


@pytest.mark.parametrize("friction", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("eps", [1e-4, 1e-2, 0.3])
def test_gradient_noise_heats_the_slow_directions_of_baoab_as_calibration_reckons(eps, friction):
    """(εds²/4)·(1 + c)/(1 − c) in the limit of a slow direction, a bit more elsewhere."""
    scale, s2 = 0.02, 11.0
    sampler = BAOAB(eps, Diagonal(torch.tensor([scale], dtype=torch.float64)), friction)
    expected = heat(eps, friction, scale * s2)
    for a, rel in ((1e-3, 1e-3), (1 / scale, 0.5)):
        curvature = torch.tensor([[a]], dtype=torch.float64)
        added = stationary_covariance(sampler, curvature, s2) * a - 1
        assert added == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("kind", [SGLD, LeimkuhlerMatthews, BAOAB])
def test_the_mean_is_where_the_gradient_vanishes(kind):
    """U = ½(w − m)ᵀA(w − m): the fixed point of the noiseless step is m, at any step size."""
    mean = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    sampler = kind(0.9, Diagonal(torch.tensor([0.5, 1.1, 2.3], dtype=torch.float64)))
    state, still = sampler.init(torch.zeros_like(mean)), torch.zeros_like(mean)
    for _ in range(400):
        state = sampler.step(state, (state.position - mean) @ CORRELATED, still)
    torch.testing.assert_close(state.position, mean)


def test_a_step_leaves_the_state_it_was_given_alone():
    """The loop keeps old states to fall back on when it is interrupted."""
    samplers: list[Any] = [SGLD(0.1), LeimkuhlerMatthews(0.1), SGLD(0.1, Diagonal(torch.ones(3)))]
    samplers += [BAOAB(0.1), BAOAB(0.1, Diagonal(torch.ones(3)))]
    for sampler in samplers:
        state = sampler.init(torch.ones(2, 3))
        state = sampler.step(state, torch.ones(2, 3), torch.ones(2, 3))
        before = [tensor.clone() for tensor in state]
        grad, noise = torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)
        sampler.step(state, grad, noise)
        assert all(torch.equal(old, new) for old, new in zip(before, state, strict=True))
        assert (grad == 2).all() and (noise == 3).all()
