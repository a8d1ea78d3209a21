"""Released files of the parity cases, written once a session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import act3d
from act3d.use.predictor import Predictor
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
def loaded(released_file: Callable[[str], Path]) -> Callable[[str], Predictor[Any]]:
    """The predictor of a case, through act3d's loader."""
    made: dict[str, Predictor[Any]] = {}

    def get(name: str) -> Predictor[Any]:
        if name not in made:
            made[name] = act3d.load(released_file(name))
        return made[name]

    return get
