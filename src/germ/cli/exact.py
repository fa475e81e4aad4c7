"""`germ exact`: learning coefficients that are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli.grouping import grouped
from germ.cli.options import Printing
from germ.cli.screen import Screen
from germ.errors import GermError

if TYPE_CHECKING:
    from germ.exact.coefficient import Coefficient


def _network(*names: str, help: str, metavar: str) -> Any:
    return Option(*names, help=help, metavar=metavar, rich_help_panel="Networks")


@grouped
def exact(
    printing: Printing,
    polynomial: Annotated[
        str | None,
        Argument(metavar="[K]", help="A polynomial: 'x^2*y^4', '(x^2-y^3)^2'.", show_default=False),
    ] = None,
    at: Annotated[
        str | None, Option("--at", metavar="x=1,y=3/10", help="The zero of K; by default 0.")
    ] = None,
    dln: Annotated[
        str | None,
        _network("--dln", metavar="H0,...,HL", help="Deep linear network: its widths."),
    ] = None,
    rrr: Annotated[
        str | None,
        _network("--rrr", metavar="M,N,H", help="Reduced-rank regression: sizes in, out, hidden."),
    ] = None,
    rank: Annotated[
        int | None, _network("--rank", metavar="R", help="True rank, for --dln and --rrr.")
    ] = None,
    tanh: Annotated[
        int | None,
        _network("--tanh", metavar="H", help="Hidden tanh units, one input, zero truth."),
    ] = None,
    nbeta: Annotated[
        float | None,
        Option("--nbeta", help="Also λ − (m − 1)/log nβ, the leading terms of E[nβK]."),
    ] = None,
    steps: Annotated[
        bool, Option("--steps", help="Show how it was found.", rich_help_panel="Output")
    ] = False,
) -> int:
    """The learning coefficient λ and its multiplicity m, exactly, or a reason why not.

    Of a polynomial K at a zero, by default the origin; or of a network at its most singular true
    parameter. Put K in quotes: the shell has a use for * and ^. Sums of squares are best written
    as such.

    [bold]germ exact '(x^2-y^3)^2' --steps[/bold]
    """
    screen = Screen(json=printing.json)
    question = _question(polynomial, at, dln, rrr, rank, tanh)
    found = _answer(question)
    expected = None if nbeta is None else found.expected(nbeta)
    screen.say(str(found), "bold")
    screen.say(f"  method: {found.method}", "dim")
    screen.say(f"  source: {found.source}", "dim")
    if expected is not None:
        screen.say(f"  at nβ = {nbeta:g}: λ − (m − 1)/log nβ = {expected:.6g}")
    if steps:
        for number, step in enumerate(found.steps, 1):
            screen.say(f"  {number}. {step}")
    screen.emit(
        {
            "command": "exact", **question, **found.to_dict(),
            "nbeta": nbeta, "expected": expected,
        }
    )  # fmt: skip
    return 0


def _question(
    polynomial: str | None,
    at: str | None,
    dln: str | None,
    rrr: str | None,
    rank: int | None,
    tanh: int | None,
) -> dict[str, Any]:
    """The one thing that is asked.

    Raises:
        GermError: Nothing is, or two things are, or an option belongs to another question.
    """
    asked = {"K": polynomial, "--dln": dln, "--rrr": rrr, "--tanh": tanh}
    names = [name for name, value in asked.items() if value is not None]
    if len(names) != 1:
        came = " and ".join(names) or "nothing"
        raise GermError(f"expected one of a polynomial K, --dln, --rrr or --tanh; got {came}")
    if at is not None and polynomial is None:
        raise GermError(f"--at belongs to a polynomial; got {names[0]}")
    if (rank is None) != (dln is None and rrr is None):
        problem = "needs a --rank, that of the true map" if rank is None else "has no --rank"
        raise GermError(f"{names[0]} {problem}; --rank belongs to --dln and --rrr")
    if polynomial is not None:
        return {"K": polynomial, "at": _point(at)}
    if dln is not None:
        return {"dln": _integers("--dln", dln), "rank": rank}
    if rrr is not None:
        return {"rrr": _integers("--rrr", rrr, 3), "rank": rank}
    return {"tanh": tanh}


def _answer(question: dict[str, Any]) -> Coefficient:
    if "K" in question:
        from germ.exact.polynomial import polynomial

        return polynomial(question["K"], question["at"])
    if "dln" in question:
        from germ.exact.deep_linear import deep_linear

        return deep_linear(question["dln"], question["rank"])
    if "rrr" in question:
        from germ.exact.reduced_rank import reduced_rank

        inputs, outputs, hidden = question["rrr"]
        return reduced_rank(inputs, outputs, hidden, question["rank"])
    from germ.exact.tanh import tanh

    return tanh(question["tanh"])


def _point(text: str | None) -> dict[str, str]:
    """x=1,y=3/10, read."""
    point: dict[str, str] = {}
    for part in (text or "").split(",") if text is not None else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in point:
            raise GermError(f"expected --at like x=1,y=3/10, each once; got {text!r}")
        point[name] = value
    return point


def _integers(option: str, text: str, count: int | None = None) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or (count is not None and len(parts) != count):
        wanted = "three whole numbers M,N,H" if count else "whole numbers H0,...,HL"
        raise GermError(f"expected {option} with {wanted}; got {text!r}")
    return [int(part) for part in parts]
