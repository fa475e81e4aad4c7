"""SGLD, Leimkuhler–Matthews and BAOAB on quadratics, against closed forms (facts.md §1).

With gradients of a quadratic a sampler's step is a linear map. Its stationary covariance solves a
Lyapunov equation, so these hold to rounding, without a single random number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from germ import heat
from germ.samplers import (
    BAOAB,
    SGLD,
    SGNHT,
    Diagonal,
    Kronecker,
    LeimkuhlerMatthews,
    RMSpropSGLD,
    Rotation,
)

STEPS = [1e-4, 0.1, 1.0, 2.0, 3.0, 3.9]  # ε·d·a; 4 is where steps diverge

CORRELATED = torch.tensor(
    [[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.5]], dtype=torch.float64
)


def linear_map(sampler: Any, curvature: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a step does to the state, to the noise, and to an error of the gradient."""
    d = len(curvature)
    names = [n for n in sampler.state_type._fields if n != "temperature"]  # not linear, no state
    rest = [torch.zeros(0, dtype=torch.float64)] * (len(sampler.state_type._fields) - len(names))
    num_state = d * len(names)
    rows = torch.eye(num_state + 2 * d, dtype=torch.float64)
    *state, noise, error = rows.split([d] * (len(names) + 2), dim=1)
    now = sampler.state_type(*state, *rest)
    then = sampler.step(now, now.position @ curvature + error, noise)
    image = torch.cat([getattr(then, name) for name in names], dim=1).numpy().T
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
    start = torch.zeros(2, 3, dtype=torch.float64)
    one, two = baoab.init(start), lm.init(start)
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


def kinetic_temperature(sampler: BAOAB, curvature: torch.Tensor, gradient_noise: float) -> float:
    """Half of E v² before the noise of a step and half after, in the long run, mean over d.

    A step without noise leaves c·v, v the velocity before; so no formula of the sampler's is used.
    """
    d = len(curvature)
    step, noise, error = linear_map(sampler, curvature)
    injected = noise @ noise.T + gradient_noise * error @ error.T
    state = scipy.linalg.solve_discrete_lyapunov(step, injected)
    after = state[d:, d:]
    before = (step @ state @ step.T + gradient_noise * error @ error.T)[d:, d:] / sampler.memory**2
    return float(np.trace(before + after)) / (2 * d)


@pytest.mark.parametrize("eps", [1e-3, 0.3, 2.0])
@pytest.mark.parametrize("friction", [0.1, 1.0, 5.0])
def test_the_kinetic_temperature_is_one_at_every_step(eps, friction):
    sampler = BAOAB(eps / 2.55, friction=friction)  # 2.55: the largest curvature
    assert kinetic_temperature(sampler, CORRELATED, 0.0) == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("friction", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("eps", [1e-4, 1e-2, 0.3])
def test_gradient_noise_heats_baoab_as_calibration_reckons(eps, friction):
    """On flat directions the positions by `heat.excess`, the velocities by a bit more.

    They differ by (κ/4)(1 − c)/(1 + c).
    """
    scale, s2 = 0.02, 11.0
    sampler = BAOAB(eps, Diagonal(torch.tensor([scale], dtype=torch.float64)), friction)
    expected = heat.excess(eps, friction, scale * s2)
    kick, c = eps * scale * s2, math.exp(-friction * eps**0.5)
    for a, rel in ((1e-3, 1e-3), (1 / scale, 0.2)):
        curvature = torch.tensor([[a]], dtype=torch.float64)
        kinetic = expected + kick / 4 * (1 - c) / (1 + c)
        assert kinetic_temperature(sampler, curvature, s2) - 1 == pytest.approx(kinetic, rel=rel)
        added = stationary_covariance(sampler, curvature, s2) * a - 1
        assert added == pytest.approx(expected, rel=max(rel, 3e-3))


@pytest.mark.parametrize("eps_da", [0.01, 0.3])
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_cooling_takes_the_heat_of_a_known_noise_out(eps_da, share):
    """κ̂ = κ: what is left of the heat is a tenth of it, in slow and in fast directions."""
    eps, s2 = 0.3, 11.0
    kick = share * 2 * math.tanh(eps**0.5)  # so that the excess is the share
    scale = kick / (eps * s2)
    metric = Diagonal(torch.tensor([scale], dtype=torch.float64))
    curvature = torch.tensor([[eps_da / (eps * scale)]], dtype=torch.float64)
    cooled = BAOAB(eps, metric, cooling=torch.tensor([kick], dtype=torch.float64))
    hot = stationary_covariance(BAOAB(eps, metric), curvature, s2) * curvature.numpy() - 1
    left = stationary_covariance(cooled, curvature, s2) * curvature.numpy() - 1
    assert hot > 0.8 * share
    assert abs(left) < 0.12 * share


def rotated() -> Kronecker:
    """A metric of a 2×3 matrix, and the dense matrix that it is."""
    source = torch.Generator().manual_seed(3)
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=source, dtype=torch.float64))[0]
        for size in (2, 3)
    )
    scale = torch.tensor([0.5, 1.1, 2.3, 0.2, 0.9, 1.7], dtype=torch.float64)
    return Kronecker([Rotation((2, 3), left, right)], scale)


def test_a_rotated_metric_is_what_its_factors_say():
    """R = Qₗ ⊗ Qᵣ in row-major order; D = R·diag(d)·Rᵀ; its root is symmetric, of square D."""
    metric, eye = rotated(), torch.eye(6, dtype=torch.float64)
    (_, left, right) = metric.rotations[0]
    turn = torch.kron(left, right)  # pyright: ignore[reportArgumentType]
    dense = turn @ torch.diag(metric.scale) @ turn.T
    torch.testing.assert_close(metric.apply(eye), dense)
    root = metric.sqrt(eye)
    torch.testing.assert_close(root, root.T)
    torch.testing.assert_close(root @ root, dense)
    vector = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(metric.back(metric.into(vector)), vector)


@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_a_rotated_metric_keeps_the_target(eps):
    """BAOAB and Leimkuhler–Matthews: A⁻¹ for any A; SGNHT, its friction fixed, is BAOAB."""
    half = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    a = half @ half.T / 6 + 0.1 * torch.eye(6, dtype=torch.float64)
    for kind in (LeimkuhlerMatthews, BAOAB):
        exact = stationary_covariance(kind(eps / 4, rotated()), a)
        np.testing.assert_allclose(exact, np.linalg.inv(a.numpy()), rtol=1e-8)


def test_sgnht_without_a_thermostat_is_baoab():
    metric = Diagonal(torch.tensor([0.5, 1.1, 2.3], dtype=torch.float64))
    heavy = SGNHT(0.4, metric, friction=0.7, thermal_mass=1e15)
    baoab, source = BAOAB(0.4, metric, 0.7), torch.Generator().manual_seed(0)
    start = torch.zeros(2, 3, dtype=torch.float64)
    one, two = heavy.init(start), baoab.init(start)
    for _ in range(5):
        noise = torch.randn(2, 3, generator=source, dtype=torch.float64)
        one = heavy.step(one, one.position @ CORRELATED, noise)
        two = baoab.step(two, two.position @ CORRELATED, noise)
        torch.testing.assert_close(one.position, two.position)
        torch.testing.assert_close(one.temperature, two.temperature)


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
    samplers += [BAOAB(0.1), BAOAB(0.1, Diagonal(torch.ones(3))), SGNHT(0.1)]
    samplers += [RMSpropSGLD(0.1, nbeta=1.0, localization=1.0)]
    for sampler in samplers:
        state = sampler.init(torch.ones(2, 3))
        state = sampler.step(state, torch.ones(2, 3), torch.ones(2, 3))
        before = [tensor.clone() for tensor in state]
        grad, noise = torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)
        sampler.step(state, grad, noise)
        assert all(torch.equal(old, new) for old, new in zip(before, state, strict=True))
        assert (grad == 2).all() and (noise == 3).all()
