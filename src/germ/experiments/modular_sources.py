"""Numbers that were published on modular addition, with where they stand.

Panickssery & Vaintrob, "Investigating the learning coefficient of modular addition" (2023);
repository nrimsky/devinterp, `modular_addition/results/results_n_mult_*.json` (commit 5338a31):
five networks a p, λ̂, test loss and train loss of each.
"""

from __future__ import annotations

SWEEP: dict[int, dict[float, tuple[float, ...]]] = {
    17: {
        0.01: (21.93, 21.62, 21.15, 21.17, 20.86),
        0.1: (50.64, 53.82, 50.84, 48.82, 50.64),
        0.464: (93.77, 90.71, 99.84, 90.02, 93.14),
        1.0: (111.62, 117.52, 113.87, 106.52, 106.17),
        2.154: (117.60, 121.13, 121.60, 112.44, 113.20),
        4.64: (119.08, 119.58, 116.96, 109.43, 109.45),
        10.0: (116.28, 116.47, 112.35, 111.25, 108.27),
        46.4: (124.48, 123.97, 117.42, 115.08, 116.72),
        100.0: (150.20, 154.08, 136.51, 131.62, 150.95),
    },
    41: {
        0.01: (54.27, 54.39, 54.58, 53.90, 54.35),
        0.1: (211.78, 198.22, 199.94, 194.73, 207.65),
        0.464: (348.83, 306.33, 317.97, 302.40, 337.61),
        1.0: (400.24, 340.35, 348.45, 329.08, 394.96),
        2.154: (420.05, 352.60, 363.82, 357.28, 416.15),
        4.64: (435.18, 364.75, 389.56, 369.89, 416.44),
        10.0: (478.47, 402.77, 448.55, 451.24, 428.44),
        46.4: (2299.1, 13467.6, 6099.1, 9941.8, 863.4),
        100.0: (41629.4, 40031.9, 40884.0, 39880.9, 41941.8),
    },
}
"""λ̂ by p and multiplier, one a network."""

TRAIN_LOSS: dict[int, tuple[float, ...]] = {
    17: (0.00417, 0.00392, 0.00401, 0.00423, 0.00420),
    41: (0.01116, 0.01081, 0.01088, 0.01224, 0.00990),
}
"""Of the same networks."""

TEST_LOSS: dict[int, tuple[float, ...]] = {
    17: (0.0206, 0.0291, 0.0449, 0.0370, 0.0552),
    41: (0.0198, 0.0148, 0.0175, 0.0212, 0.0160),
}
"""Of the same networks."""

MEMORISING: dict[int, float] = {10: 24.0, 15: 54.6, 20: 281.5, 25: 423.6, 30: 386.9, 35: 398.1}
"""λ̂ of single networks without weight decay and with test losses of 8 to 85, by p:
`modular_addition/experiment_params/psweep_random` (commit f824ff9), SGLD settings not stated."""
