"""STEP and IGES: units, axes, solids, colours; what is damaged; packages that are missing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from act3d.commands.prepare import prepare
from act3d.data import open_dataset
from act3d.errors import InputError, MissingDependency
from act3d.readers.by_suffix import read_shape
from act3d.readers.guarded import Lost, limits_for, read_one
from tests.readers.step_files import Box, write_step

SQUARES = [  # corners of the six sides of the unit cube
    [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)], [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)],
    [(0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1)], [(0, 1, 0), (1, 1, 0), (0, 1, 1), (1, 1, 1)],
    [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)], [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)],
]  # fmt: skip


def write_iges(path: Path, size: tuple[float, float, float], unit: int, name: str) -> Path:
    """A box whose sides are B-spline surfaces of degree 1 (entity 128); unit 1 = inches, 2 = millimetres."""
    head = f"1H,,1H;,4Hcube,8Hcube.igs,3Hown,3Hown,32,38,6,308,15,4Hcube,1.0,{unit},2H{name},1,0.01,"
    head += "15H20260101.000000,1E-6,10.0,2Hme,2Hus,11,0,15H20260101.000000;"

    def section(text: str, letter: str, width: int = 72) -> list[str]:
        pieces = [text[i : i + width] for i in range(0, len(text), width)]
        return [f"{piece:<72}{letter}{number:7}" for number, piece in enumerate(pieces, start=1)]

    directory, parameters = [], []
    for square in SQUARES:
        points = ",".join(f"{x * s:.6f}" for corner in square for x, s in zip(corner, size, strict=True))
        text = f"128,1,1,1,1,0,0,1,0,0,0.,0.,1.,1.,0.,0.,1.,1.,1.,1.,1.,1.,{points},0.,1.,0.,1.;"
        first, entry = len(parameters) + 1, len(directory) + 1
        pieces = [text[i : i + 64] for i in range(0, len(text), 64)]
        parameters += [f"{piece:<64}{entry:8}P{first + number:7}" for number, piece in enumerate(pieces)]
        fields = [128, first, 0, 0, 0, 0, 0, 0, "00000000"], [128, 0, 0, len(pieces), 0, "", "", "", 0]
        for row in fields:
            directory.append("".join(f"{value:>8}" for value in row) + f"D{len(directory) + 1:7}")
    start, globals_ = section("a box", "S"), section(head, "G")
    counts = f"S{len(start):7}G{len(globals_):7}D{len(directory):7}P{len(parameters):7}"
    path.write_text("\n".join([*start, *globals_, *directory, *parameters, f"{counts:<72}T{1:7}"]) + "\n")
    return path


@pytest.mark.parametrize(("unit", "name", "metres"), [(1, "IN", 0.0254), (2, "MM", 0.001)])
def test_iges_is_read_in_metres_whatever_its_unit(tmp_path: Path, unit: int, name: str, metres: float) -> None:
    pytest.importorskip("cascadio", reason="the extra cad")
    path = write_iges(tmp_path / "box.igs", (2.0, 3.0, 5.0), unit, name)
    shape = read_one(read_shape, path, limits_for(path))
    assert not isinstance(shape, Lost), shape
    assert np.allclose(shape.vertices.min(axis=0), 0, atol=1e-9)
    assert np.allclose(shape.vertices.max(axis=0), np.array([2.0, 3.0, 5.0]) * metres, rtol=1e-5)
    assert shape.up == ""  # neither format says


@pytest.mark.parametrize(("unit", "metres"), [("mm", 0.001), ("m", 1.0), ("inch", 0.0254)])
def test_a_box_in_step_is_read_in_metres_whatever_its_unit(tmp_path: Path, unit: str, metres: float) -> None:
    pytest.importorskip("cascadio", reason="the extra cad")
    path = write_step(tmp_path / "box.step", [Box("box", (2, 3, 5), color=(1, 0.5, 0))], unit)
    shape = read_one(read_shape, path, limits_for(path))
    assert not isinstance(shape, Lost), shape
    assert np.allclose(shape.vertices.min(axis=0), 0, atol=1e-9)
    assert np.allclose(shape.vertices.max(axis=0), np.array([2, 3, 5]) * metres, rtol=1e-6)
    assert (len(shape.faces), shape.group_names) == (12, ["box"])
    a, b, c = (shape.vertices[shape.faces[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a) * a).sum() / 6 == pytest.approx(30 * metres**3)  # sides look outwards
    assert np.allclose(shape.colors[shape.materials], [1, 0.5, 0], atol=0.01)


def test_an_assembly_is_one_shape_or_one_each(tmp_path: Path) -> None:
    pytest.importorskip("cascadio", reason="the extra cad")
    parts = [Box("leg", (1, 1, 4), (1, 1, 0), (1, 0, 0)), Box("seat", (4, 4, 1), (0, 0, 4), (0, 0, 1))]
    path = write_step(tmp_path / "stools/stool.step", parts)
    shape = read_shape(path)
    for number, (name, size, place, color) in enumerate(parts):
        own = shape.vertices[shape.faces[shape.groups == number]].reshape(-1, 3)
        assert shape.group_names[number] == name
        assert np.allclose([own.min(axis=0), own.max(axis=0)], np.array([place, np.add(place, size)]) / 1000)
        assert np.allclose(shape.colors[shape.materials[shape.groups == number]], color)
    one = prepare(
        str(path.parent), out=str(tmp_path / "one"), points=256, workers=1, parts="groups", channels="xyz,rgb",
        normalization="none", up="z",
    )  # fmt: skip
    assert (one.clouds, one.failures) == (1, [])
    clouds = open_dataset(tmp_path / "one", channels=("rgb",))
    points, ids = clouds.read(np.arange(1), 0)
    assert clouds.parts == ["leg", "seat", "other"]  # the last for faces of no solid
    leg, height = ids[0] == 0, points[0, :, 1] - points[0, :, 1].min()
    assert height[leg].max() < 0.0041 < 0.0049 < height.max()
    assert height[~leg].min() > 0.0039
    assert np.allclose(points[0, leg, 3:], [1, -1, -1], atol=0.01)
    assert np.allclose(points[0, ~leg, 3:], [-1, -1, 1], atol=0.01)
    each = prepare(str(path.parent), out=str(tmp_path / "each"), points=256, workers=1, assembly="each")
    assert each.clouds == 2
    scales = np.array([float(value) for value in open_dataset(tmp_path / "each").columns()["scale"]])
    assert np.allclose(np.sort(scales), [0.0021, 0.0029], atol=0.0002)


@pytest.mark.parametrize("suffix", [".step", ".iges"])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("cascadio", reason="the extra cad")
    path = tmp_path / f"bad{suffix}"
    path.write_text("ISO-10303-21;\nHEADER;\nnonsense")
    with pytest.raises(InputError, match=r"no readable|holds no"):
        read_shape(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cascadio", None)
    (tmp_path / "part.step").write_text("ISO-10303-21;")
    with pytest.raises(MissingDependency, match="cascadio: pip install"):
        read_shape(tmp_path / "part.step")


@pytest.mark.parametrize(("name", "said"), [("a.fbx", "export it as .glb"), ("b.sldprt", "export it as .step")])
def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=said):
        read_shape(tmp_path / name)
