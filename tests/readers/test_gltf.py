"""glTF: every way its standard has of saying the same shape, and extensions."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.readers.by_suffix import read_shape
from tests.data.helpers import CUBE_TRIANGLES, CUBE_VERTICES
from tests.readers.helpers import Gltf, area

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32)


def cube(**node: Any) -> Gltf:
    """A file with one unit cube."""
    file = Gltf()
    file.primitive(CUBE_VERTICES, CUBE_TRIANGLES)
    file.content["nodes"][0] |= node
    return file


@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_a_cube_with_a_transform(tmp_path: Path, suffix: str) -> None:
    half = 0.5**0.5  # a quarter turn about z
    file = cube(translation=[5, 0, 0], rotation=[0, 0, half, half], scale=[1, 2, 3])
    shape = read_shape(file.write(tmp_path / f"x.{suffix}"))
    assert shape.up == "y"
    assert np.allclose(shape.vertices.min(axis=0), [3, 0, 0])
    assert np.allclose(shape.vertices.max(axis=0), [5, 1, 3])


def test_matrices_of_parents(tmp_path: Path) -> None:
    file = cube(translation=[1, 0, 0])
    file.content["nodes"].append({"children": [0], "matrix": [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 7, 0, 1]})
    file.content["scenes"][0]["nodes"] = [1]
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert np.allclose(shape.vertices.min(axis=0), [2, 7, 0])
    assert np.allclose(np.ptp(shape.vertices, axis=0), 2)


@pytest.mark.parametrize(("mode", "order"), [(4, [0, 1, 2, 1, 3, 2]), (5, [0, 1, 2, 3]), (6, [0, 1, 3, 2])])
@pytest.mark.parametrize("indexed", [False, True])
def test_triangles_strips_and_fans(tmp_path: Path, mode: int, order: list[int], indexed: bool) -> None:
    file = Gltf()
    if indexed:
        file.primitive(SQUARE, np.array(order), mode=mode)
    else:
        file.primitive(SQUARE[order], mode=mode)
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert area(shape) == pytest.approx(1)
    assert shape.faces is not None
    assert len(shape.faces) == 2


def test_points_are_a_cloud_and_lines_are_nothing(tmp_path: Path) -> None:
    file = Gltf()
    file.primitive(SQUARE, mode=0)
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert shape.faces is None
    assert np.array_equal(shape.vertices, SQUARE)
    file = Gltf()
    file.primitive(SQUARE, mode=1)
    with pytest.raises(InputError, match="only lines"):
        read_shape(file.write(tmp_path / "x.glb"))


@pytest.mark.parametrize(("kind", "most"), [("i1", 127), ("u1", 255), ("i2", 32767), ("u2", 65535)])
@pytest.mark.parametrize("normalized", [False, True])
def test_quantized_positions(tmp_path: Path, kind: str, most: int, normalized: bool) -> None:
    file = Gltf()
    primitive = file.primitive(CUBE_VERTICES, CUBE_TRIANGLES)
    # Rows of four: the standard aligns them.
    rows = np.zeros((8, 4), dtype=f"<{kind}")
    rows[:, :3] = CUBE_VERTICES * most
    about = {"bufferView": file.view(rows.tobytes(), byteStride=rows.strides[0]), "count": 8, "type": "VEC3"}
    code = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123}[kind]
    file.content["accessors"].append(about | {"componentType": code, "normalized": normalized})
    primitive["attributes"]["POSITION"] = len(file.content["accessors"]) - 1
    file.content["extensionsRequired"] = ["KHR_mesh_quantization"]
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert np.allclose(shape.vertices.max(axis=0), 1 if normalized else most)


@pytest.mark.parametrize("base", [True, False])
def test_sparse_accessors(tmp_path: Path, base: bool) -> None:
    file = Gltf()
    file.primitive(SQUARE if base else SQUARE * 0, np.array([0, 1, 2, 1, 3, 2]))
    moved = np.array([[1, 0, 0], [0, 1, 0], [5, 5, 0]], dtype="<f4")
    sparse = {
        "count": 3,
        "indices": {"bufferView": file.view(np.array([1, 2, 3], dtype="<u2").tobytes()), "componentType": 5123},
        "values": {"bufferView": file.view(moved.tobytes())},
    }
    file.content["accessors"][0]["sparse"] = sparse
    if not base:
        del file.content["accessors"][0]["bufferView"]
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert shape.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 0]]


def test_instances_with_turns_and_scales(tmp_path: Path) -> None:
    file = cube(translation=[0, 0, 1])
    half = 0.5**0.5
    parts = {
        "TRANSLATION": np.array([[0, 0, 0], [10, 0, 0]], dtype="<f4"),
        "ROTATION": np.array([[0, 0, 0, 1], [0, 0, half, half]], dtype="<f4"),
        "SCALE": np.array([[1, 1, 1], [3, 1, 1]], dtype="<f4"),
    }
    attributes = {key: file.accessor(array) for key, array in parts.items()}
    file.content["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert area(shape) == pytest.approx(6 + 2 + 4 * 3)
    assert np.allclose(shape.vertices.min(axis=0), [0, 0, 1])
    assert np.allclose(shape.vertices.max(axis=0), [10, 3, 2])


def test_morph_targets_and_their_weights(tmp_path: Path) -> None:
    file = Gltf()
    primitive = file.primitive(SQUARE, np.array([0, 1, 2, 1, 3, 2]))
    primitive["targets"] = [{"POSITION": file.accessor(SQUARE)}, {"POSITION": file.accessor(SQUARE)}]
    file.content["meshes"][0]["weights"] = [1.0, 0.0]
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(4)
    file.content["nodes"][0]["weights"] = [0.0, 0.0]
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(1)


def test_a_skin_moves_its_mesh_and_the_node_does_not(tmp_path: Path) -> None:
    file = Gltf()
    primitive = file.primitive(SQUARE, np.array([0, 1, 2, 1, 3, 2]))
    primitive["attributes"]["JOINTS_0"] = file.accessor(np.tile([0, 0, 0, 0], (4, 1)).astype("<u1"))
    primitive["attributes"]["WEIGHTS_0"] = file.accessor(np.tile([1, 0, 0, 0], (4, 1)).astype("<f4"))
    inverse = np.eye(4, dtype="<f4")
    inverse[3, 0] = -1  # column-major: a move by -1 along x
    file.content["skins"] = [{"joints": [1], "inverseBindMatrices": file.accessor(inverse.reshape(1, 16))}]
    file.content["nodes"] = [{"mesh": 0, "skin": 0, "translation": [99, 0, 0]}, {"scale": [2, 2, 2]}]
    file.content["scenes"][0]["nodes"] = [0, 1]
    shape = read_shape(file.write(tmp_path / "x.glb"))
    assert shape.vertices[:2].tolist() == [[-2, 0, 0], [0, 0, 0]]


def test_draco_is_decoded_where_its_decoder_is(tmp_path: Path) -> None:
    draco = pytest.importorskip("DracoPy")
    file = Gltf()
    primitive = file.primitive(CUBE_VERTICES, CUBE_TRIANGLES)
    packed = draco.encode((CUBE_VERTICES * 3).astype(np.float32), CUBE_TRIANGLES.astype(np.uint32))
    about = {"bufferView": file.view(packed), "attributes": {"POSITION": 0}}
    primitive["extensions"] = {"KHR_draco_mesh_compression": about}
    file.content["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    # With data of their own the accessors are the fallback; without, Draco's data count.
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(6)
    for accessor in file.content["accessors"]:
        del accessor["bufferView"]
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(54, rel=1e-3)


def test_draco_without_its_decoder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "DracoPy", None)
    file = cube()
    file.content["accessors"][0].pop("bufferView")
    about = {"bufferView": 0, "attributes": {"POSITION": 0}}
    file.content["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": about}
    with pytest.raises(InputError, match=r"KHR_draco_mesh_compression.*(act3d\[draco\]|dracopy)"):
        read_shape(file.write(tmp_path / "x.glb"))


@pytest.mark.parametrize("place", ["required", "node", "mesh", "primitive", "bufferView"])
def test_unknown_extensions_of_geometry_are_refused_by_name(tmp_path: Path, place: str) -> None:
    file = cube()
    content = file.content
    content["extensionsUsed"] = ["XYZ_bent_mesh"]
    where = {
        "node": content["nodes"][0], "mesh": content["meshes"][0], "primitive": content["meshes"][0]["primitives"][0],
        "bufferView": content["bufferViews"][0],
    }  # fmt: skip
    if place == "required":
        content["extensionsRequired"] = ["XYZ_bent_mesh"]
    else:
        where[place]["extensions"] = {"XYZ_bent_mesh": {}}
    with pytest.raises(InputError, match="XYZ_bent_mesh"):
        read_shape(file.write(tmp_path / "x.glb"))


@pytest.mark.parametrize("name", ["KHR_materials_unlit", "KHR_texture_transform", "KHR_lights_punctual", "VRMC_vrm"])
def test_extensions_of_looks_are_no_matter(tmp_path: Path, name: str) -> None:
    file = cube(extensions={name: {}})
    file.content["extensionsRequired"] = [name]
    file.content["meshes"][0]["primitives"][0]["extensions"] = {name: {}}
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(6)


def test_hidden_nodes_and_other_scenes_are_left_out(tmp_path: Path) -> None:
    file = cube()
    hidden = {"KHR_node_visibility": {"visible": False}}
    file.content["nodes"] += [{"mesh": 0, "extensions": hidden}, {"mesh": 0}]
    file.content["scenes"] = [{"nodes": [2]}, {"nodes": [0, 1]}]
    file.content["scene"] = 1
    assert area(read_shape(file.write(tmp_path / "x.glb"))) == pytest.approx(6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes": [{"mesh": 0, "children": [0]}]}, "its own ancestor|two parents|no faces|ancestor"),
        ({"scene": 7}, r"scenes\[7\]"),
        ({"meshes": []}, r"meshes\[0\]"),
        ({"asset": {"version": "1.0"}}, "version"),
        ({"nodes": "x"}, "nodes"),
        ({"accessors": [{"count": 1e300, "type": "VEC3", "componentType": 5126}]}, "."),
        ({"scenes": [{"nodes": [-1]}]}, "damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    file = cube()
    file.content |= change
    with pytest.raises(InputError, match=reason):
        read_shape(file.write(tmp_path / "x.gltf"))


def test_a_glb_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = cube().write(tmp_path / "x.glb").read_bytes()
    for size in range(1, len(whole), 7):
        (tmp_path / "cut.glb").write_bytes(whole[:size])
        with pytest.raises(InputError):
            read_shape(tmp_path / "cut.glb")
    (tmp_path / "more.glb").write_bytes(whole + b"trailing")
    assert area(read_shape(tmp_path / "more.glb")) == pytest.approx(6)


def test_same_as_trimesh_on_its_own_scene(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    ball = trimesh.creation.icosphere(subdivisions=2)
    for i in range(3):
        turn = trimesh.transformations.rotation_matrix(i, [1, 2, 3], [i, 0, 0])
        scene.add_geometry(ball, transform=turn, node_name=f"n{i}")
    data = scene.export(file_type="glb")
    (tmp_path / "x.glb").write_bytes(data)
    theirs = trimesh.load_scene(io.BytesIO(data), file_type="glb").to_mesh()
    ours = read_shape(tmp_path / "x.glb")
    assert area(ours) == pytest.approx(theirs.area, rel=1e-6)
    assert np.allclose(np.sort(ours.vertices, axis=0), np.sort(theirs.vertices, axis=0), atol=1e-6)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gltf").write_text("[" * 100_000)
    with pytest.raises(InputError):
        read_shape(tmp_path / "x.gltf")
    (tmp_path / "x.gltf").write_text(json.dumps([1, 2]))
    with pytest.raises(InputError, match="version"):
        read_shape(tmp_path / "x.gltf")
