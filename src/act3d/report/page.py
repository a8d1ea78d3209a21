"""Self-contained HTML pages from the templates in `report/templates`: nothing fetched, pictures and script inside."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

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


def breaks(name: str) -> Markup:
    """Return a name that may be broken between lines after its slashes, dots, dashes and underscores."""
    return Markup(re.sub(r"(?<=[/_.-])(?=\w)", "<wbr>", str(escape(name))))


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
    environment.filters |= {"data_url": data_url, "split_remark": split_remark, "breaks": breaks}
    script = _script(environment)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # The page runs this script and no other, whatever a file's name may try to put in.
    environment.globals |= {"script": Markup(script), "script_source": f"'sha256-{digest}'"}
    return environment


def _script(environment: Environment) -> str:
    """Return the viewer's script without indentation and lines that are remarks."""
    assert environment.loader is not None
    lines = environment.loader.get_source(environment, "viewer.js")[0].splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("//"))
