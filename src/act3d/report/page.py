"""Self-contained HTML pages from the templates in `report/templates`: no script, nothing fetched, pictures inside."""

import base64
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from act3d.files import write_text


def write_page(path: str | Path, template: str, **values: Any) -> Path:
    """Write the page that a template gives with these values, whole or not at all, and return its path."""
    write_text(path, render(template, **values))
    return Path(path)


def render(template: str, **values: Any) -> Markup:
    """Return the HTML that a template gives with these values.

    Text among the values is escaped; what `render` returned may be put into another template as it is.
    """
    return Markup(_environment().get_template(template).render(values))


def data_url(png: bytes) -> str:
    """Return a PNG file as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def split_remark(line: str) -> tuple[str, str]:
    """Return a line to type in two parts: the command, and the remark that starts with a # after a space."""
    match = re.search(r"(?:^|(?<=\s))#.*$", line)
    return (line[: match.start()], match.group()) if match else (line, "")


@cache
def _environment() -> Environment:
    # A value that a template names and nobody gave is an error, not an empty place on the page.
    environment = Environment(
        loader=PackageLoader("act3d.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_url": data_url, "split_remark": split_remark}
    return environment
