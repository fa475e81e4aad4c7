"""Estimators: pure functions of samples. Sample once, estimate many times."""
