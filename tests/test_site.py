"""The site is built without warnings, asks nothing of others, and shows code that is the code."""

import ast
import re
import subprocess
import sys
import textwrap
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(1200)  # the site is built once: 4 processor seconds
LOADS = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


class Loaded(HTMLParser):
    """Collects the addresses that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADS and given.get("rel") != "canonical":
            self.addresses.append(given.get(LOADS[tag]) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason="the site needs act3d[docs]")
    out = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in reader.addresses if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_made_pages_hold_commands_functions_and_equations(site: Path) -> None:
    commands = (site / "reference/commands/index.html").read_text(encoding="utf-8")
    assert "--optim.warmup_epochs" in commands
    assert 'id="act3d-teach"' in commands
    python = (site / "reference/python/index.html").read_text(encoding="utf-8")
    assert "act3d.use.load.load" in python
    assert "CheckpointError" in python
    assert (site / "act/index.html").read_text(encoding="utf-8").count("<math") == 5
    tutorial = (site / "tutorials/1_act/index.html").read_text(encoding="utf-8")
    assert "codes of the patches" in tutorial
    assert "<img" in tutorial


def code_beside_equations() -> list[tuple[str, str]]:
    text = (ROOT / "docs/act.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n# (src/\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("path", "code"), code_beside_equations())
def test_code_beside_an_equation_is_the_code(path: str, code: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    ast.parse(textwrap.dedent(f"def f(self):\n{textwrap.indent(code, '    ')}"))
    lines = [line.strip() for line in source.splitlines()]
    shown = [line.strip() for line in code.strip().splitlines()]
    assert any(lines[at : at + len(shown)] == shown for at in range(len(lines))), f"{path} has no such lines"


def test_there_is_code_beside_the_equations() -> None:
    assert len(code_beside_equations()) >= 8
