"""germ: singular learning theory on real neural networks.

    posterior = germ.LocalPosterior.from_model(model, data, loss="cross_entropy")
    samples = germ.sample(posterior)
    germ.llc(samples)
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
