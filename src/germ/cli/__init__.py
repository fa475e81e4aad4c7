"""The command line: it parses, calls and prints, and holds no science.

Nothing here imports PyTorch before a command needs it, so that `germ --help` answers at once.
"""

from germ.cli.application import app, main

__all__ = ["app", "main"]
