import re
from html.parser import HTMLParser

import numpy as np
import pytest

from act3d.report import Section, commands, facts, gallery, paragraph, render_cloud, table, write_page
from act3d.report.quickstart import Chart, EmbeddingMap, QuickstartReport, Shape, Variant, verdict, write_quickstart

VOID = {"meta", "link", "img", "br", "circle", "polyline", "line"}


class Balanced(HTMLParser):
    """Notes tags that do not close in order, and every address that the page refers to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.wrong, self.addresses = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for key, value in attributes if key in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


def report(seeds=(0, 1)):
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(40, 3)).astype(np.float32)
    variant = [
        Variant(n, [60.0 + s for s in seeds], [50.0 for _ in seeds], {"cup": 70.0})
        for n in ("taught", "untaught", "fitted")
    ]
    return QuickstartReport(
        teacher="MiniLM",
        classes=["cup", "pl<ate"],
        train_shapes=30,
        test_shapes=10,
        chance=50.0,
        variants=variant,
        shapes=[Shape("a <b>", "CD-L1 3", cloud, cloud[:10], cloud)],
        charts=[Chart("step", "loss", {"seed 0": (np.arange(4.0), np.ones(4))})],
        map=EmbeddingMap(rng.normal(size=(6, 2)), np.array([0, 1] * 3), list("abcdef"), np.array([True, False] * 3)),
        commands="act3d prepare X --out Y  # with a remark",
        facts={"Seed": "0"},
        licence="CC BY-SA 4.0",
        footer="act3d",
        seeds=list(seeds),
    )


def test_the_page_is_whole_and_fetches_nothing(tmp_path):
    page = write_quickstart(tmp_path / "r.html", report()).read_text(encoding="utf-8")
    parsed = Balanced(page)
    assert parsed.wrong == []
    assert parsed.open == []
    assert parsed.addresses
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!data:)", page)
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_text_from_outside_is_escaped(tmp_path):
    page = write_quickstart(tmp_path / "r.html", report()).read_text(encoding="utf-8")
    assert "a &lt;b&gt;" in page
    assert "pl&lt;ate" in page
    assert "pl<ate" not in page


def test_one_seed_is_shown_without_spread(tmp_path):
    page = write_quickstart(tmp_path / "r.html", report(seeds=(4,))).read_text(encoding="utf-8")
    assert "seed 4" in page
    assert "a hint only" in page


@pytest.mark.parametrize(
    ("taught", "untaught", "words"),
    [
        ([70, 71, 72], [60, 61, 62], "beats the untaught encoder by 10.0 points, more than"),
        ([60, 61, 62], [70, 71, 72], "loses to the untaught encoder by 10.0 points"),
        ([60, 65, 70], [62, 63, 64], "nothing shown"),
        ([70], [60], "hint only"),
    ],
)
def test_the_verdict_says_what_the_numbers_allow(taught, untaught, words):
    assert words in verdict(taught, untaught)


def test_a_page_of_ones_own(tmp_path):
    picture = render_cloud(np.eye(3), size=16)
    section = Section(
        "A & B", paragraph("run `act3d`") + table(["x"], [["<1>"]]) + gallery([("t", "r", [("in", picture)])])
    )
    page = write_page(tmp_path / "p.html", "T", paragraph("lead"), [section], "end").read_text(encoding="utf-8")
    assert "A &amp; B" in page
    assert "<code>act3d</code>" in page
    assert "&lt;1&gt;" in page
    assert Balanced(page).wrong == []


def test_remarks_in_commands_are_marked_and_code_is_escaped():
    assert commands("a <b> # c") == '<pre>a &lt;b&gt; <span class="c"># c</span></pre>'
    assert "<dt>k</dt><dd>v&amp;w</dd>" in facts({"k": "v&w"})
