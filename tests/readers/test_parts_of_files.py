"""Groups, materials, colours and normals that files say of their faces and points."""

import json
from pathlib import Path

import numpy as np

from act3d.readers.by_suffix import read_shape

OBJ = """mtllib box.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
f 1 2 5
g seat  left
usemtl red
f 1 2 3 4
g back
usemtl plain
f 2 3 5
"""


def test_obj_groups_and_materials_belong_to_the_faces_below_them(tmp_path: Path) -> None:
    (tmp_path / "box.obj").write_text(OBJ)
    (tmp_path / "box.mtl").write_text("newmtl red\nKd 1 0 0.5\nnewmtl plain\nmap_Kd wood.png\nKd 1 1 1\n")
    shape = read_shape(tmp_path / "box.obj")
    assert [shape.group_names[place] for place in shape.groups] == ["", "seat left", "seat left", "back"]
    assert [shape.material_names[place] for place in shape.materials] == ["", "red", "red", "plain"]
    colors = shape.colors[shape.materials]
    assert np.array_equal(colors[1], [1, 0, 0.5])
    assert np.isnan(colors[[0, 3]]).all()  # no material, and a texture


def test_obj_without_its_colours_is_the_same_shape(tmp_path: Path) -> None:
    (tmp_path / "box.obj").write_text(OBJ.replace("box.mtl", "../outside.mtl"))
    (tmp_path.parent / "outside.mtl").write_text("newmtl red\nKd 1 0 0\n")
    shape = read_shape(tmp_path / "box.obj")
    assert shape.colors is None  # only files beside it are read
    assert len(shape.faces) == 4


def test_gltf_nodes_are_groups_and_mirrored_ones_are_turned(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype="<f4").tobytes()
    (tmp_path / "data.bin").write_bytes(corners)
    scene = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "data.bin", "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "materials": [{"name": "paint", "pbrMetallicRoughness": {"baseColorFactor": [1, 0.2158605, 0, 1]}}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
        "nodes": [{"mesh": 0, "name": "leg"}, {"mesh": 0, "scale": [-1, 1, 1]}],
        "scenes": [{"nodes": [0, 1]}],
    }
    (tmp_path / "two.gltf").write_text(json.dumps(scene))
    shape = read_shape(tmp_path / "two.gltf")
    assert [shape.group_names[place] for place in shape.groups] == ["leg", "node 1"]
    assert shape.turned.tolist() == [False, True]
    assert shape.material_names == ["paint"]
    assert np.allclose(shape.colors, [[1, 0.5019, 0]], atol=1e-3)  # linear in the file, as shown here


def test_ply_keeps_colours_normals_and_parts_of_points(tmp_path: Path) -> None:
    names = ["float x", "float y", "float z", "float nx", "float ny", "float nz"]
    names += ["uchar red", "uchar green", "uchar blue", "int label"]
    header = "".join(f"property {name}\n" for name in names)
    rows = "0 0 0 0 0 2 255 0 51 3\n1 0 0 0 3 0 0 255 0 0\n"
    (tmp_path / "cloud.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 2\n{header}end_header\n{rows}")
    shape = read_shape(tmp_path / "cloud.ply")
    assert np.allclose(shape.point_colors, [[1, 0, 0.2], [0, 1, 0]])
    assert np.allclose(shape.point_normals, [[0, 0, 1], [0, 1, 0]])
    assert shape.point_parts.tolist() == [3, 0]
