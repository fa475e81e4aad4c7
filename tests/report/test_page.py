import base64
import json

import pytest
from matplotlib.figure import Figure

from germ.errors import GermError
from germ.report.page import Page


def page(**changes):
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    parts = {
        "title": "A <b>title</b>",
        "text": "Text.\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n\n![what](curve.png)",
        "figures": {"curve": figure},
        "data": {"x": [1.5]},
    }
    return Page(**{**parts, **changes})


def test_a_page_is_one_file_and_its_parts(tmp_path):
    paths = page().write(tmp_path / "new" / "folder")
    html = paths["page"].read_text()
    image = base64.b64encode(paths["curve"].read_bytes()).decode()
    assert f'src="data:image/png;base64,{image}"' in html
    assert "<td" in html and "curve.png" not in html
    assert paths["markdown"].read_text().startswith("# A <b>title</b>\n\nText.")
    assert json.loads(paths["data"].read_text()) == {"x": [1.5]}


def test_what_came_from_data_is_shown_and_never_run(tmp_path):
    text = "<script>alert(1)</script> [x](javascript:alert(2))\n\n![what](curve.png)"
    html = page(text=text).write(tmp_path)["page"].read_text()
    assert "<script" not in html and 'href="javascript' not in html
    assert "&lt;script&gt;" in html
    assert "<title>A &lt;b&gt;title&lt;/b&gt;</title>" in html


def test_a_figure_nobody_sees_is_refused(tmp_path):
    with pytest.raises(GermError, match="leaves out"):
        page(text="no figure").write(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GermError, match="cannot write"):
        page().write(tmp_path / "file" / "folder")
