"""One self-contained HTML page: no script, nothing fetched, pictures inside; light or dark as the reader's system."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from act3d.files import write_text


@dataclass(frozen=True)
class Section:
    """A heading and the HTML below it (made by the functions of this package, which escape what they are given)."""

    heading: str
    html: str


def write_page(path: str | Path, title: str, lead: str, sections: Sequence[Section], footer: str = "") -> Path:
    """Write the page, whole or not at all, and return its path.

    Args:
        path: The file to write.
        title: Plain text.
        lead: HTML under the title, such as `paragraph(...)`.
        sections: What follows.
        footer: Plain text at the end.
    """
    style = files("act3d.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "".join(f"<section><h2>{escape(s.heading)}</h2>{s.html}</section>\n" for s in sections)
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The browser itself then refuses to fetch anything: the page stays what it was when written.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n<header><h1>{escape(title)}</h1>{lead}</header>\n{body}"
        f"<footer>{escape(footer)}</footer>\n</main>\n</body>\n</html>\n"
    )
    write_text(path, page)
    return Path(path)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; words between `backticks` are set as code. kind: "", "lead" or "note"."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return f'<p class="{kind}">{marked}</p>' if kind else f"<p>{marked}</p>"


def headline(numbers: Sequence[tuple[str, str]]) -> str:
    """Large figures with what they mean, (figure, meaning); the first is set in the accent colour."""
    cells = "".join(f"<div><b>{escape(figure)}</b><span>{escape(text)}</span></div>" for figure, text in numbers)
    return f'<div class="headline">{cells}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], strong: Sequence[int] = ()) -> str:
    """A table of plain text, first column to the left, the others to the right; rows in `strong` are set bold."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = ""
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body += f'<tr class="strong">{cells}</tr>' if i in strong else f"<tr>{cells}</tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def gallery(cards: Sequence[tuple[str, str, Sequence[tuple[str, bytes]]]]) -> str:
    """Cards of PNG pictures side by side: (title, remark, [(what it is, PNG file), ...])."""
    parts = []
    for title, remark, pictures in cards:
        cells = "".join(
            f'<div><img src="{data_url(png)}" alt="{escape(f"{title}: {what}")}"><small>{escape(what)}</small></div>'
            for what, png in pictures
        )
        parts.append(
            f"<figure><div>{cells}</div><figcaption><b>{escape(title)}</b> {escape(remark)}</figcaption></figure>"
        )
    return f'<div class="gallery">{"".join(parts)}</div>'


def charts(items: Sequence[str]) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(items)}</div>'


def commands(text: str) -> str:
    """Lines to type; what follows a # is set as a remark."""
    lines = [
        re.sub(r"(^|\s)(#.*)$", r'\1<span class="c">\2</span>', escape(line)) for line in text.strip().splitlines()
    ]
    return f"<pre>{chr(10).join(lines)}</pre>"


def facts(items: Mapping[str, str]) -> str:
    """Names and values, one a line."""
    return f'<dl class="facts">{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items.items())}</dl>'


def details(summary: str, html: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def data_url(png: bytes) -> str:
    """A PNG file as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
