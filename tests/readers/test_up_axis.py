"""Which axis is up: asked for, as in training, said by the file, or a guess that is told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from act3d.data import open_dataset
from act3d.readers.up_axis import SAID_UP, choose_up, up_note
from act3d.use.points import read_points
from tests.readers.helpers import CASES

KICAD = {"source_up": "z", "source_formats": {".wrl": "z"}, "scale": 2.54, "normalization": "unit_sphere"}


@pytest.mark.parametrize(
    ("suffix", "of_file", "meta", "asked", "expected", "told"),
    [
        (".obj", "", {}, None, ("y", "guess"), True),
        (".obj", "", {"source_up": "z"}, None, ("z", "training"), True),
        (".obj", "", KICAD, None, ("y", "guess"), True),
        (".WRL", "", KICAD, None, ("z", "training"), True),
        (".glb", "y", KICAD, None, ("y", "file"), False),
        (".glb", "y", {"source_up": "z"}, None, ("y", "file"), False),
        (".glb", "y", {"source_formats": {".glb": "z"}}, None, ("z", "training"), False),
        (".3mf", "z", {"source_up": "y", "source_formats": {".obj": "y"}}, None, ("z", "file"), False),
        (".glb", "y", KICAD, "x", ("x", "asked"), False),
        (".stl", "", {"source_up": None}, None, ("y", "guess"), True),
    ],
)
def test_what_is_up(
    suffix: str, of_file: str, meta: dict[str, Any], asked: str | None, expected: tuple[str, str], told: bool
) -> None:
    up = choose_up(suffix, of_file, meta, asked)
    assert up == expected
    assert bool(up_note(up, suffix)) == told
    assert not told or f"{up.axis}" in up_note(up, suffix)


def test_the_axis_of_kicad_is_not_that_of_a_users_obj() -> None:
    meta = open_dataset("sample").meta
    assert meta["source_formats"] == {".wrl": "z"}
    obj, dae, zup = (read_points(CASES / name, meta, 2000) for name in ("plain.obj", "plain.dae", "zup_twin.dae"))
    assert torch.equal(obj, read_points(CASES / "plain.obj", meta, 2000, up="y"))
    for cloud in (dae, zup):
        assert torch.allclose(cloud, obj, atol=1e-4)


def test_the_readers_say_what_the_table_says(tmp_path: Path) -> None:
    from act3d.readers.by_suffix import read_shape

    for name in ("plain.dae", "external.gltf", "gpu_instancing.glb"):
        assert read_shape(CASES / name).up == SAID_UP[Path(name).suffix]
