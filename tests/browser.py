"""A headless Chromium for tests of pages: sizes, colour schemes, what a reader's hand does."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 1280, 2560)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; skip the test, with the reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium found: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any, page: Path, width: int = 1280, scheme: str = "light", still: bool = True, **context: Any
) -> Iterator[Any]:
    """Open a page's file, and fail if it asks for anything else or its script has an error."""
    wrong: list[str] = []
    motion = "reduce" if still else "no-preference"
    view = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion, **context
    )
    tab = view.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else 0)
    tab.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(("file:", "data:")) else 0)
    tab.goto(page.resolve().as_uri())
    try:
        yield tab
    finally:
        view.close()
    assert not wrong, f"{page.name}: {wrong}"


def overflow(tab: Any) -> int:
    """How many pixels the page is wider than the screen."""
    return int(tab.evaluate("document.documentElement.scrollWidth - innerWidth"))


def pixels(tab: Any, selector: str = "canvas") -> list[int]:
    """The pixels of a canvas, once it is drawn."""
    tab.locator(".drawn > canvas").and_(tab.locator(selector)).first.wait_for(state="attached")
    found = tab.evaluate(
        "s => { const c = document.querySelector(s); return [...c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data] }",
        selector,
    )
    return list(found)


def screenshots(browser: Any, page: Path, folder: Path) -> None:
    """Write pictures of a page at three widths, light and dark; every time it must fit the screen and be drawn."""
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            with opened(browser, page, width, scheme) as tab:
                assert overflow(tab) <= 0, f"{page.name} is wider than {width} pixels"
                used = tab.evaluate("document.querySelector('main').getBoundingClientRect().width")
                assert used >= 0.85 * width, f"{page.name} uses {used} of {width} pixels"
                shown = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, shown[4:-1].split(","))) > 380) == (scheme == "light")
                tab.screenshot(path=str(folder / f"{page.stem}-{width}-{scheme}.png"), full_page=True)
