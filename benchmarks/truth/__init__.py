"""Posteriors whose local expectation is known, and every estimator judged on them.

    python -m benchmarks.truth --references     the long reference runs (once; kept in results/)
    python -m benchmarks.truth                  every estimator on every case
    python -m benchmarks.truth --quick          a smoke test on five cases

A case is a `LocalPosterior` with E[nβ(L_n(w) − L_n(w*))] under it, known in closed form
(`quadratic`), by quadrature (`polynomial`) or by long Hamiltonian Monte Carlo (`linear`,
`networks`), and where theory has it the learning coefficient λ of the truth at w*. Estimators
(`estimators`, `peer`) see the posterior only. `judge` counts how wrong each is and whether it said
so; `table` prints that.
"""
