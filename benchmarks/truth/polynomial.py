r"""Regressions whose loss is a given singular polynomial, exactly.

$$ y = f(w)\,x + \sigma\xi, \qquad f(w) = (f_1(w), \dots, f_k(w)),\ f(w^*) = 0 $$

The noise is made orthogonal to x and x has mean square 1, so that the loss over all the data is
L_n(w) − L_n(w*) = |f(w)|² =: K(w), while every minibatch sees K through its own noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.nets import squared_error
from benchmarks.truth.case import Case, Expectation, Known
from benchmarks.truth.quadrature import by_product_rule, on_a_grid
from germ import LocalPosterior
from germ.losses import supervised

NOISE = 0.5
"""σ of the targets."""

Term = tuple[float, tuple[int, ...]]
"""A coefficient and the powers of the variables."""


class Forms(nn.Module):
    """x ↦ (f_1(w), …, f_k(w))·x.

    Args:
        forms: The terms of each f_j.
        at: w*.
    """

    def __init__(self, forms: tuple[tuple[Term, ...], ...], at: tuple[float, ...]) -> None:
        super().__init__()
        self.forms = forms
        self.weight = nn.Parameter(torch.tensor(at))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (examples, k) of inputs (examples, 1)."""
        return inputs * torch.stack([evaluate(form, self.weight) for form in self.forms])

    def extra_repr(self) -> str:
        """The forms: what tells one such model from another."""
        return str(self.forms)


def evaluate(form: tuple[Term, ...], weight: Tensor) -> Tensor:
    """F at a weight (..., d): shape (...)."""
    total = torch.zeros_like(weight[..., 0])
    for factor, powers in form:
        term = torch.full_like(total, factor)
        for variable, power in enumerate(powers):
            if power:
                term = term * weight[..., variable] ** power
        total = total + term
    return total


@dataclass(frozen=True, kw_only=True)
class Polynomial(Case):
    """K = Σ f_j².

    Attributes:
        forms: The terms of each f_j, each with the powers of all variables.
        at: w*, a zero of K.
        value: λ of K at w*, as a fraction: "5/12".
        multiplicity: m.
        source: The theorem, or the row of facts.md §2.
        noise: σ of the targets.
    """

    added: ClassVar[dict[str, Any]] = {"noise": NOISE}

    forms: tuple[tuple[Term, ...], ...]
    at: tuple[float, ...]
    value: str
    multiplicity: int
    source: str = "facts.md §2"
    noise: float = NOISE
    num_examples: int = 10_000

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "polynomial"

    @property
    def nbeta(self) -> float:
        """n/log n."""
        return self.num_examples / math.log(self.num_examples)

    def potential(self, weight: Tensor) -> Tensor:
        """K at points (..., d)."""
        return torch.stack([evaluate(form, weight) for form in self.forms]).square().sum(0)

    def posterior(self) -> LocalPosterior:
        """The regression, at w*."""
        source = torch.Generator().manual_seed(self.seed)
        size = self.num_examples
        x = torch.randn(size, dtype=torch.float64, generator=source)
        x = x / x.square().mean().sqrt()
        y = self.noise * torch.randn(size, len(self.forms), dtype=torch.float64, generator=source)
        y = y - x[:, None] * (x @ y / size)
        return LocalPosterior.from_model(
            Forms(self.forms, self.at).eval(),
            (x[:, None].float(), y.float()),
            loss=supervised(squared_error),
            nbeta=self.nbeta,
            localization=self.localization,
        )

    def expectation(self) -> Expectation:
        """By quadrature: on a grid in one or two variables, else by the rule for products."""
        if len(self.at) <= 2:
            return on_a_grid(self.potential, self.at, self.nbeta, self.localization)
        (((_, powers),),) = self.forms
        assert not any(self.at), "the rule for products is for w* = 0"
        squares = tuple(2 * power for power in powers)
        return by_product_rule(squares, self.nbeta, self.localization)

    def coefficient(self) -> Known:
        """As stated."""
        return Known(float(Fraction(self.value)), self.multiplicity, self.source)
