r"""What a data set does to the copies of a polygon, and so to the odds of 6 against 5.

$$ Z_k(n, D) \approx Z_k(n)\; \frac1{N_k} \sum_{\text{copies}} e^{-(S_n(\text{copy}) - nL_k)} $$

On the population all copies of a polygon have one loss. On data they do not: a 5-gon may leave out
the input that happens to be rare or small, and gains several nats by it; a 6-gon leaves out none.
Copies stay where they are here, refitted to the data they would gain a little more.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import logsumexp
from torch import Tensor

from germ.experiments.superposition_evidence import evidence, soft_evidence
from germ.experiments.superposition_pieces import Examples, dataset
from germ.experiments.superposition_points import COUNTS, critical_point


@cache
def copies(kind: str) -> Float[Tensor, "copies d"]:
    """Every choice of the columns that are corners, and every order in which they go round.

    Args:
        kind: "5" or "6"; with a + its column would have to be chosen, too.
    """
    at, k = critical_point(kind), COUNTS[kind][0]
    found = []
    for first, *others in combinations(range(6), k):
        rest = [column for column in range(6) if column not in (first, *others)]
        for order in permutations(others):
            # Column `places[j]` is where the polygon has its column j.
            places = np.argsort([first, *order, *rest])
            found.append(np.concatenate([at.weights[:, places].ravel(), at.biases[places]]))
    return torch.from_numpy(np.stack(found))


def fluctuation(examples: Examples, kind: str, scale: float) -> float:
    """The logarithm of the mean over copies of exp(−(S_n − nL)), S scaled.

    Args:
        examples: The n examples.
        kind: "5" or "6".
        scale: Of the squared error in −log p(x | w).
    """
    summed = dataset(examples)(copies(kind))[0].numpy()
    excess = scale * (summed - len(examples) * evidence(kind).loss)
    return float(logsumexp(-excess) - np.log(len(excess)))


def odds(examples: Examples, scale: float) -> float:
    """Predicted log-odds of 6 against 5 and 5+ on a data set.

    Args:
        examples: The n examples.
        scale: Of the squared error in −log p(x | w).
    """
    num = scale * len(examples)
    on_population = evidence("6").log(num) - soft_evidence(num)
    six, five = (fluctuation(examples, kind, scale) for kind in ("6", "5"))
    return on_population + six - five
