"""What a case of the benchmark is: a posterior, and what is known about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from germ import LocalPosterior

DEVELOPMENT, UNSEEN = "development", "unseen"
"""Where germ's defaults were chosen (the five nets of `benchmarks.nets`), and everything else."""


@dataclass(frozen=True)
class Expectation:
    """E[nβ(L_n(w) − L_n(w*))] under the local posterior.

    Attributes:
        value: The expectation.
        error: Its standard error or numerical error; 0 in closed form.
        method: How it was found.
        details: What it can be judged by: R̂, virial, acceptance, checks by other samplers.
    """

    value: float
    error: float
    method: str
    details: dict[str, Any]


@dataclass(frozen=True)
class Known:
    """The learning coefficient of the truth at w*.

    Attributes:
        value: λ.
        multiplicity: m.
        source: The theorem.
    """

    value: float
    multiplicity: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One posterior of the suite; subclasses add what makes it.

    Attributes:
        name: What the table calls it.
        split: `DEVELOPMENT` or `UNSEEN`.
        num_examples: n; nβ is n/log n unless a subclass says otherwise.
        localization: γ.
        full_batch: Whether estimators get all the data at every gradient.
        batch_size: Examples a batch that estimators are given, `auto` too; None leaves it to them.
        seed: Of the truth and the data.
    """

    name: str
    split: str = UNSEEN
    num_examples: int = 20_000
    localization: float = 1.0
    full_batch: bool = False
    batch_size: int | None = None
    seed: int = 0

    @property
    def family(self) -> str:
        """What the summary groups by."""
        raise NotImplementedError

    def posterior(self) -> LocalPosterior:
        """What estimators sample."""
        raise NotImplementedError

    def exact_posterior(self) -> LocalPosterior:
        """The same loss, at every w, on as few examples as it takes: for full-batch runs."""
        return self.posterior()

    def expectation(self) -> Expectation | None:
        """The local expectation where it needs no sampling, else None."""
        return None

    def coefficient(self) -> Known | None:
        """λ and m at w* where a theorem has them."""
        return None

    added: ClassVar[dict[str, Any]] = {}
    """Fields that came later and their defaults, at which a case is what it was before."""

    def target(self) -> dict[str, Any]:
        """What decides the local expectation: the key of its reference."""
        settings = asdict(self)
        for name in ("name", "split", "full_batch", "batch_size"):
            del settings[name]
        for name, default in self.added.items():
            if settings[name] == default:
                del settings[name]
        return {"kind": type(self).__name__, **settings}

    @property
    def key(self) -> str:
        """A short hash of `target`."""
        text = json.dumps(self.target(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
