"""Results kept one by one: found once, refused where they are of something else."""

from __future__ import annotations

import pytest

from germ.errors import GermError
from germ.experiments.kept import kept, write_whole


def test_it_is_found_once_and_read_afterwards(tmp_path):
    calls = []

    def compute() -> dict:
        calls.append(1)
        return {"pair": (1, 2)}

    path = tmp_path / "runs" / "one.json"
    first = kept(path, {"size": (3, 4)}, compute)
    assert kept(path, {"size": (3, 4)}, compute) == first == {"pair": [1, 2]}
    assert len(calls) == 1


def test_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "one.json"
    kept(path, {"size": 1}, dict)
    with pytest.raises(GermError, match="settings; it holds one of others"):
        kept(path, {"size": 2}, dict)
    path.write_text('{"settings"')
    with pytest.raises(GermError, match="damaged"):
        kept(path, {"size": 1}, dict)
    (tmp_path / "file").write_text("")
    with pytest.raises(GermError, match="cannot write"):
        kept(tmp_path / "file" / "one.json", {}, dict)


def test_what_is_cut_short_leaves_nothing_behind_by_its_name(tmp_path):
    def stops(part) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "one.json", stops)
    assert not (tmp_path / "one.json").exists()
