"""The suite. Every case is different in what can go wrong; none was left out for its result."""

from __future__ import annotations

from benchmarks.nets import NETS
from benchmarks.truth.architectures import Blocks, Classifier, Convolutional
from benchmarks.truth.case import DEVELOPMENT, Case
from benchmarks.truth.linear import GENERIC, IDENTITY, Linear
from benchmarks.truth.networks import Relu, Transformer
from benchmarks.truth.polynomial import Polynomial, Term
from benchmarks.truth.quadratic import Quadratic


def _monomial(*powers: int) -> tuple[tuple[Term, ...], ...]:
    return (((1.0, powers),),)


def _origin(dim: int) -> tuple[float, ...]:
    return (0.0,) * dim


QUADRATICS: tuple[Case, ...] = (
    Quadratic(name="d 2", dim=2),
    Quadratic(name="d 10", dim=10),
    Quadratic(name="d 100", dim=100),
    Quadratic(name="d 10, full batch", dim=10, full_batch=True),
    Quadratic(name="d 10, condition 10³", dim=10, condition=1e3),
    Quadratic(name="d 50, condition 10⁴", dim=50, condition=1e4),
    Quadratic(name="d 10, condition 10³, rotated", dim=10, condition=1e3, rotated=True),
    Quadratic(name="d 50, condition 10³, rotated", dim=50, condition=1e3, rotated=True),
    Quadratic(name="d 20, 10 directions flat", dim=20, num_flat=10),
    Quadratic(name="d 10, γ 1000", dim=10, condition=100, localization=1000.0),
    Quadratic(name="d 10, w* half a deviation off", dim=10, condition=10, offset=0.5),
)

POLYNOMIALS: tuple[Case, ...] = (
    Polynomial(name="x⁴", forms=_monomial(2), at=_origin(1), value="1/4", multiplicity=1),
    Polynomial(name="x⁶", forms=_monomial(3), at=_origin(1), value="1/6", multiplicity=1),
    Polynomial(name="x²y²", forms=_monomial(1, 1), at=_origin(2), value="1/2", multiplicity=2),
    Polynomial(
        name="x²y² at (1, 0)", forms=_monomial(1, 1), at=(1.0, 0.0), value="1/2", multiplicity=1,
        localization=10.0, source="x is a unit there: y²",
    ),
    Polynomial(
        name="x²y², γ 100", forms=_monomial(1, 1), at=_origin(2), value="1/2", multiplicity=2,
        localization=100.0,
    ),
    Polynomial(name="x²y⁴", forms=_monomial(1, 2), at=_origin(2), value="1/4", multiplicity=1),
    Polynomial(name="x⁴y⁴", forms=_monomial(2, 2), at=_origin(2), value="1/4", multiplicity=2),
    Polynomial(name="x²y²z²", forms=_monomial(1, 1, 1), at=_origin(3), value="1/2", multiplicity=3),
    Polynomial(
        name="x²y²z²u²", forms=_monomial(1, 1, 1, 1), at=_origin(4), value="1/2", multiplicity=4
    ),
    Polynomial(
        name="x² + y⁴", forms=(((1.0, (1, 0)),), ((1.0, (0, 2)),)), at=_origin(2),
        value="3/4", multiplicity=1,
    ),
    Polynomial(
        name="x⁴ + x²y²", forms=(((1.0, (2, 0)),), ((1.0, (1, 1)),)), at=_origin(2),
        value="1/2", multiplicity=2,
    ),
    Polynomial(
        name="(x² − y³)²", forms=(((1.0, (2, 0)), (-1.0, (0, 3))),), at=_origin(2),
        value="5/12", multiplicity=1,
    ),
    Polynomial(
        name="(x + y²)² + y⁶", forms=(((1.0, (1, 0)), (1.0, (0, 2))), ((1.0, (0, 3)),)),
        at=_origin(2), value="2/3", multiplicity=1,
    ),
)  # fmt: skip

DEVELOPED_ON: tuple[Case, ...] = tuple(
    Linear(
        name=net.name, split=DEVELOPMENT, widths=net.widths, rank=net.rank,
        singular_values=net.singular_values, noise=net.noise,
    )
    for net in NETS
)  # fmt: skip

LINEAR: tuple[Case, ...] = (
    Linear(name="2-2-2, rank 0", widths=(2, 2, 2), rank=0),
    Linear(name="2-2-2, rank 0, at (I, 0)", widths=(2, 2, 2), rank=0, place=IDENTITY),
    Linear(name="3-3-3, rank 1, γ 10", widths=(3, 3, 3), rank=1, localization=10.0),
    Linear(name="5-3-5, rank 0", widths=(5, 3, 5), rank=0, num_examples=20_000, localization=10.0),
    Linear(name="4-2-4, rank 1, noise 0.1", widths=(4, 2, 4), rank=1, noise=0.1),
    Linear(name="8-3-4, rank 0, full batch", widths=(8, 3, 4), rank=0, full_batch=True),
    Linear(
        name="20-10-15, rank 4, singular values 5 … 0.05", widths=(20, 10, 15), rank=4,
        singular_values=(5.0, 0.05),
    ),
    Linear(
        name="20-10-15, rank 4, singular values 5 … 0.05, full batch", widths=(20, 10, 15), rank=4,
        singular_values=(5.0, 0.05), full_batch=True,
    ),
    Linear(name="3-3-3-3, rank 0", widths=(3, 3, 3, 3), rank=0),
    Linear(
        name="3-3-3-3, rank 1, full batch", widths=(3, 3, 3, 3), rank=1, full_batch=True
    ),
    Linear(name="3-3-3-3, rank 2, γ 1000", widths=(3, 3, 3, 3), rank=2, localization=1000.0),
    Linear(name="4-2-3-5, rank 1, noise 2", widths=(4, 2, 3, 5), rank=1, noise=2.0),
    Linear(name="5-5-5-5-5, rank 0, γ 10", widths=(5,) * 5, rank=0, localization=10.0),
    Linear(name="5-10-10-10-10-5, rank 2", widths=(5, 10, 10, 10, 10, 5), rank=2),
    Linear(
        name="12-6-9-7, rank 3, singular values 3 … 0.3", widths=(12, 6, 9, 7), rank=3,
        singular_values=(3.0, 0.3), seed=5,
    ),
    Linear(name="10-10-10-10-10, rank 5", widths=(10,) * 5, rank=5, full_batch=True, seed=6),
)  # fmt: skip

NETWORKS: tuple[Case, ...] = (
    Relu(name="ReLU 6-10-4", widths=(6, 10, 4), num_used=10),
    Relu(name="ReLU 4-12-2, 4 units used", widths=(4, 12, 2), num_used=4, seed=1),
    Relu(name="ReLU 5-10-10-3, γ 100", widths=(5, 10, 10, 3), num_used=6, localization=100.0),
    Transformer(name="attention-only transformer, nβ 30"),
    Transformer(name="attention-only transformer, nβ 300", nbeta=300.0),
)

ADDED: tuple[Case, ...] = (
    Linear(
        name="7-9-5-8, rank 2, singular values 3 … 0.2", widths=(7, 9, 5, 8), rank=2,
        singular_values=(3.0, 0.2), noise=0.3, seed=11,
    ),
    Linear(name="14-3-14, rank 3", widths=(14, 3, 14), rank=3, seed=12),
    Linear(
        name="4-6-8-6-4, rank 4, generic point", widths=(4, 6, 8, 6, 4), rank=4, place=GENERIC,
        seed=13,
    ),
    Linear(name="9-5-7, rank 2, generic point", widths=(9, 5, 7), rank=2, place=GENERIC, seed=14),
    Linear(
        name="6-6-6-6, rank 3, n 2,000", widths=(6,) * 4, rank=3, num_examples=2_000, seed=15,
        localization=10.0,
    ),
    Linear(name="25-5-15, rank 1", widths=(25, 5, 15), rank=1, noise=1.5, seed=16),
    Quadratic(name="d 20, batches of 16", dim=20, condition=100, batch_size=16, seed=11),
    Quadratic(
        name="d 40, heavy tails, batches of 64", dim=40, condition=100, rotated=True, tail=3,
        batch_size=64, seed=12,
    ),
    Quadratic(name="d 200, condition 10², rotated", dim=200, condition=100, rotated=True, seed=13),
    Quadratic(name="d 30, w* two deviations off", dim=30, condition=10, offset=2.0, seed=14),
    Polynomial(
        name="x²y² + x⁶ + y⁶, noise 2",
        forms=(((1.0, (1, 1)),), ((1.0, (3, 0)),), ((1.0, (0, 3)),)), at=_origin(2),
        value="1/2", multiplicity=2, noise=2.0, seed=11,
    ),
    Polynomial(
        name="x⁴ + x²y⁴, batches of 64", forms=(((1.0, (2, 0)),), ((1.0, (1, 2)),)),
        at=_origin(2), value="3/8", multiplicity=1, batch_size=64, seed=12,
    ),
    Polynomial(
        name="(x² − y²)², noise 2, γ 10", forms=(((1.0, (2, 0)), (-1.0, (0, 2))),), at=_origin(2),
        value="1/2", multiplicity=2, noise=2.0, localization=10.0, seed=13,
    ),
    Classifier(name="GELU classifier 5-8-8-3", widths=(5, 8, 8, 3), seed=21),
    Classifier(
        name="GELU classifier 8-16-5, γ 100", widths=(8, 16, 5), localization=100.0, gain=2.0,
        num_examples=5_000, seed=22,
    ),
    Classifier(
        name="GELU classifier 6-10-10-4, last layers move", widths=(6, 10, 10, 4), seed=23,
        restrict="2,4",
    ),
    Convolutional(name="CNN on gratings", seed=24),
    Blocks(name="block transformer, nβ 30", seed=26),
)  # fmt: skip
"""Cases of a second day, made after germ's defaults had been chosen on the first five anew."""

CASES: tuple[Case, ...] = (*DEVELOPED_ON, *LINEAR, *QUADRATICS, *POLYNOMIALS, *NETWORKS, *ADDED)

QUICK = ("d 10", "d 10, condition 10³, rotated", "x²y²", "(x² − y³)²", "6-4-6, rank 2")
"""The cases of a smoke test."""
