"""Every reader on small files, right ones and broken ones."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from act3d.errors import InputError
from act3d.readers.by_suffix import READERS, read_shape
from act3d.readers.cad import CAD_SUFFIXES
from act3d.readers.pcd import decompress_lzf
from act3d.readers.shape import Shape, face_areas
from tests.data.helpers import CUBE_QUADS, CUBE_TRIANGLES, CUBE_VERTICES, L_SHAPE, write_obj

CLOUD = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def area(shape: Shape) -> float:
    assert shape.faces is not None
    return float(face_areas(shape.vertices, shape.faces).sum())


def extent(shape: Shape) -> list[float]:
    return np.ptp(shape.vertices, axis=0).tolist()


@pytest.mark.parametrize("kind", ["stl", "glb", "gltf", "3mf", "dae", "ply", "off", "obj"])
def test_cube_written_by_trimesh(tmp_path: Path, kind: str) -> None:
    mesh = trimesh.Trimesh(CUBE_VERTICES * 2, CUBE_TRIANGLES, process=False)
    if kind == "gltf":
        for name, data in mesh.export(file_type="gltf").items():
            (tmp_path / name).write_bytes(data)
        path = tmp_path / "model.gltf"
    else:
        path = tmp_path / f"cube.{kind}"
        mesh.export(path)
    shape = read_shape(path)
    assert area(shape) == pytest.approx(24)
    assert extent(shape) == [2, 2, 2]


def test_ascii_stl(tmp_path: Path) -> None:
    path = tmp_path / "cube.stl"
    path.write_text(trimesh.Trimesh(CUBE_VERTICES, CUBE_TRIANGLES).export(file_type="stl_ascii"))
    assert area(read_shape(path)) == pytest.approx(6)


def test_scene_of_glb_applies_its_transforms(tmp_path: Path) -> None:
    cube = trimesh.Trimesh(CUBE_VERTICES, CUBE_TRIANGLES, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(cube)
    scene.add_geometry(cube, transform=trimesh.transformations.translation_matrix([9, 0, 0]))
    (tmp_path / "two.glb").write_bytes(scene.export(file_type="glb"))
    shape = read_shape(tmp_path / "two.glb")
    assert area(shape) == pytest.approx(12)
    assert extent(shape) == [10, 1, 1]


def test_dae_with_a_concave_polygon_and_a_transform(tmp_path: Path) -> None:
    points = " ".join(map(str, L_SHAPE.ravel()))
    (tmp_path / "l.dae").write_text(f"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><created>2026-01-01T00:00:00</created><modified>2026-01-01T00:00:00</modified></asset>
<library_geometries><geometry id="g"><mesh>
<source id="s"><float_array id="a" count="18">{points}</float_array><technique_common>
<accessor source="#a" count="6" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#s"/></vertices>
<polylist count="1"><input semantic="VERTEX" source="#v" offset="0"/><vcount>6</vcount><p>0 1 2 3 4 5</p></polylist>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="w"><node id="n"><scale>2 2 2</scale><instance_geometry url="#g"/></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#w"/></scene></COLLADA>""")
    assert area(read_shape(tmp_path / "l.dae")) == pytest.approx(12)


@pytest.mark.parametrize("kind", ["obj", "off", "ply"])
def test_concave_polygons_in_text_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"l.{kind}"
    rows = "\n".join(" ".join(map(str, row)) for row in L_SHAPE)
    if kind == "obj":
        write_obj(path, L_SHAPE, np.arange(6)[None])
    elif kind == "off":
        path.write_text(f"OFF\n6 1 0\n{rows}\n6 0 1 2 3 4 5 255 0 0\n")
    else:
        path.write_text(
            "ply\nformat ascii 1.0\nelement vertex 6\nproperty double x\nproperty double y\nproperty double z\n"
            f"element face 1\nproperty list uchar int vertex_indices\nend_header\n{rows}\n6 0 1 2 3 4 5\n"
        )
    assert area(read_shape(path)) == pytest.approx(3)


def test_obj_corners_with_texture_negative_numbers_and_continued_lines(tmp_path: Path) -> None:
    path = tmp_path / "odd.obj"
    path.write_text(
        "# a comment\nmtllib x.mtl\nv 0 0 0 1.0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvn 0 0 1\nf 1/1/1 2//1 \\\n 3/1 # tail\n"
        "v 5 5 5\nv 6 5 5\nv 6 6 5\nf -3 -2 -1\n"
    )
    shape = read_shape(path)
    assert shape.faces is not None
    assert shape.faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_off_with_counts_on_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "modelnet.off"
    rows = "\n".join(" ".join(map(str, row)) for row in CUBE_VERTICES)
    faces = "\n".join("4 " + " ".join(map(str, quad)) for quad in CUBE_QUADS)
    path.write_text(f"OFF8 6 0\n{rows}\n{faces}\n")
    assert area(read_shape(path)) == pytest.approx(6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mixed", [False, True])
def test_binary_ply_faces(tmp_path: Path, order: str, mixed: bool) -> None:
    name = "little" if order == "<" else "big"
    faces = [[0, 1, 2], [0, 2, 4, 5], [2, 3, 4]] if mixed else [[0, 1, 2], [0, 2, 4]]
    header = (
        f"ply\nformat binary_{name}_endian 1.0\ncomment x\nelement vertex 6\nproperty float x\nproperty float y\n"
        f"property uchar red\nproperty float z\nelement face {len(faces)}\nproperty list uchar int vertex_index\n"
        "property uchar flag\nend_header\n"
    )
    body = b"".join(struct.pack(order + "ffBf", x, y, 7, z) for x, y, z in L_SHAPE)
    body += b"".join(struct.pack(f"{order}B{len(face)}iB", len(face), *face, 1) for face in faces)
    (tmp_path / "x.ply").write_bytes(header.encode() + body)
    shape = read_shape(tmp_path / "x.ply")
    assert np.array_equal(shape.vertices, L_SHAPE)
    assert shape.faces is not None
    assert len(shape.faces) == (4 if mixed else 2)


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_ply_cloud_without_faces(tmp_path: Path, encoding: str) -> None:
    header = f"ply\nformat {encoding} 1.0\nelement vertex 50\n" + "".join(f"property float {a}\n" for a in "xyz")
    body = "\n".join(" ".join(map(str, row)) for row in CLOUD).encode() if encoding == "ascii" else CLOUD.tobytes()
    (tmp_path / "c.ply").write_bytes(header.encode() + b"end_header\n" + body)
    shape = read_shape(tmp_path / "c.ply")
    assert shape.faces is None
    assert np.allclose(shape.vertices, CLOUD)


def test_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.concatenate([CLOUD, CLOUD], axis=1))
    assert np.array_equal(read_shape(tmp_path / "c.npy").vertices, CLOUD)
    np.savez(tmp_path / "c.npz", other=np.zeros(2), points=CLOUD)
    assert np.array_equal(read_shape(tmp_path / "c.npz").vertices, CLOUD)
    np.savez(tmp_path / "m.npz", vertices=CUBE_VERTICES, faces=CUBE_TRIANGLES)
    assert area(read_shape(tmp_path / "m.npz")) == pytest.approx(6)
    np.savez(tmp_path / "one.npz", anything=CLOUD)
    assert np.array_equal(read_shape(tmp_path / "one.npz").vertices, CLOUD)


@pytest.mark.parametrize("head", ["", "50\n", "x y z\n", "# comment\n"])
@pytest.mark.parametrize("mark", [" ", ",", ";", "\t"])
@pytest.mark.parametrize("suffix", ["xyz", "pts"])
def test_text_clouds(tmp_path: Path, head: str, mark: str, suffix: str) -> None:
    rows = "\n".join(mark.join(map(str, [*row, 128])) for row in CLOUD.tolist())
    (tmp_path / f"c.{suffix}").write_text(head + rows + "\n")
    assert np.allclose(read_shape(tmp_path / f"c.{suffix}").vertices, CLOUD)


def compress_lzf(data: bytes) -> bytes:
    """Literals only, which is valid LZF."""
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def test_lzf_back_references() -> None:
    # "abc", then 6 bytes from 3 back (overlapping), then 9 + 2 bytes from 1 back.
    packed = b"\x02abc" + bytes([(4 << 5) | 0, 2]) + bytes([(7 << 5) | 0, 2, 0])
    assert decompress_lzf(packed, 20) == b"abc" + b"abcabc" + b"c" * 11
    with pytest.raises(InputError, match="damaged"):
        decompress_lzf(packed, 19)


@pytest.mark.parametrize("mode", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path: Path, mode: str) -> None:
    cloud = np.concatenate([CLOUD, [[np.nan] * 3]]).astype(np.float32)
    normals = np.zeros((51, 2), dtype=np.float32)
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS n x y z tag\nSIZE 4 4 4 4 1\nTYPE F F F F U\nCOUNT 2 1 1 1 1\nWIDTH 51\n"
        f"HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 51\nDATA {mode}\n"
    ).encode()
    tags = bytes(range(51))
    if mode == "ascii":
        body = "\n".join(f"0 0 {x} {y} {z} 1" for x, y, z in cloud.tolist()).encode()
    elif mode == "binary":
        body = b"".join(
            n.tobytes() + p.tobytes() + tags[i : i + 1] for i, (n, p) in enumerate(zip(normals, cloud, strict=True))
        )
    else:
        raw = normals.tobytes() + np.ascontiguousarray(cloud.T).tobytes() + tags
        packed = compress_lzf(raw)
        body = struct.pack("<II", len(packed), len(raw)) + packed
    (tmp_path / "c.pcd").write_bytes(header + body)
    assert np.allclose(read_shape(tmp_path / "c.pcd").vertices, CLOUD)


def _truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _exported(kind: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        trimesh.Trimesh(CUBE_VERTICES, CUBE_TRIANGLES).export(folder / f"x.{kind}")
        return _truncate(folder / f"x.{kind}")

    return write


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def _npy(folder: Path) -> Path:
    np.save(folder / "x.npy", CLOUD)
    return _truncate(folder / "x.npy")


def _pickle(folder: Path) -> Path:
    np.save(folder / "x.npy", np.array([{"not": "numbers"}], dtype=object))
    return folder / "x.npy"


@pytest.mark.parametrize(
    "write",
    [
        *(_exported(kind) for kind in ("stl", "glb", "3mf", "dae", "ply", "off")),
        *(_text(f"x{suffix}", "this is no such file, whatever it is called") for suffix in READERS),
        *(_text(f"x{suffix}", "") for suffix in READERS),
        _npy,
        _pickle,
        _text("x.obj", "v 0 0 0\nv 1 0 0\nf 1 2 3\n"),
        _text("x.obj", "v 0 0 zero\n"),
        _text("x.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n"),
        _text("x.obj", "v 0 0\n"),
        _text("x.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2\n"),
        _text("x.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 99999999999999999999\n"),
        _text("x.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999999999999999\n"),
        _text("x.ply", "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n1\n2\n"),
        _text("x.ply", "ply\nformat odd 1.0\nend_header\n"),
        _text("x.xyz", "1 2\n3 4\n"),
        _text("x.pcd", "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA ascii\n1 2 3\n"),
        _text("x.pcd", "FIELDS x y\nSIZE 4 4\nTYPE F F\nPOINTS 1\nDATA ascii\n1 2\n"),
    ],
)
def test_broken_files_end_in_one_line(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    from act3d.readers.shape import check_vertices

    path = write(tmp_path)
    if path.suffix in CAD_SUFFIXES:
        pytest.importorskip("cascadio")
    with pytest.raises(InputError) as caught:
        check_vertices(read_shape(path))
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "x.doc").write_text("x")
    with pytest.raises(InputError, match=r"\.doc.*\.obj.*\.pcd"):
        read_shape(tmp_path / "x.doc")
