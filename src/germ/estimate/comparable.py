"""May these numbers stand side by side? Only at equal nβ, γ, data and moving weights.

λ̂ is a quantity at a resolution: between two nβ it may change tenfold on one and the same model
(design.md §5, lesson 11), which is more than training changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from germ.errors import GermError
from germ.estimate.llc import LLC

DECIDE = {
    "nbeta": "nβ",
    "localization": "γ",
    "num_coordinates": "the number of coordinates that move",
    "num_examples": "the number of examples",
    "data": "the data",
    "restriction": "the weights that move",
    "loss": "the loss",
}
"""What two posteriors must share, and its name in a sentence."""

MAX_NAMED = 4


@dataclass(frozen=True)
class Difference:
    """One thing in which results differ.

    Attributes:
        name: What it is.
        groups: For each value, in the order met, the labels of those who have it.
    """

    name: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        """`nβ differs: 30 (a, b), 300 (c)`."""
        parts = []
        for value, labels in self.groups[:MAX_NAMED]:
            more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
            parts.append(f"{value} ({', '.join(labels[:2])}{more})")
        more = "" if len(self.groups) <= MAX_NAMED else f", {len(self.groups) - MAX_NAMED} others"
        return f"{self.name} differs: {', '.join(parts)}{more}"


def differences(posteriors: Mapping[str, Mapping[str, Any]]) -> tuple[Difference, ...]:
    """In what these posteriors differ, of what decides whether their λ̂ may be compared.

    Weights are not of it: to compare those is the purpose.

    Args:
        posteriors: By label, `LocalPosterior.identity()` or some fields of it, as a stored run
            keeps them (`identity["posterior"]`). What one does not say is not compared.
    """
    found = []
    for field, name in DECIDE.items():
        groups: dict[str, list[str]] = {}
        for label, posterior in posteriors.items():
            if field in posterior:
                groups.setdefault(_text(posterior[field]), []).append(label)
        if len(groups) > 1:
            found.append(Difference(name, tuple((v, tuple(g)) for v, g in groups.items())))
    return tuple(found)


def of_estimates(estimates: Mapping[str, LLC]) -> tuple[Difference, ...]:
    """The same, as far as estimates tell: nβ and γ."""
    fields = ("nbeta", "localization")
    return differences(
        {label: {f: getattr(e, f) for f in fields} for label, e in estimates.items()}
    )


def check(posteriors: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to set results side by side that are at different settings.

    Raises:
        GermError: They differ.
    """
    found = differences(posteriors)
    if found:
        raise GermError(
            f"expected results that can be compared; {'; '.join(map(str, found))}: sample them at "
            "equal settings"
        )


def warning(found: Sequence[Difference]) -> str | None:
    """One sentence for a table of such results; None where nothing differs."""
    if not found:
        return None
    return f"these results cannot be compared: {'; '.join(map(str, found))}"


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 24 else text[:8] + "…"
