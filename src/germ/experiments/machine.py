"""What an experiment may use of the machine it runs on."""

from __future__ import annotations

import os
import resource
import sys

import torch


def device() -> torch.device:
    """Where models are trained and measured: a GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores() -> int:
    """Processes at a time: cores that this process may use; one where there is a GPU."""
    if torch.cuda.is_available():
        return 1
    # Not every system can say which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_gib() -> float:
    """The most memory that this process and those it has begun had at once, at most, in GiB."""
    own, theirs = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    # Of several processes only the largest is known. Linux counts in KiB, macOS in bytes.
    return (own + cores() * theirs) / (2**30 if sys.platform == "darwin" else 2**20)
