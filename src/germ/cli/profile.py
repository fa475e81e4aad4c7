"""`germ profile`: λ̂ over a ladder of nβ and γ: does the number depend on them, or is it a λ?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.llc import MODEL_FORMS
from germ.cli.options import DATA_FORMS, Keeping, Loading, Printing, Sampling
from germ.cli.screen import Screen

if TYPE_CHECKING:
    from germ.cli.progress import Bars
    from germ.estimate.profile import Profile, Rung
    from germ.posterior import LocalPosterior
    from germ.profiling import Listener

WIDTHS = (9, 8, 17, 17, 9, 9, 7, 7)
HEADER = ("nβ", "γ", "λ̂", "dλ̂/dlog nβ", "ΔL", "E[L]", "virial", "T")

PANEL = "Ladder"


@dataclass(frozen=True)
class Ladder:
    """Which weights move, and which nβ and γ are sampled."""

    restrict: Annotated[
        list[str] | None,
        Option(
            "--restrict", help="Only these weights move, as for germ llc.", rich_help_panel=PANEL
        ),
    ] = None
    nbeta_min: Annotated[
        float | None,
        Option("--nbeta-min", help="Lowest nβ; chosen by default.", rich_help_panel=PANEL),
    ] = None
    nbeta_max: Annotated[
        float | None,
        Option("--nbeta-max", help="Highest nβ; chosen by default.", rich_help_panel=PANEL),
    ] = None
    rungs: Annotated[
        int | None,
        Option(
            "--rungs", min=1, help="How many nβ; two a decade by default.", rich_help_panel=PANEL
        ),
    ] = None
    localization: Annotated[
        str,
        Option(
            "--localization",
            help="γ, or several with commas; auto is 300 for language models and 1 otherwise.",
            rich_help_panel=PANEL,
        ),
    ] = "auto"

    def localizations(self) -> list[float] | None:
        """The γ asked for; None is the model's own."""
        from germ.errors import GermError

        if self.localization == "auto":
            return None
        try:
            return [float(part) for part in self.localization.split(",")]
        except ValueError:
            raise GermError(
                f"expected --localization to be numbers with commas, or auto; got "
                f"{self.localization!r}"
            ) from None

    def nbetas(self, posterior: LocalPosterior) -> list[float]:
        """The ladder: as chosen, or between the ends that were asked for.

        Raises:
            GermError: The ends are not in order.
        """
        from germ.errors import GermError
        from germ.profiling import auto_ladder

        found = auto_ladder(posterior)
        if (self.nbeta_min, self.nbeta_max, self.rungs) == (None, None, None):
            return found
        low = found[0] if self.nbeta_min is None else self.nbeta_min
        high = found[-1] if self.nbeta_max is None else self.nbeta_max
        if not 0 < low <= high < math.inf:
            raise GermError(f"expected 0 < --nbeta-min <= --nbeta-max; got {low:g} and {high:g}")
        num = self.rungs or max(1, round(2 * math.log10(high / low))) + (high > low)
        if num == 1:
            return [high]
        ratio = (high / low) ** (1 / (num - 1))
        return list(dict.fromkeys(float(f"{low * ratio**i:.4g}") for i in range(num)))


@grouped
def profile(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_FORMS, show_default=False)],
    data: Annotated[
        str | None, Option("--data", help=f"{DATA_FORMS}.", rich_help_panel="Data")
    ] = None,
    ladder: Ladder,
    sampling: Sampling,
    out: Annotated[
        Path,
        Option("--out", help="The folder of the runs and the table.", rich_help_panel="Output"),
    ] = Path("runs/profile"),
    keeping: Keeping,
    figure: Annotated[
        bool, Option("--figure", help="Draw λ̂ against nβ.", rich_help_panel="Output")
    ] = False,
    printing: Printing,
    loading: Loading,
) -> int:
    """Estimate λ̂ over a ladder of nβ: is there a plateau, and which λ does it lead to?

    λ̂ is a number at a resolution (nβ, γ). Where it stands still over a decade of nβ it is near a
    learning coefficient λ, which is extrapolated with its multiplicity. Where it follows nβ there
    is none, and only comparisons at equal nβ and γ mean something.

    One run a rung, in the folder --out: finished ones are used again.

    [bold]germ profile bundled --data bundled:all --draws 200 --figure[/bold]
    """
    import germ
    from germ.measuring import file_stem
    from germ.profiling import profile as run_profile
    from germ.sweeping import loss_of

    screen = Screen(json=printing.json)
    loaded = loading.model(model)
    examples = loading.data(loaded, data)
    posterior = germ.LocalPosterior.from_model(
        loaded.model, examples, loss=loss_of(loaded, loading.loss), restrict=ladder.restrict or None
    )
    nbetas, localizations = ladder.nbetas(posterior), ladder.localizations()
    name = data or examples.describe()
    total = len(nbetas) * len(localizations or [0])
    with (
        boundary.interruptible(out),
        screen.progress(sampling.num_steps_after_warmup, total) as bars,
    ):
        found = run_profile(
            posterior, nbetas, localizations, sampler=sampling.make(), model=model, data=name,
            folder=out, drop_failed=keeping.drop_failed, listener=_reporter(screen, bars),
            **sampling.settings(), **keeping.settings(),
        )  # fmt: skip
    _say(screen, found)
    stem = out / f"{file_stem(model)}-profile"
    files = _write(found, stem, f"{model} on {name}" if figure else None)
    screen.say(", ".join(files.values()), "dim")
    screen.emit({"command": "profile", "model": model, **found.to_dict(), "files": files})
    return boundary.FAILED if any(rung.estimate is None for rung in found.rungs) else 0


def _reporter(screen: Screen, bars: Bars) -> Listener:
    """Shows progress; the table follows at the end, when slopes are known."""
    from germ.profiling import Listener

    class Reporter(Listener):
        def started(self, index: int, total: int, name: str) -> None:
            bars.started(index, total, name)

        def stage(self, stage: str, done: int, total: int) -> None:
            bars.stage(stage, done, total)

    return Reporter()


def _say(screen: Screen, found: Profile) -> None:
    """The table, what each γ says, and the warnings."""
    screen.say(_cells(HEADER), "bold")
    for rung in found.rungs:
        screen.say(line(rung), "yellow" if rung.excluded else None)
    for reading in found.readings:
        screen.say(str(reading), "bold" if reading.plateau.found else "yellow")
        if reading.free_energy is not None:
            screen.say(f"  {reading.free_energy}", "dim")
        screen.warn(reading.warnings)


def line(rung: Rung) -> str:
    """A rung as a line of the table."""
    from germ.report.tables import plus_minus

    start = (f"{rung.nbeta:.4g}", f"{rung.localization:g}")
    found = rung.estimate
    if found is None:
        return _cells((*start, *("–" for _ in HEADER[2:]))) + f"  {rung.status}"
    slope = "–" if math.isnan(rung.slope) else plus_minus(rung.slope, rung.slope_error)
    cells = (
        *start, plus_minus(found.value, rung.error), slope, f"{found.loss_difference:.4g}",
        f"{found.expected_loss:.4g}", f"{found.virial:.3f}",
        "–" if math.isnan(found.temperature) else f"{found.temperature:.3f}",
    )  # fmt: skip
    marks = f"  ⚠ {len(found.warnings)}" if found.warnings else ""
    stored = "  (stored)" if rung.stored else ""
    excluded = f"  {rung.excluded}" if rung.excluded else ""
    return _cells(cells) + marks + excluded + stored


def _cells(cells: tuple[str, ...]) -> str:
    from germ.report.tables import cell_width

    padded = [" " * (w - cell_width(c)) + c for c, w in zip(cells, WIDTHS, strict=True)]
    return "  ".join(padded)


def _write(found: Profile, stem: Path, title: str | None) -> dict[str, str]:
    """The table as JSON and, given a title, the figure."""
    import json

    from germ.store import files

    path = stem.with_suffix(".json")
    text = json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n"
    with files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_durable(path, [text.encode()])
    written: dict[str, Any] = {"table": str(path)}
    if title is not None:
        from germ.report.figures import save
        from germ.report.profile_figure import profile_figure

        written["figure"] = str(save(profile_figure(found, title), stem.with_suffix(".png")))
    return written
