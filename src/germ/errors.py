"""What can go wrong: errors a user can mend, and the ways a chain can fail."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any


class GermError(ValueError):
    """Something the user can mend: what was expected, what came, what to do.

    The command line prints it as one line and leaves with exit code 2.
    """


class Status(enum.Enum):
    """How a chain ended. The value is the message a person reads."""

    OK = "ok"
    NAN = (
        "the loss or its gradient became NaN or infinite; "
        "use a smaller step size, or check the data"
    )
    DIVERGED = (
        "the chain ran away from the anchor; use a smaller step size or a larger localization"
    )
    STUCK = (
        "the chain does not move; "
        "use a larger step size (or, for MALA and HMC, a smaller one), or a wider precision"
    )

    @property
    def ok(self) -> bool:
        """Whether draws of a chain with this status may enter an estimate."""
        return self is Status.OK


class SamplingFailed(GermError):
    """One chain or more did not end with `Status.OK`.

    Attributes:
        statuses: The status of each chain.
        samples: What was sampled all the same, for a look at what happened.
    """

    def __init__(self, statuses: Sequence[Status], samples: Any = None) -> None:
        """Say which chains failed, and why.

        Args:
            statuses: The status of each chain.
            samples: The samples so far.
        """
        self.statuses = tuple(statuses)
        self.samples = samples
        failed = [i for i, status in enumerate(statuses) if not status.ok]
        reasons = {statuses[i] for i in failed}
        chains = ", ".join(str(i) for i in failed)
        what = "; ".join(f"{reason.name}: {reason.value}" for reason in Status if reason in reasons)
        super().__init__(f"{len(failed)} of {len(statuses)} chains failed (chain {chains}). {what}")
