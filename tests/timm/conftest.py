"""These tests need timm, which lives in an environment of its own: scripts/test_timm.sh (make test-timm)."""

import importlib.util
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip without trying to import timm: beside a torchvision without operators that raises more than ImportError."""
    if importlib.util.find_spec("timm") is not None:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs timm: scripts/test_timm.sh"))


@pytest.fixture(scope="session")
def timm():
    """timm, imported the way act3d does it."""
    from act3d.models.backbones import timm_models

    return timm_models._timm()
