"""The application: its commands, its help, and what surrounds every command."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from germ.cli import boundary
from germ.cli.behaviour import behaviour
from germ.cli.calibrate import calibrate
from germ.cli.components import components
from germ.cli.demo import demo
from germ.cli.doctor import doctor
from germ.cli.exact import exact
from germ.cli.experiment import experiment
from germ.cli.influence import influence
from germ.cli.llc import llc
from germ.cli.profile import profile
from germ.cli.show import show
from germ.cli.stages import stages
from germ.cli.structure import structure
from germ.cli.susceptibility import susceptibility
from germ.cli.sweep import sweep

HELP = """Measure the local learning coefficient (LLC, λ̂) of a trained model.

germ demo shows what comes out, on a small model that germ ships. On your own:

germ llc MODEL --data FILE         one model, one number with its error

germ sweep 'RUN/*' --data FILE     every checkpoint of a training run
germ stages RUNS                   where training turns: stages from a sweep
germ behaviour 'RUN/*' --data FILE what it does, and where its heads look

germ profile MODEL --data FILE     is the number a λ, or does it depend on nβ and γ?

germ susceptibility MODEL --data FILE --probe NAME=FILE     which tokens each head answers to

germ exact 'x^2*y^4'               a learning coefficient that is known exactly

Runs are saved as they go: the same command goes on where it was stopped.
"""

EPILOG = """Exit codes: 0 all is well; 1 a bug in germ, or what doctor found broken; 2 yours to
mend, said in one line; 3 sampling failed, or some models of a sweep did; 130 interrupted (143
terminated): what was sampled is saved. GERM_DEBUG=1 shows tracebacks."""


class Germ(TyperGroup):
    """The group of commands, with every error turned into one line and an exit code."""

    def main(self, args: Any = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line `args`, by default the process's own."""
        given = [str(arg) for arg in (sys.argv[1:] if args is None else args)]
        extra["prog_name"] = "germ"
        code = boundary.guard(
            lambda: TyperGroup.main(
                self, given or ["--help"], *rest, standalone_mode=False, **extra
            ),
            given,
        )
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what interrupts it becomes ours before Typer makes it its own."""
        with boundary.interruptible():
            return super().invoke(ctx)


def _unwrapped(text: str) -> str:
    """Paragraphs on one line each, for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=Germ,
    help=HELP,
    epilog=_unwrapped(EPILOG),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib import metadata

        print(f"germ {metadata.version('germ')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which germ.")
    ] = False,
) -> None:
    pass


for _command in (
    llc, sweep, stages, behaviour, profile, calibrate, components, susceptibility, influence,
    structure, show, exact, experiment, demo, doctor,
):  # fmt: skip
    app.command(
        _command.__name__, help=_unwrapped(_command.__doc__ or ""), epilog=_unwrapped(EPILOG)
    )(_command)


def main() -> None:
    """Run the process's command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show λ̂ shows a question mark, and loses no run over it.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    warnings.showwarning = boundary.show_warning
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", category)  # Those are for developers.
    signal.signal(signal.SIGTERM, boundary.terminate)
    sys.exit(app())
