"""Released files of the parity cases, written once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import act3d
from tests.parity import cases


@pytest.fixture(scope="session")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a case's `.pth`, as torch.save wrote the released ones."""
    folder, made = tmp_path_factory.mktemp("released"), {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.pth"
            torch.save(cases.released(name), made[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def loaded(released_file: Callable[[str], Path]) -> Callable[[str], torch.nn.Module]:
    """The act3d model of a case, through act3d's loader."""
    made: dict[str, torch.nn.Module] = {}

    def get(name: str) -> torch.nn.Module:
        if name not in made:
            made[name] = act3d.load(released_file(name))
        return made[name]

    return get
