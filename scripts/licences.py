"""The licences of all that act3d needs, from what the installed packages say of themselves.

    python scripts/licences.py > docs/licences.md

Packages for development only (tests, linters) are not distributed with act3d and not listed, nor are NVIDIA's own,
which torch's builds for CUDA bring under NVIDIA's licence.
"""

import importlib.metadata as metadata
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# What may be used beside MIT without opening one's own source. MPL 2.0 asks for changes of the package's own files.
ALLOWED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND|MIT-CMU|Unlicense|Zlib|MPL|Mozilla Public|0BSD|CC0)\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b([AL]?GPL|GNU|SSPL|BUSL|proprietary|non-?commercial)\b", re.IGNORECASE)
NOT_SHIPPED = ("dev", "docs")

HEAD = """# Licences of what act3d needs

act3d itself is MIT. These are the packages that it needs, with all extras but those for development, by what each says
of itself: what an installation for the tests of this repository has (26 November 2026; `python scripts/licences.py`
prints this page). `tests/test_licences.py` checks them all. Weights and data have licences of their own.

| package | licence |
|---|---|"""


def needed() -> set[str]:
    """Names of all installed packages that act3d needs, with its extras and their own needs."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in NOT_SHIPPED}
    found: set[str] = set()
    waiting = [Requirement(line) for lines in (project["dependencies"], *extras.values()) for line in lines]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name != "act3d" and name not in found and not name.startswith(("nvidia-", "cuda-")) and _installed(name):
            found.add(name)
            waiting += _needs(name, need.extras)
    return found


def _needs(package: str, extras: Iterable[str]) -> Iterator[Requirement]:
    for line in metadata.requires(package) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield need


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def licence(name: str) -> str:
    """What a package says of its licence, in a few words; empty where it says nothing."""
    about = metadata.metadata(name)
    classifiers = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if "License ::" in text]
    (expression, *_), text = about.get_all("License-Expression") or [""], "\n".join(about.get_all("License") or [])
    plain = [line.strip() for line in text.splitlines() if line.strip()]
    for words in (expression, ", ".join(classifiers), plain[0] if plain else ""):
        if words and words != "OSI Approved":
            return words
    return _first_line(name)


def _first_line(name: str) -> str:
    """The first line of a package's licence file, which is its title; empty where there is none."""
    for path in metadata.files(name) or ():
        if re.match(r"(LICEN[CS]E|COPYING)", path.name, re.IGNORECASE) and Path(path.locate()).is_file():
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return lines[0] if lines else ""
    return ""


def refused(words: str) -> bool:
    """Tell whether a licence is none that may be used."""
    alternatives = re.split(r"\s+OR\s+", words)
    return not any(ALLOWED.search(words) and not REFUSED.search(words) for words in alternatives)


def page() -> str:
    """The page, sorted by name."""
    return "\n".join([HEAD, *(f"| {name} | {licence(name)} |" for name in sorted(needed()))])


if __name__ == "__main__":
    print(page())
