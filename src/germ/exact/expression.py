"""Reading a polynomial: a small grammar, read by hand so that no text is ever evaluated.

    sum      = product { ("+" | "-") product }
    product  = signed { ("*" | "/") signed }         (the divisor is a constant)
    signed   = { "+" | "-" } power
    power    = atom [ ("^" | "**") signed ]          (the exponent is a constant >= 0)
    atom     = number | name | "(" sum ")"

What was written is kept as it was written: (x*y)^2 + z^4 says that it is a sum of squares, and
its expansion does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from germ.errors import GermError

MAX_LENGTH = 100_000
MAX_DEPTH = 40
MAX_BITS = 100_000  # Of a constant: 2^10^9 is a short text and a long number.
_RATIONAL = re.compile(r"[-+]?[0-9./]{1,1000}(e[-+]?[0-9]{1,3})?", re.IGNORECASE)
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([^\W\d]\w*)|(\*\*|[-+*/^()])|(\S))")


@dataclass(frozen=True)
class Number:
    """A rational number."""

    value: Fraction


@dataclass(frozen=True)
class Variable:
    """A variable."""

    name: str


@dataclass(frozen=True)
class Sum:
    """Of two terms or more."""

    terms: tuple[Node, ...]


@dataclass(frozen=True)
class Product:
    """Of two factors or more."""

    factors: tuple[Node, ...]


@dataclass(frozen=True)
class Power:
    """With a constant exponent."""

    base: Node
    exponent: int


Node = Number | Variable | Sum | Product | Power


def read(expression: Any) -> Node:
    """Read a polynomial from text, a number, or a SymPy expression.

    Raises:
        GermError: It is not a polynomial with rational coefficients.
    """
    if isinstance(expression, str):
        return _Reader(expression).read()
    if isinstance(expression, int | float | Fraction):
        return Number(rational(expression))
    return _from_sympy(expression, 0)


def rational(value: Any) -> Fraction:
    """The rational number that was meant: 3, '3/10', 0.3 (as written), or a SymPy rational.

    Raises:
        GermError: It is not rational.
    """
    # A float means the decimal it is printed as, not the binary fraction beside it. The pattern
    # keeps out True and nan, and 1e999999999, which would fill the memory.
    text = str(value).strip()
    try:
        if _RATIONAL.fullmatch(text):
            return Fraction(text)
    except (ValueError, ZeroDivisionError):
        pass
    raise GermError(f"expected a rational number such as 2, -3/10 or 0.3; got {text[:60]!r}")


def variables(node: Node) -> list[str]:
    """The names that occur, in alphabetical order."""
    found: set[str] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, Variable):
            found.add(part.name)
        elif isinstance(part, Sum):
            stack += part.terms
        elif isinstance(part, Product):
            stack += part.factors
        elif isinstance(part, Power):
            stack.append(part.base)
    return sorted(found)


def value(node: Node, point: dict[str, Fraction]) -> Fraction:
    """The value at a point.

    Raises:
        GermError: A number of more than `MAX_BITS` bits.
    """
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Variable):
        return point[node.name]
    if isinstance(node, Sum):
        return sum((value(term, point) for term in node.terms), Fraction(0))
    if isinstance(node, Product):
        result = Fraction(1)
        for factor in node.factors:
            result *= value(factor, point)
        return result
    base = value(node.base, point)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) not in (0, 1) and bits * node.exponent > MAX_BITS:
        raise GermError(f"expected numbers of moderate size; got {base}^{node.exponent}")
    return base**node.exponent if abs(base) != 1 else base ** (node.exponent % 2)


class _Reader:
    """A recursive descent over the tokens of a text."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise GermError(f"expected at most {MAX_LENGTH:,} characters; got {len(text):,}")
        self.text = text
        self.tokens = [match for match in _TOKEN.finditer(text) if match.group().strip()]
        self.at = 0
        self.depth = 0

    def read(self) -> Node:
        if not self.tokens:
            raise GermError("expected a polynomial such as x^2*y^4; got nothing")
        node = self.sum()
        if self.at < len(self.tokens):
            raise self.wrong()
        return node

    @property
    def ahead(self) -> str:
        return self.tokens[self.at].group().strip() if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """The next token, if it is one of these."""
        if self.ahead in wanted and self.ahead:
            self.at += 1
            return self.tokens[self.at - 1].group().strip()
        return ""

    def wrong(self) -> GermError:
        """What stands where nothing of the grammar may."""
        before = self.tokens[self.at - 1] if self.at else None
        if self.at >= len(self.tokens):
            came = "the end"
        else:
            came = f"{self.ahead!r} at character {self.tokens[self.at].end() - len(self.ahead) + 1}"
            if before is not None and before.group(2) and self.ahead == "(":
                name = before.group(2)
                came += f"; {name}(...) is a function, or write {name}*(...) for a product"
            elif before is not None and (
                self.tokens[self.at].group(1) or self.tokens[self.at].group(2)
            ):
                came += "; write * for a product"
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return GermError(
            f"expected a polynomial: variables, rational numbers, + - * ^ and / by a constant; "
            f"got {came}, in {shown!r}"
        )

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GermError(f"expected at most {MAX_DEPTH} nested brackets; got more")
        terms = [self.product()]
        while sign := self.take("+", "-"):
            term = self.product()
            terms.append(_negative(term) if sign == "-" else term)
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def product(self) -> Node:
        factors = [self.signed()]
        while sign := self.take("*", "/"):
            factor = self.signed()
            if sign == "/":
                divisor = _constant(factor, "divisor")
                if divisor == 0:
                    raise GermError("expected a divisor that is not zero; got 0")
                factor = Number(1 / divisor)
            factors.append(factor)
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def signed(self) -> Node:
        negative = False
        while sign := self.take("+", "-"):
            negative ^= sign == "-"
        factor = self.power()
        return _negative(factor) if negative else factor

    def power(self) -> Node:
        base = self.atom()
        if not self.take("^", "**"):
            return base
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GermError(f"expected at most {MAX_DEPTH} nested powers; got more")
        exponent = _constant(self.signed(), "exponent")
        self.depth -= 1
        return Power(base, _exponent(exponent))

    def atom(self) -> Node:
        if self.take("("):
            node = self.sum()
            if not self.take(")"):
                raise self.wrong()
            return node
        if self.at >= len(self.tokens):
            raise self.wrong()
        number, name = self.tokens[self.at].group(1, 2)
        if number is None and (name is None or name.startswith("_")):
            raise self.wrong()
        self.at += 1
        return Number(Fraction(number)) if number is not None else Variable(name)


def _negative(node: Node) -> Node:
    return Product((Number(Fraction(-1)), node))


def _constant(node: Node, what: str) -> Fraction:
    if names := variables(node):
        raise GermError(
            f"expected a polynomial, with a constant {what}; got one with the variable {names[0]}"
        )
    return value(node, {})


def _exponent(exponent: Fraction) -> int:
    if exponent.denominator != 1 or exponent < 0:
        raise GermError(f"expected a polynomial, with exponents 0, 1, 2, ...; got {exponent}")
    return int(exponent)


def _from_sympy(expression: Any, depth: int) -> Node:
    import sympy

    if isinstance(expression, sympy.Poly):
        expression = expression.as_expr()
    if not isinstance(expression, sympy.Expr):
        raise GermError(
            f"expected a polynomial as text or a SymPy expression; got {type(expression).__name__}"
        )
    if depth > MAX_DEPTH:
        raise GermError(f"expected at most {MAX_DEPTH} nested operations; got more")
    if isinstance(expression, sympy.Symbol):
        return Variable(expression.name)
    if isinstance(expression, sympy.Rational | sympy.Float):
        return Number(rational(expression))
    if isinstance(expression, sympy.Add | sympy.Mul):
        parts = tuple(_from_sympy(part, depth + 1) for part in expression.args)
        return Sum(parts) if isinstance(expression, sympy.Add) else Product(parts)
    if isinstance(expression, sympy.Pow) and isinstance(expression.exp, sympy.Rational):
        return Power(_from_sympy(expression.base, depth + 1), _exponent(rational(expression.exp)))
    raise GermError(f"expected a polynomial with rational coefficients; it contains {expression}")
