"""Files of strangers that once gave another shape, stopped a command or asked for the impossible."""

import os
from pathlib import Path

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.readers.by_suffix import READERS, read_shape
from act3d.readers.cad import CAD_SUFFIXES
from act3d.readers.las import open_las
from act3d.readers.shape import check_vertices
from tests.readers.helpers import CASES, HOSTILE, is_the_shape

MESHES = [
    "bom.obj", "external.gltf", "facesind.obj", "gpu_instancing.glb", "plain.dae", "plain.obj",
    "quantized_normalized_two.glb", "trailing.stl", "tristrips.ply", "zup_twin.dae",
]  # fmt: skip
CLOUDS = ["bom.xyz", "cloud_emptyfaces.ply", "decimal_comma_semicolon.xyz", "id_header.xyz", "n3.npy"]


@pytest.mark.parametrize("name", MESHES)
def test_meshes_are_the_one_shape(name: str) -> None:
    assert is_the_shape(read_shape(CASES / name))


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_are_the_one_cloud(name: str) -> None:
    shape = read_shape(CASES / name)
    assert shape.faces is None
    assert np.allclose(shape.vertices, np.load(CASES / "n3.npy"), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("draco_part.glb", "Draco"), ("three_by_n.npy", r"\(3, 500\)"), ("few_points.pts", "ends early: 600 points")],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_shape(CASES / name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("count12.gltf", "ends early"), ("laughs.wrl", "more than 1000000 times"), ("n12.npy", "ends early"),
        ("neg.ply", "-5 records"), ("neglist.ply", "1000000000000 records"), ("nobuf.gltf", "1500000000 values"),
        ("nodes_laugh.gltf", "two parents"), ("pneg.pcd", "-1 points"), ("trav.gltf", "outside its folder"),
        ("v12.ply", "1000000000000 records"), ("xxe.dae", "entities"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_shape(HOSTILE / name)


@pytest.mark.parametrize(("name", "reason"), [("hang.las", "does not fit the file"), ("crash.laz", "no readable las")])
def test_hostile_scans_are_refused(name: str, reason: str) -> None:
    pytest.importorskip("laspy")
    with pytest.raises(InputError, match=reason):
        open_las(HOSTILE / name)


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, suffix: str, kind: str) -> None:
    if suffix in CAD_SUFFIXES:
        pytest.importorskip("cascadio")
    path = tmp_path / f"x{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(InputError, match=r"regular file|folder"):
        read_shape(path)


@pytest.mark.parametrize("name", ["pipe.bin", "zero.bin", "gone.bin"])
def test_only_regular_files_are_opened_behind_uris(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    text = (CASES / "external.gltf").read_text().replace("my%20buffer.bin", name)
    (tmp_path / "x.gltf").write_text(text)
    with pytest.raises(InputError, match=r"regular file|outside|missing"):
        read_shape(tmp_path / "x.gltf")


@pytest.mark.parametrize(
    "uri", ["file:///etc/hostname", "/etc/hostname", "..%2f..%2fetc/hostname", "http://a.b/c", "a\0b", "link/x.bin"]
)
def test_uris_stay_in_the_folder_of_their_file(tmp_path: Path, uri: str) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x.bin").write_bytes((CASES / "my buffer.bin").read_bytes())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far")
    text = (CASES / "external.gltf").read_text().replace("my%20buffer.bin", uri.replace("\0", "\\u0000"))
    (tmp_path / "in" / "x.gltf").write_text(text)
    with pytest.raises(InputError, match="only files beside it"):
        read_shape(tmp_path / "in" / "x.gltf")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["plain.obj", "id_header.xyz", "x.off", "x.wrl", "x.ply", "x.pcd", "x.stl", "x.pts"])
def test_text_in_any_unicode(tmp_path: Path, name: str, encoding: str) -> None:
    texts = {
        "x.off": "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        "x.wrl": "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, 0 1 0] } "
        "coordIndex [0,1,2,-1] } }",
        "x.ply": "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        "x.pcd": "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 3\nDATA ascii\n1 2 3\n4 5 6\n7 8 1\n",
        "x.stl": "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
        "endfacet\nendsolid a\n",
        "x.pts": "3\n1 2 3\n4 5 6\n7 8 9\n",
    }
    text = texts.get(name) or (CASES / name).read_text()
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    plain = read_shape(path)
    path.write_bytes(text.encode(encoding))
    shape = read_shape(path)
    check_vertices(shape)
    assert np.array_equal(shape.vertices, plain.vertices)
    assert (shape.faces is None) == (plain.faces is None)
    assert shape.faces is None or np.array_equal(shape.faces, plain.faces)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["plain.obj", "plain.dae", "id_header.xyz", "decimal_comma_semicolon.xyz"])
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(tmp_path: Path, name: str, end: str) -> None:
    (tmp_path / name).write_bytes((CASES / name).read_text().replace("\n", end).encode())
    assert np.array_equal(read_shape(tmp_path / name).vertices, read_shape(CASES / name).vertices)
