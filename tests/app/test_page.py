"""What a person does on the page of the app, in Chromium. Skipped where there is none."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.served import WAIT, Served, served, tab_of
from tests.browser import chromium
from tests.fixtures.small_models import write_box

SCREENS = ((360, 740), (1280, 900), (2560, 1300))


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "shapes"
    for i in range(12):
        write_box(folder / "rod" / f"rod{i:02}.obj", 1, 1, 4 + i)
        write_box(folder / "plate" / f"plate{i:02}.obj", 5, 5 + i, 0.5)
    write_box(folder / "a_very_long_name_of_a_shape_that_fits_no_card_and_no_screen_of_a_phone.obj", 1, 2, 3)
    return folder


@pytest.fixture(scope="module")
def app(library: Path, student_file: Path) -> Any:
    with served(library, checkpoint=str(student_file)) as running:
        yield running.indexed()


def expect(locator: Any) -> Any:
    """What a locator will be, within the time of `tab_of`."""
    from playwright.sync_api import expect as expected

    expected.set_options(timeout=WAIT)
    return expected(locator)


def shown(tab: Any) -> Any:
    return tab.locator(".card:visible")


def wait_until_inked(tab: Any, selector: str, pixels: int) -> None:
    """Wait until more pixels of a canvas are painted than that: it is drawn with a later frame of the screen."""
    canvas, end, painted = tab.locator(selector).first, time.monotonic() + WAIT / 1000, 0
    while time.monotonic() < end:
        painted = canvas.evaluate(
            "c => c.width ? c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
            ".filter((v, i) => i % 4 == 3 && v).length : 0"
        )
        if painted > pixels:
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"{selector}: {painted} pixels are painted, not more than {pixels}")


def first_neighbour(tab: Any) -> Any:
    """The name of the nearest shape, once the neighbours of the chosen shape are there."""
    expect(tab.locator("#nearest")).to_have_attribute("aria-busy", "false")
    return tab.locator("#nearest li:visible button").first.get_attribute("title")


def test_filter_choose_and_go_on_through_neighbours(browser: Any, app: Served) -> None:
    with tab_of(browser, app.url) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        expect(tab.locator(".card .drawn, .card > .drawn").first).to_be_visible()
        wait_until_inked(tab, ".card canvas", 200)
        tab.locator("#filter").fill("PLATE 03")
        expect(shown(tab)).to_have_count(1)
        expect(tab.locator("#count")).to_have_text("1 of 25 shapes")
        tab.locator("#filter").fill("nothing like this")
        expect(tab.locator("#empty")).to_be_visible()
        expect(tab.locator("#csv")).to_be_disabled()
        tab.locator("#filter").fill("")
        tab.locator("#class").select_option("rod")
        expect(tab.locator("#count")).to_have_text("12 of 25 shapes")
        shown(tab).first.click()
        expect(tab.locator("#name")).to_have_text("rod/rod00.obj")
        wait_until_inked(tab, "#large", 500)
        neighbours = tab.locator("#nearest li:visible")
        expect(neighbours).to_have_count(8)
        for _ in range(3):
            wanted = first_neighbour(tab)
            neighbours.first.locator("button").click()
            expect(tab.locator("#name")).to_have_text(wanted)
        tab.locator("#all-near").click()
        expect(tab.locator("#asked span")).to_contain_text("Nearest to")
        expect(shown(tab).first.locator("small")).to_contain_text("rod")
        tab.locator("#clear").click()
        expect(tab.locator("#asked")).to_be_hidden()
        expect(tab.locator("#words")).to_be_disabled()
        expect(tab.locator("#why")).to_contain_text("learnt no names")


def test_a_long_name_keeps_its_end(browser: Any, app: Served) -> None:
    name = "a_very_long_name_of_a_shape_that_fits_no_card_and_no_screen_of_a_phone.obj"
    with tab_of(browser, app.url) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        tab.locator("#filter").fill("very_long")
        expect(tab.locator("#count")).to_have_text("1 of 25 shapes")
        card = shown(tab)
        expect(card.locator("b")).to_have_text(name)
        expect(card.locator("b span").last).to_have_text("_a_phone.obj")
        seen = """([front, end]) => [front.scrollWidth > front.clientWidth, end.scrollWidth <= end.clientWidth,
            end.getBoundingClientRect().right <= end.closest(".card").getBoundingClientRect().right]"""
        assert card.locator("b").evaluate(f"b => ({seen})(b.children)") == [True, True, True]
        tab.locator("#filter").fill("")
        expect(tab.locator("#count")).to_have_text("25 shapes")
        shown(tab).first.click()
        expect(tab.locator("#nearest li:visible").first.locator("button > span > span").last).not_to_be_empty()


def test_a_file_is_dropped_and_turned(browser: Any, app: Served, library: Path) -> None:
    content = (library / "plate" / "plate05.obj").read_text()
    with tab_of(browser, app.url) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        data = tab.evaluate_handle(
            "text => { const d = new DataTransfer(); d.items.add(new File([text], 'mine.obj')); return d }", content
        )
        tab.dispatch_event("body", "dragenter", {"dataTransfer": data})
        expect(tab.locator("#over")).to_be_visible()
        tab.dispatch_event("body", "drop", {"dataTransfer": data})
        expect(tab.locator("#over")).to_be_hidden()
        expect(tab.locator("#name")).to_have_text("mine.obj")
        expect(tab.locator("#asked span")).to_have_text("Nearest to mine.obj")
        expect(shown(tab).first.locator("b")).to_have_text("plate05.obj")  # the class stands below
        expect(shown(tab).first).to_have_attribute("title", "plate/plate05.obj")
        expect(tab.locator("#classes-title")).to_have_text("Class, by the 10 nearest labelled shapes")
        expect(tab.locator("#classes li").first).to_contain_text("%")
        expect(tab.locator("#about")).to_contain_text("y is up")
        tab.locator("#tips button").first.click()
        expect(tab.locator("#about")).to_contain_text("-z is up")
        with tab.expect_file_chooser() as chooser:
            tab.locator("#choose").click()
        chooser.value.set_files({"name": "bad.obj", "mimeType": "", "buffer": b"v 1 2\nf 1 2 3\n"})
        expect(tab.locator("#error")).to_contain_text("bad.obj")


def test_the_latest_of_two_files_is_shown(browser: Any, app: Served, library: Path) -> None:
    with tab_of(browser, app.url) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        for name in ("rod/rod01.obj", "plate/plate02.obj"):
            tab.locator("#file").set_input_files(library / name)
        expect(tab.locator("#asked span")).to_have_text("Nearest to plate02.obj")
        expect(tab.locator("#name")).to_have_text("plate02.obj")


def test_everything_is_reached_by_keys(browser: Any, app: Served) -> None:
    with tab_of(browser, app.url) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        tab.keyboard.press("/")
        expect(tab.locator("#filter")).to_be_focused()
        tab.keyboard.type("rod")
        expect(tab.locator("#count")).to_have_text("12 of 25 shapes")
        for _ in range(12):
            tab.keyboard.press("Tab")
            if tab.evaluate("document.activeElement.id") == "grid":
                break
        expect(tab.locator("#grid")).to_be_focused()
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowRight")
        active = tab.locator("#grid").get_attribute("aria-activedescendant")
        expect(tab.locator(f"#{active} b")).to_have_text("rod02.obj")
        tab.keyboard.press("Enter")
        expect(tab.locator("#name")).to_have_text("rod/rod02.obj")
        expect(tab.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
        wanted = first_neighbour(tab)
        tab.locator("#nearest button").first.focus()
        tab.keyboard.press("Enter")
        expect(tab.locator("#name")).to_have_text(wanted)
        tab.keyboard.press("Escape")
        expect(tab.locator("#panel")).to_be_hidden()
        expect(tab.locator("#grid")).to_be_focused()


def test_tables_pages_and_paths_are_taken_along(browser: Any, app: Served, library: Path) -> None:
    with tab_of(browser, app.url, permissions=["clipboard-read", "clipboard-write"]) as tab:
        expect(tab.locator("#count")).to_have_text("25 shapes")
        tab.locator("#class").select_option("plate")
        expect(tab.locator("#count")).to_have_text("12 of 25 shapes")
        with tab.expect_download() as saved:
            tab.locator("#csv").click()
        assert saved.value.suggested_filename == "shapes.csv"
        assert len(Path(saved.value.path()).read_text().splitlines()) == 13
        with tab.expect_download() as saved:
            tab.locator("#share").click()
        assert Path(saved.value.path()).read_text().count("<figure") == 12
        shown(tab).first.click()
        expect(tab.locator("#path")).to_have_text(str(library / "plate" / "plate00.obj"))
        tab.locator("#copy").click()
        expect(tab.locator("#copy")).to_have_text("Copied")
        assert tab.evaluate("navigator.clipboard.readText()") == str(library / "plate" / "plate00.obj")


def test_a_shape_is_turned_and_new_files_are_found(browser: Any, student_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    for i in range(6):
        write_box(folder / f"rod{i}.obj", 1, 1, 5 + i)
    with served(folder, checkpoint=str(student_file)) as running, tab_of(browser, running.url) as tab:
        tab.locator("#refresh").click()  # the first indexing, seen by the page
        expect(tab.locator("#count")).to_have_text("6 shapes")
        shown(tab).first.click()
        expect(tab.locator("#map-note")).to_contain_text("Click a dot")
        tab.locator("#tips button").first.click()
        expect(tab.locator("#about")).to_contain_text("turned: -z is up")
        expect(tab.locator("#kept")).to_have_text("Turned; kept in the index")
        write_box(folder / "new.obj", 3, 3, 3)
        shutil.copy(folder / "new.obj", folder / "newer.obj")
        tab.locator("#refresh").click()  # while the turned shape is kept, or after it
        expect(tab.locator("#count")).to_have_text("8 shapes")


def test_it_fits_every_screen_in_light_and_dark(browser: Any, app: Served, tmp_path: Path) -> None:
    for width, height in SCREENS:
        for scheme in ("light", "dark"):
            with tab_of(browser, app.url, width, height, scheme) as tab:
                expect(tab.locator("#count")).to_have_text("25 shapes")
                assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
                expect(tab.locator(".card .drawn, .card > .drawn").first).to_be_visible()
                tab.screenshot(path=str(tmp_path / f"grid-{width}-{scheme}.png"))
                shown(tab).first.click()
                expect(tab.locator("#nearest li:visible")).to_have_count(8)
                expect(tab.locator("#map-note")).to_contain_text("Click a dot")
                assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
                ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, ground[4:-1].split(","))) > 380) == (scheme == "light")
                tab.screenshot(path=str(tmp_path / f"shape-{width}-{scheme}.png"))
    assert len(list(tmp_path.glob("*.png"))) == 12
