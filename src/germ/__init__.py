"""germ: singular learning theory on real neural networks.

`LocalPosterior.from_model` says what to sample, `sample` samples it, `llc` reads off λ̂.
"""

from germ.errors import GermError, SamplingFailed, Status
from germ.estimate.llc import LLC, llc
from germ.posterior import LocalPosterior
from germ.sampling import sample
from germ.store import load

__all__ = [
    "LLC",
    "GermError",
    "LocalPosterior",
    "SamplingFailed",
    "Status",
    "llc",
    "load",
    "sample",
]
