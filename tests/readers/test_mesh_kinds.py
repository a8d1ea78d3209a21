"""Meshes: odd but valid files give their shape; what is not read is refused; up axes and units of the file itself."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from act3d.errors import InputError
from act3d.readers.by_suffix import read_shape
from act3d.readers.shape import Shape
from tests.data.helpers import CUBE_TRIANGLES, CUBE_VERTICES
from tests.readers.helpers import CASES, area

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def read(tmp_path: Path, name: str, content: str | bytes) -> Shape:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_shape(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        TRIANGLE + "\tf 1 2 3\n", TRIANGLE + "  f\t1\t2\t3", TRIANGLE + "f 1/1 2/2 3/3\np 1\nl 1 2\n",
        TRIANGLE + "f 1 2 \\  \n 3\n", TRIANGLE + "fo 1 2 3\n", "  v 0 0 0\n\tv 1 0 0\n v\t0 1 0\n f -3 -2 -1\n",
    ],
)  # fmt: skip
def test_obj_faces_however_they_are_written(tmp_path: Path, text: str) -> None:
    assert area(read(tmp_path, "x.obj", text)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TRIANGLE + "F 1 2 3\n", "'F'"), (TRIANGLE + "face 1 2 3\n", "'face'"), (TRIANGLE + "l 1 2 3\n", "'l'"),
        (TRIANGLE + "f 0 1 2\n", "from 0"), (TRIANGLE + "f 1 2 4\n", "outside"), (TRIANGLE + "f -4 -2 -1\n", "outside"),
        (TRIANGLE + "f 1 2 3\ncurv 0 1 1 2\nsurf 0 1 0 1 1 2 3\n", "free-form surface"),
        (TRIANGLE + "call other.obj\n", "call"), ("v 0,5 1,0 2,0\nv 1 1 1\n", "not all numbers"),
    ],
)  # fmt: skip
def test_obj_that_would_become_another_shape_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "x.obj", text)


def ply(form: str, faces: str, body: bytes) -> bytes:
    head = f"ply\nformat {form} 1.0\nelement vertex 4\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    return f"{head}{faces}end_header\n".encode() + body


SQUARE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype="<f4")
ROWS = b"".join(b"%d %d %d\n" % tuple(row) for row in SQUARE.astype(int).tolist())


@pytest.mark.parametrize(
    ("form", "faces", "body"),
    [
        ("ascii", "element tristrips 1\nproperty list int int vertex_indices\n", ROWS + b"7 0 1 2 -1 1 2 3\n"),
        ("ascii", "element tristrips 2\nproperty list int int vertex_index\n", ROWS + b"3 0 1 2\n3 1 2 3\n"),
        ("ascii", "element face 1\nproperty list uchar int vertex_index\nelement tristrips 1\n"
         "property list int int vertex_indices\n", ROWS + b"3 0 1 2\n3 1 2 3\n"),
        ("binary_little_endian", "element tristrips 1\nproperty list uchar int vertex_indices\n",
         SQUARE.tobytes() + struct.pack("<B4i", 4, 0, 1, 2, 3)),
        ("binary_little_endian", "element face 2\nproperty list uint ushort vertex_indices\n",
         SQUARE.tobytes() + struct.pack("<I3HI3H", 3, 0, 1, 2, 3, 1, 2, 3)),
    ],
)  # fmt: skip
def test_ply_strips_and_faces(tmp_path: Path, form: str, faces: str, body: bytes) -> None:
    assert area(read(tmp_path, "x.ply", ply(form, faces, body))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("faces", "body", "reason"),
    [
        ("element face 1\nproperty list uchar int corners\n", b"3 0 1 2\n", "faces without .* but with corners"),
        ("element face 1\nproperty int vertex_indices\n", b"3\n", "faces without"),
        ("element tristrips 1\nproperty list uchar int strip\n", b"3 0 1 2\n", "strips without"),
        ("element polygon 1\nproperty list uchar int vertex_indices\n", b"3 0 1 2\n", "'polygon'"),
        ("element edge 1\nproperty int vertex1\nproperty int vertex2\n", b"0 1\n", "edges and no faces"),
        ("element face 1\nproperty list char int vertex_indices\n", b"-1 0 1 2\n", "length -1"),
        ("element face 1\nproperty list float int vertex_indices\n", b"3 0 1 2\n", "fractions"),
        ("element face 1\nproperty list uchar int vertex_indices\n", b"3 0 1 2.5\n", "not whole"),
        ("element face 1\nproperty list uchar int vertex_indices\n", b"3 0 1 9\n", "outside"),
        ("element face 1000000000\n", b"", "1000000000 records"),
    ],
)
def test_ply_that_would_become_another_shape_is_refused(tmp_path: Path, faces: str, body: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "x.ply", ply("ascii", faces, ROWS + body))


@pytest.mark.parametrize("length", ["char", "int"])
def test_binary_ply_with_negative_lists_is_refused(tmp_path: Path, length: str) -> None:
    faces = f"element face 2\nproperty list {length} int vertex_indices\n"
    size = {"char": "b", "int": "i"}[length]
    for sizes in ((-1, 3), (3, -1)):
        body = b"".join(struct.pack(f"<{size}3i", n, 0, 1, 2) for n in sizes)
        with pytest.raises(InputError, match="length -1"):
            read(tmp_path, "x.ply", ply("binary_little_endian", faces, SQUARE.tobytes() + body))


def test_ply_with_the_line_ends_of_other_systems(tmp_path: Path) -> None:
    text = ply("ascii", "element face 1\nproperty list uchar int vertex_indices\n", ROWS + b"4 0 1 3 2\n")
    for end in (b"\r\n", b"\r"):
        assert area(read(tmp_path, "x.ply", text.replace(b"\n", end))) == pytest.approx(1)
    head, _, _ = ply("binary_little_endian", "", b"").partition(b"end_header")
    data = head.replace(b"\n", b"\r\n") + b"end_header\r\n" + SQUARE.tobytes()
    assert np.array_equal(read(tmp_path, "x.ply", data).vertices, SQUARE)


@pytest.mark.parametrize("kind", ["4OFF", "nOFF"])
def test_off_of_other_spaces_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=kind):
        read(tmp_path, "x.off", f"{kind}\n3 1 0\n0 0 0 1\n1 0 0 1\n0 1 0 2\n3 0 1 2\n")


@pytest.mark.parametrize("counts", ["-3 1 0", "3 -1 0", "1e300 1 0", "nan 1 0", "3.5 1 0"])
def test_off_with_impossible_counts_is_refused(tmp_path: Path, counts: str) -> None:
    with pytest.raises(InputError, match="promises"):
        read(tmp_path, "x.off", f"OFF\n{counts}\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")


def test_off_with_a_face_of_negative_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer corners"):
        read(tmp_path, "x.off", "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 1\n4 0 1 2\n-1 0\n")


def test_stl_cut_off_with_more_behind_and_of_either_form(tmp_path: Path) -> None:
    mesh = trimesh.Trimesh(CUBE_VERTICES, CUBE_TRIANGLES)
    binary: bytes = mesh.export(file_type="stl")
    assert area(read(tmp_path, "x.stl", b"solid " + binary[6:])) == pytest.approx(6)  # as some exporters begin it
    assert area(read(tmp_path, "x.stl", binary + b"\0" * 7)) == pytest.approx(6)
    with pytest.raises(InputError, match="ends early: 12 triangles were promised, 11 are there"):
        read(tmp_path, "x.stl", binary[:-1])
    text: str = mesh.export(file_type="stl_ascii")
    assert area(read(tmp_path, "x.stl", text.upper())) == pytest.approx(6)
    for cut in (text[: len(text) // 2], text.replace("endsolid", ""), text.replace("vertex", "vortex", 1)):
        with pytest.raises(InputError, match="ends early"):
            read(tmp_path, "x.stl", cut)


COLLADA = (CASES / "plain.dae").read_text()


@pytest.mark.parametrize(
    ("up", "expected"), [("Y_UP", [1.5, 2, 3]), ("Z_UP", [1.5, 3, 2]), ("X_UP", [2, 1.5, 3])]
)  # fmt: skip
def test_up_axis_and_unit_of_collada(tmp_path: Path, up: str, expected: list[float]) -> None:
    text = COLLADA.replace("Y_UP", up).replace('meter="1"', 'meter="0.0254"')
    shape = read(tmp_path, "x.dae", text)
    assert shape.up == "y"
    assert np.allclose(np.ptp(shape.vertices, axis=0), np.array(expected) * 0.0254)


def test_collada_x_up_stands_upright(tmp_path: Path) -> None:
    # The standard: X_UP has -y to the right, x up and z towards the eye.
    shape, plain = read(tmp_path, "x.dae", COLLADA.replace("Y_UP", "X_UP")), read_shape(CASES / "plain.dae")
    assert np.allclose(shape.vertices, np.stack([-plain.vertices[:, 1], plain.vertices[:, 0], plain.vertices[:, 2]], 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("#g", "#nothing", "refers to geometry '#nothing'"),
        ("#g", "other.dae#g", "refers to geometry"),
        ("instance_geometry", "instance_controller", "skinned"),
        ("<mesh>", "<spline><mesh>", "spline|well-formed"),
        ("Y_UP", "W_UP", "W_UP"),
        ('meter="1"', 'meter="-1"', "unit"),
        ("<polylist", "<polygons><ph><p>0 1 2</p><h>3 4 5</h></ph></polygons><polylist", "without vertices|holes"),
        ('count="48"', 'count="48" x="&y;"', "well-formed"),
        ("<instance_geometry", "<lookat>1 2 3 4 5 6 7 8 9</lookat><instance_geometry", "lookat"),
        ('<node id="n">', '<node id="n"><instance_node url="#n"/>', "holds itself"),
        ('count="16" stride="3"', 'count="17" stride="3"', "ends early: 17"),
        ("<vcount>4", "<vcount>5", "corners"),
        ('stride="3"', 'stride="nan"', "its stride"),
        ('offset="0"', 'offset=""', "its offset"),
    ],
)
def test_collada_that_would_become_another_shape_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in COLLADA
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "x.dae", COLLADA.replace(old, new))


@pytest.mark.parametrize(("tag", "order"), [("tristrips", "0 1 2 3"), ("trifans", "0 1 3 2")])
def test_collada_strips_and_fans(tmp_path: Path, tag: str, order: str) -> None:
    rows = " ".join(str(value) for value in SQUARE.reshape(-1).tolist())
    text = COLLADA[: COLLADA.index("<library_geometries>")] + (
        '<library_geometries><geometry id="g"><mesh><source id="p"><float_array id="pa" count="12">'
        f'{rows}</float_array><technique_common><accessor source="#pa" count="4" stride="3"/></technique_common>'
        '</source><vertices id="v"><input semantic="POSITION" source="#p"/></vertices>'
        f'<{tag} count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>{order}</p></{tag}></mesh></geometry>'
        "</library_geometries>"
    ) + COLLADA[COLLADA.index("<library_visual_scenes>") :]  # fmt: skip
    assert area(read(tmp_path, "x.dae", text)) == pytest.approx(1)


CORE = 'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"'
TETRAHEDRON = (
    '<mesh><vertices><vertex x="0" y="0" z="0"/><vertex x="1" y="0" z="0"/><vertex x="0" y="1" z="0"/>'
    '<vertex x="0" y="0" z="1"/></vertices><triangles><triangle v1="0" v2="1" v3="2"/><triangle v1="0" v2="1" v3="3"/>'
    '<triangle v1="0" v2="2" v3="3"/><triangle v1="1" v2="2" v3="3"/></triangles></mesh>'
)
TETRAHEDRON_AREA = 1.5 + 3**0.5 / 2


def threemf(path: Path, model: str, others: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", model)
        for name, text in (others or {}).items():
            archive.writestr(name, text)
    return path


def model(objects: str, items: str, attributes: str = "") -> str:
    return f"<model {CORE} {attributes}><resources>{objects}</resources><build>{items}</build></model>"


def test_3mf_items_components_and_parts_of_the_package(tmp_path: Path) -> None:
    production = 'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06" requiredextensions="p"'
    main = model(
        f'<object id="1">{TETRAHEDRON}</object><object id="2"><components><component objectid="1" '
        'transform="2 0 0 0 2 0 0 0 2 10 0 0"/><component p:path="/3D/o.model" objectid="1"/></components></object>',
        '<item objectid="2"/><item objectid="1" transform="1 0 0 0 1 0 0 0 1 0 0 50"/>', production,
    )  # fmt: skip
    other = model(f'<object id="1">{TETRAHEDRON}</object>', '<item objectid="1"/>')
    shape = read_shape(threemf(tmp_path / "x.3mf", main, {"3D/o.model": other}))
    assert shape.up == "z"
    assert area(shape) == pytest.approx(6 * TETRAHEDRON_AREA)
    assert shape.vertices.max(axis=0).tolist() == [12, 2, 51]


@pytest.mark.parametrize(
    ("objects", "items", "attributes", "reason"),
    [
        ("", '<item objectid="9"/>', "", "no object '9'"),
        ('<object id="1"><components><component objectid="1"/></components></object>', '<item objectid="1"/>', "",
         "holds itself"),
        ("", "", 'xmlns:b="http://x.y/beam" requiredextensions="b"', "http://x.y/beam"),
        ('<object id="1"><mesh><beamlattice/></mesh></object>', '<item objectid="1"/>', "", "beamlattice"),
        (f'<object id="1">{TETRAHEDRON}</object>'.replace('v3="3"', 'v3="4"'), '<item objectid="1"/>', "", "outside"),
        (f'<object id="1">{TETRAHEDRON}</object>' * 2, '<item objectid="1"/>', "", "two objects"),
    ],
)  # fmt: skip
def test_3mf_that_would_become_another_shape_is_refused(
    tmp_path: Path, objects: str, items: str, attributes: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read_shape(threemf(tmp_path / "x.3mf", model(objects, items, attributes)))


def test_3mf_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    doubled = "".join(
        f'<object id="{i}"><components><component objectid="{i - 1}"/><component objectid="{i - 1}"/></components>'
        "</object>"
        for i in range(2, 60)
    )
    text = model(f'<object id="1">{TETRAHEDRON}</object>{doubled}', '<item objectid="59"/>')
    with pytest.raises(InputError, match="more than"):
        read_shape(threemf(tmp_path / "x.3mf", text))
    with pytest.raises(InputError, match="would unpack"):
        read_shape(threemf(tmp_path / "x.3mf", model("", "") + " " * (120 << 20)))
    laughs = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(InputError, match="entities"):
        read_shape(threemf(tmp_path / "x.3mf", laughs + model("", "")))


def test_3mf_of_trimesh(tmp_path: Path) -> None:
    trimesh.Trimesh(CUBE_VERTICES, CUBE_TRIANGLES, process=False).export(tmp_path / "x.3mf")
    assert area(read_shape(tmp_path / "x.3mf")) == pytest.approx(6)
