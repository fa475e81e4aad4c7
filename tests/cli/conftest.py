"""A folder to work in, for every test of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.support import TOYS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `toys.py` in it."""
    (tmp_path / "toys.py").write_text(TOYS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GERM_DEBUG", raising=False)
    return tmp_path
