"""`python -m germ.cli` is `germ`."""

from germ.cli import main

main()
