"""What a reader's browser shows of the pages, and what their hand can do. Skipped where there is no Chromium."""

import numpy as np
import pytest

from act3d.report import write_page
from act3d.report.confusion import write_confusion
from act3d.report.dataset import ClassRow, DatasetPage, write_dataset_page
from act3d.report.figure import Figure, Panel, write_figure
from act3d.report.pieces import Named, Shape
from act3d.report.run_page import NumbersTable, RunPage, write_run_page
from act3d.report.search import FoundShape, write_search_page
from act3d.report.viewer import Card, by_label, view
from tests.browser import chromium, opened, pixels, screenshots
from tests.report.test_page import report, write_quickstart

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A search page of a red point in front of a blue one, and of a cloud by height."""
    folder = tmp_path_factory.mktemp("pages")
    two = view([[0, 0, 0.5], [0, 0, -0.5]], "two points", by_label([0, 1], [RED, BLUE]), (np.zeros(3), 1.0), 0.3)
    cloud = np.random.default_rng(0).normal(size=(200, 3))
    cards = [Card("red chair", "chair", [("", two)], place="a/red"), Card("lamp", "", [("", view(cloud, "lamp"))])]
    query = Card("query", "", [("", view(cloud, "query"))])
    return write_page(
        folder / "p.html", "search.html", index="i", shapes=2, answers=[(query, cards)], title="like", measure="1"
    )


def expect(locator):
    """What a locator will be within five seconds: a browser need not have done it when the key is up."""
    from playwright.sync_api import expect as expected  # not installed where these tests are skipped

    return expected(locator)


def drawn(tab):
    """Wait until three clouds are drawn (`wait_for_function` evaluates text, which the policy of the page forbids)."""
    tab.locator(".drawn").nth(2).wait_for(state="attached")


def middle(tab, selector="canvas[aria-label='two points']"):
    drawn(tab)
    return tuple(
        tab.evaluate(
            "s => { const c = document.querySelector(s); return [...c.getContext('2d')"
            ".getImageData(c.width / 2, c.height / 2, 1, 1).data].slice(0, 3) }",
            selector,
        )
    )


def settled(tab):
    """Wait until the next frame has been drawn."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def long_pages(folder):
    """Pages of every kind, with names too long for a small screen."""
    rng = np.random.default_rng(0)
    cloud, name = rng.normal(size=(200, 3)), "Some_very_long_name_of_a_file/" * 4
    found = [FoundShape(name, "0.9 · cup", cloud, "/very/long" * 20)] * 30
    yield write_search_page(folder / "search.html", "i", 9, [(found[0], found)] * 2)
    yield write_quickstart(folder / "quickstart.html", report())
    panel = Panel(cloud, name, "F 0.123 · CD-L1 12.3\nCD-L2 0.4")
    yield write_figure(folder / "figure.html", Figure("Figure", [[panel] * 5] * 2, [name, ""], scale=("0", "1")))
    classes = [f"class_number_{i}" for i in range(20)]
    write_confusion(np.eye(20, dtype=np.int64) + 1, classes, folder, [(name, 0, 1, cloud), (name, 3, 2, cloud)])
    yield folder / "confusion.html"
    rows = [ClassRow(name, {"train": 3, "test": 1}, (1, 2, 0.5), 7.0), ClassRow("b", {"train": 1}, (1, 1, 1), None)]
    shown = [Named(name, "a remark", cloud)]
    dataset = DatasetPage("d", {"Source": "/x" * 90}, ["train", "test"], rows, "m", {name: shown}, shown)
    yield write_dataset_page(folder / "dataset.html", dataset)
    page = RunPage(
        "Runs",
        "lead",
        shapes=[Shape(name, name, cloud, cloud, cloud)],
        numbers=[NumbersTable("act3d probe", ["overall accuracy, %"] * 9, [[name] * 9])],
    )
    yield write_run_page(folder / "run.html", page)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return {path.stem: path for path in long_pages(tmp_path_factory.mktemp("long"))}


@pytest.mark.parametrize("name", ["search", "quickstart", "figure", "confusion", "dataset", "run"])
def test_every_page_fits_every_screen_in_light_and_dark(browser, pages, tmp_path, name):
    assert len(pages) == 6  # each is a test of its own: large pictures take their time on a busy machine
    screenshots(browser, pages[name], tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 6


def test_the_near_point_covers_the_far_one_and_keys_turn(browser, page):
    with opened(browser, page) as tab:
        canvas = tab.locator("canvas[aria-label='two points']")
        canvas.focus()
        for _ in range(4):  # 0.6 radians: from the first view to the front
            canvas.press("ArrowRight")
        for _ in range(3):
            canvas.press("ArrowDown")
        settled(tab)
        red, _, blue = middle(tab)
        assert red > 100
        assert blue == 0
        for _ in range(21):  # half a turn
            canvas.press("ArrowLeft")
        settled(tab)
        red, _, blue = middle(tab)
        assert blue > 100
        assert red == 0
        canvas.press("c")  # by height instead of by label: both points are equally high
        settled(tab)
        assert middle(tab)[0] > 20


def test_dragging_turns_wheel_zooms_what_was_chosen_and_clouds_of_a_card_turn_together(browser, page):
    with opened(browser, page) as tab:
        canvas = tab.locator("canvas[aria-label='lamp']")
        canvas.scroll_into_view_if_needed()
        selector = "canvas[aria-label='lamp']"
        before = pixels(tab, selector)
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 40, y + 5, steps=4)
        tab.mouse.up()
        settled(tab)
        turned = pixels(tab, selector)
        assert turned != before
        expect(tab.locator("dialog")).to_have_count(0)  # a drag is no click
        tab.evaluate("document.activeElement.blur()")
        tab.mouse.wheel(0, -100)
        settled(tab)
        assert pixels(tab, selector) == turned  # the page scrolls, the cloud stays
        canvas.focus()
        canvas.press("+")
        settled(tab)
        assert pixels(tab, selector) != turned
        canvas.press("0")
        settled(tab)
        assert pixels(tab, selector) == before


def test_fingers_turn_pinch_and_tap(browser, page):
    with opened(browser, page, width=360, has_touch=True, is_mobile=True) as tab:
        selector = "canvas[aria-label='lamp']"
        canvas = tab.locator(selector)
        canvas.scroll_into_view_if_needed()
        drawn(tab)
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        device = tab.context.new_cdp_session(tab)

        def fingers(*steps):
            """Put fingers down at the first places, move them through the others, and lift them."""
            for number, places in enumerate([*steps, []]):
                kind = "touchEnd" if not places else "touchMove" if number else "touchStart"
                points = [{"x": x + a, "y": y + b, "id": i} for i, (a, b) in enumerate(places)]
                device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            settled(tab)

        before = pixels(tab, selector)
        fingers([(0, 0)], [(15, 0)], [(40, 0)])
        turned = pixels(tab, selector)
        assert turned != before
        fingers([(-10, 0), (10, 0)], [(-20, 0), (20, 0)], [(-45, 0), (45, 0)])
        pinched = pixels(tab, selector)
        assert sum(pinched[3::4]) > 1.3 * sum(turned[3::4])  # nearer: more of the picture is covered
        assert tab.evaluate("visualViewport.scale") == 1  # the shape grew, not the page
        expect(tab.locator("dialog")).to_have_count(0)
        fingers([(0, 0)])
        expect(tab.locator("dialog")).to_have_count(1)


def test_a_click_or_enter_enlarges_and_escape_closes(browser, page):
    with opened(browser, page) as tab:
        drawn(tab)
        canvas = tab.locator("canvas[aria-label='two points']")
        canvas.click()
        dialog = tab.locator("dialog")
        expect(dialog.locator("b")).to_have_text("two points")
        assert dialog.locator("canvas").bounding_box()["width"] > 1.5 * canvas.bounding_box()["width"]
        tab.keyboard.press("Escape")
        expect(dialog).to_have_count(0)  # it goes when its event comes, not with the key
        expect(canvas).to_be_focused()
        canvas.press("Enter")
        expect(dialog).to_have_count(1)


def test_shapes_turn_slowly_unless_less_motion_is_asked_for(browser, page):
    for still in (True, False):
        with opened(browser, page, still=still) as tab:
            selector = "canvas[aria-label='lamp']"
            drawn(tab)
            before, tries = pixels(tab, selector), 0
            while pixels(tab, selector) == before and tries < (3 if still else 50):
                tab.wait_for_timeout(200)
                tries += 1
            assert (pixels(tab, selector) == before) == still


def test_the_filter_hides_cards_that_lack_a_word(browser, page):
    with opened(browser, page) as tab:
        tab.locator("input[data-filter]").fill("Chair a/red")
        expect(tab.locator("figure[data-text]:visible")).to_have_count(1)
        expect(tab.locator(".query figure")).to_be_visible()
        tab.locator("input[data-filter]").fill("")
        expect(tab.locator("figure[data-text]:visible")).to_have_count(2)


def test_still_pictures_serve_print_and_readers_without_scripts(browser, page):
    with opened(browser, page, java_script_enabled=False) as tab:
        expect(tab.locator("img").first).to_be_visible()
        expect(tab.locator("canvas").first).to_be_hidden()
        expect(tab.locator("input")).to_be_hidden()
    with opened(browser, page) as tab:
        drawn(tab)
        expect(tab.locator("img").first).to_be_hidden()
        tab.emulate_media(media="print")
        expect(tab.locator("img").first).to_be_visible()
        expect(tab.locator("canvas").first).to_be_hidden()


def test_a_dot_of_the_map_shows_its_shape(browser, tmp_path):
    from dataclasses import replace

    made = report()
    clouds = [np.random.default_rng(i).normal(size=(60, 3)) for i in range(6)]
    with opened(
        browser, write_quickstart(tmp_path / "q.html", replace(made, map=replace(made.map, clouds=clouds)))
    ) as tab:
        tab.locator(".map svg[tabindex]").scroll_into_view_if_needed()
        tab.wait_for_selector(".map .drawn")
        shown = tab.locator(".map [data-title]")
        before = pixels(tab, ".map canvas")
        tab.locator(".map .spot").first.hover(force=True)
        settled(tab)
        expect(shown).to_have_text(tab.locator(".map .spot title").first.text_content())
        settled(tab)
        assert pixels(tab, ".map canvas") != before
        said = shown.inner_text()
        tab.locator(".map svg[tabindex]").press("ArrowRight")
        expect(shown).not_to_have_text(said)


def test_a_name_cannot_bring_in_a_script(browser, tmp_path):
    bad = "<img src=x onerror=document.title=1><script>document.title=2</script>\"'"
    shape = FoundShape(bad, bad, np.eye(3), bad)
    page = write_search_page(tmp_path / "x.html", bad, 1, [(shape, [shape])])
    with opened(browser, page) as tab:
        tab.locator("figure[data-text] canvas").click()
        tab.wait_for_timeout(100)
        assert "document.title" in tab.title()
        assert tab.locator("dialog b").inner_text() == bad.strip()


def test_a_count_of_the_confusion_matrix_opens_its_shapes(browser, tmp_path):
    cloud = np.random.default_rng(0).normal(size=(50, 3))
    write_confusion(np.array([[3, 1], [0, 2]]), ["cup", "lamp"], tmp_path, [("mug", 0, 1, cloud)])
    with opened(browser, tmp_path / "confusion.html") as tab:
        tab.locator("td a").click()
        expect(tab.locator("section:target figure")).to_have_count(1)
        expect(tab.locator("section:target h3")).to_contain_text("cup taken for lamp: 1")
