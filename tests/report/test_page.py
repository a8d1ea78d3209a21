import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from act3d.report import render
from act3d.report.page import _environment, split_remark
from act3d.report.pieces import Chart, EmbeddingMap, Named, Retrieval, Shape
from act3d.report.quickstart import (
    CodesUsed,
    QuickstartReport,
    Variant,
    codes_warning,
    verdict,
    write_quickstart,
)
from act3d.report.search import FoundShape, write_search_page
from act3d.report.viewer import Card, view

VOID = {"input", "wbr", "meta", "link", "img", "br", "circle", "polyline", "line"}


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


def report(seeds=(0, 1), linear=(60.0, 50.0, 50.0, 40.0), used=70, test_remark=""):
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(40, 3)).astype(np.float32)
    names = ("Pretrained", "Random", "Data-dependent", "Plain <b>")
    variants = [
        Variant(name, [value + s for s in seeds], [50.0 for _ in seeds], {"cup": 70.0})
        for name, value in zip(names, linear, strict=True)
    ]
    return QuickstartReport(
        teacher="MiniLM",
        classes=["cup", "pl<ate"],
        train_shapes=30,
        test_shapes=10,
        test_remark=test_remark,
        chance=50.0,
        variants=variants,
        retrieval=Retrieval(
            30,
            [
                (
                    Named("q", "cup", cloud),
                    {"Pretrained": [Named("c1", "cup", cloud, True), Named("p", "", cloud, False)]},
                )
            ],
            {"Pretrained": [50.0, 52.0]},
            10,
        ),
        codes=CodesUsed(dict.fromkeys(seeds, used), 512, 8),
        shapes=[Shape("a <b>", "CD-L1 3", cloud, cloud[:10], cloud)],
        charts=[Chart("step", "loss", {"seed 0": (np.arange(4.0), np.ones(4))})],
        map=EmbeddingMap(rng.normal(size=(6, 2)), np.array([0, 1] * 3), list("abcdef"), np.array([True, False] * 3)),
        commands="act3d prepare X --out Y  # with a remark",
        facts={"Seed": "0"},
        licence="CC BY-SA 4.0",
        footer="act3d",
        seeds=list(seeds),
    )


def written(tmp_path, **options):
    return write_quickstart(tmp_path / "r.html", report(**options)).read_text(encoding="utf-8")


def headline(page):
    return re.search(r'<div class="headline">.*?</div>\s*</div>', page, re.DOTALL).group()


def test_the_page_is_whole_and_fetches_nothing(tmp_path):
    page = written(tmp_path)
    parsed = Balanced(page)
    assert parsed.wrong == []
    assert parsed.open == []
    assert parsed.addresses
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\">" in page
    assert not re.search(r"fetch|XMLHttp|import\(|WebSocket|http", script)
    assert "@import" not in page
    assert not re.search(r"url\((?!data:|#)", page)
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src" in page


def test_text_from_outside_is_escaped(tmp_path):
    page = written(tmp_path)
    assert "a &lt;b&gt;" in page
    assert "pl&lt;ate" in page
    assert "pl<ate" not in page
    assert "Plain &lt;b&gt;" in page
    assert "Plain <b>" not in page
    # What is HTML already is not escaped again.
    assert "&lt;div" not in page
    assert "&lt;svg" not in page


def test_a_stranger_sees_shapes_before_tables(tmp_path):
    page = written(tmp_path)
    order = [
        "Which shapes does it find alike?",
        "Reconstructions",
        "Map of the embeddings",
        "Accuracy",
        "Training curves",
    ]
    places = [page.index(f"<h2>{title}") for title in order]
    assert places == sorted(places)
    assert "Over all 10 test shapes, the nearest shape has the query&#39;s class: Pretrained: 51.0 ± 1.4 %." in page
    assert page.count('class="right"') == page.count('class="wrong"') == 1


def test_one_seed_is_shown_without_spread(tmp_path):
    page = written(tmp_path, seeds=(4,))
    assert "seed 4" in page
    assert "a hint only" in page


@pytest.mark.parametrize(
    ("pretrained", "control", "words"),
    [
        ([70, 71, 72], [60, 61, 62], "beats random initialization by 10.0 points, more than"),
        ([60, 61, 62], [70, 71, 72], "loses to random initialization by 10.0 points, more than"),
        ([60, 65, 70], [62, 63, 64], "no difference shown"),
        ([70], [60], "hint only"),
    ],
)
def test_the_verdict_says_what_the_numbers_allow(pretrained, control, words):
    assert words in verdict(pretrained, control)


def test_the_headline_shows_a_gain_only_over_every_other_row(tmp_path):
    gain = headline(written(tmp_path, linear=(60.0, 50.0, 55.0, 40.0)))
    assert "<b>+5.0</b>" in gain
    assert "over the best other row, “Data-dependent”" in gain
    behind = headline(written(tmp_path, linear=(60.0, 50.0, 55.0, 70.0)))
    assert "<b>70.5 ± 0.7 %</b>" in behind
    assert "by the best other row, “Plain &lt;b&gt;”" in behind
    assert "points" not in behind
    worst = headline(written(tmp_path, linear=(40.0, 50.0, 45.0, 30.0)))
    assert "points" not in worst
    assert "<b>50.5 ± 0.7 %</b>" in worst


def test_a_teacher_that_uses_hardly_any_codes_is_named_and_nothing_is_claimed(tmp_path):
    assert codes_warning(CodesUsed({0: 70, 1: 8}, 512, 8)) == ""
    assert "seed 1, 3 uses 7, 1 of 512 codes" in codes_warning(CodesUsed({0: 70, 1: 7, 3: 1}, 512, 8))
    assert "it has learned next to nothing" not in written(tmp_path)
    page = written(tmp_path, used=1)
    assert "uses 1, 1 of 512 codes for all test shapes: it has learned next to nothing" in page
    assert "points" not in headline(page)


def test_only_what_is_known_of_the_test_shapes_is_said(tmp_path):
    assert "product families" not in written(tmp_path)
    page = " ".join(written(tmp_path, test_remark="of other product families").split())
    assert "tested on 10 test shapes of other product families." in page


def test_the_search_page_shows_queries_and_what_was_found(tmp_path):
    cloud = np.eye(3, dtype=np.float32)
    found = [FoundShape("cup <1>", "0.9 · cup", cloud, "/a/b"), FoundShape("cup 2", "0.8 · cup", None)]
    answers = [(FoundShape("query.obj", "query", cloud), found)]
    page = write_search_page(tmp_path / "p.html", "index & co", 7, answers).read_text(encoding="utf-8")
    assert Balanced(page).wrong == []
    assert "7 shapes in <code>index &amp; co</code>" in page
    assert page.count("data:image/png") == page.count(' data-p="') == 2
    assert 'data-text="cup &lt;1&gt; 0.9 · cup /a/b"' in page
    assert '<input type="search" data-filter>' in page
    assert "cup &lt;1&gt;" in page
    assert "<small>1.</small>" in page
    assert "cup 2" in page


def part(call):
    return _environment().from_string('{% import "parts.html" as parts %}{{ ' + call + " }}")


def test_parts_of_a_page():
    html = part('parts.table(["x"], [["<1>"], ["2"]], strong=[1])').render()
    assert "<td>&lt;1&gt;</td>" in html
    assert html.count('<tr class="strong">') == 1
    card = Card("A & B_c", "r", [("in", view(np.eye(3), "A & B"))], "wrong")
    html = part("parts.gallery(cards)").render(cards=[card])
    assert "✗</i>&nbsp;<b>A &amp; B_<wbr>c</b> r" in html
    assert 'alt="A &amp; B"' in html
    assert "<small>in</small>" in html
    assert Balanced(html).wrong == []


def test_remarks_in_commands_are_marked_and_code_is_escaped():
    html = part("parts.commands(text)").render(text="a <b> # c\n\nd #e f#g\n# h")
    lines = [
        'a &lt;b&gt; <span class="c"># c</span>',
        "",
        'd <span class="c">#e f#g</span>',
        '<span class="c"># h</span>',
    ]
    assert html.strip() == "<pre>" + "\n".join(lines) + "</pre>"
    assert split_remark("path#1 a") == ("path#1 a", "")
    assert "<dt>k</dt><dd>v&amp;w</dd>" in part('parts.facts({"k": "v&w"})').render()


def test_a_value_that_a_template_lacks_is_an_error():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="answers"):
        render("search.html", shapes=1, index="i")
