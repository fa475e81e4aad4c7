"""Measurements of germ itself: `python -m benchmarks.lessons`, `python -m benchmarks.overhead`."""
