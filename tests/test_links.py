"""Relative links in the documents lead to files, and to headings that are there; the README names every extra."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
MADE = ("reference/commands.md", "reference/python.md", "reference/presets.md", "tutorials/")  # by make docs


def text_of(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ +(.+)$", text_of(path), re.MULTILINE)
    plain = [
        re.sub(r"[^\w\s-]", "", re.sub(r"`|\[([^]]*)\]\([^)]*\)", r"\1", title)).strip().lower() for title in titles
    ]
    return {re.sub(r"\s", "-", title) for title in plain} | {re.sub(r"[-\s]+", "-", title) for title in plain}


def links() -> list[tuple[str, str]]:
    found = {(str(path.relative_to(ROOT)), link) for path in DOCUMENTS for link in LINK.findall(text_of(path))}
    return sorted((name, link) for name, link in found if not re.match(r"[a-z]+:", link))


def test_there_are_links() -> None:
    assert len(links()) > 60


@pytest.mark.parametrize(("document", "link"), links())
def test_a_relative_link_leads_somewhere(document: str, link: str) -> None:
    place, _, anchor = unquote(link).partition("#")
    target = (ROOT / document).parent / place if place else ROOT / document
    if not target.exists():
        inside = target.resolve().relative_to(ROOT / "docs").as_posix()
        assert inside.startswith(MADE), f"{document}: {link}"
    elif anchor and target.suffix == ".md":
        assert anchor in anchors(target), f"{document}: {link}"


def test_the_readme_names_every_extra() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    said = text[text.index("\nExtras: ") :].partition("\n\n")[0]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras) <= set(re.findall(r"`(\w+)`", said))
