"""Collada (.dae): the triangles of its scene, in metres and y up, as the file's `asset` says."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import Budget, read_regular
from act3d.readers.shape import Shape, triangulate
from act3d.readers.text import numbers, whole_numbers
from act3d.readers.up_axis import rotation_to_y_up
from act3d.readers.xml_text import parse_xml

_FACES = ("triangles", "polylist", "polygons", "tristrips", "trifans")
_LINES = ("lines", "linestrips")
_NOT_PARTS = ("source", "vertices", "extra", "asset", *_LINES)


def read_dae(path: Path) -> Shape:
    """A Collada file with the transforms of its scene, its up axis and its unit.

    Raises:
        InputError: Damaged, or with a kind of geometry that is not read; names it.
    """
    root = parse_xml(read_regular(path))
    if root.tag != "COLLADA":
        raise InputError(f"is no Collada: its root is {root.tag[:40]!r}")
    scene = _Scene(root)
    scene.collect()
    if not scene.faces:
        raise InputError("holds no faces")
    up, metres = _asset(root)
    vertices = np.concatenate(scene.vertices) @ rotation_to_y_up(up).T * metres
    return Shape(vertices, np.concatenate(scene.faces), up="y", turned_from=up)


def _asset(root: Element) -> tuple[str, float]:
    """The up axis (x, y or z) and the length of a unit in metres."""
    up = (root.findtext("asset/up_axis") or "Y_UP").strip().upper()
    if up not in ("X_UP", "Y_UP", "Z_UP"):
        raise InputError(f"has the up axis {up[:20]!r}; allowed: X_UP, Y_UP, Z_UP")
    unit = root.find("asset/unit")
    metres = numbers([unit.get("meter", "1")], "its unit")[0] if unit is not None else 1.0
    if not 0 < metres < math.inf:
        raise InputError(f"has a unit of {metres} metres")
    return up[0].lower(), float(metres)


class _Scene:
    def __init__(self, root: Element) -> None:
        self.root, self.budget = root, Budget()
        self.by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.size = 0
        self.meshes: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def named(self, url: str | None, tag: str) -> Element:
        """The element that a reference "#id" means."""
        found = self.by_id.get((url or "")[1:]) if (url or "").startswith("#") else None
        if found is None or found.tag != tag:
            raise InputError(f"refers to {tag} {str(url)[:60]!r}, which it does not hold")
        return found

    def collect(self) -> None:
        """Visit the nodes of the scene; without one, those of the only visual scene."""
        instance = self.root.find("scene/instance_visual_scene")
        scenes = self.root.findall("library_visual_scenes/visual_scene")
        if instance is not None:
            scenes = [self.named(instance.get("url"), "visual_scene")]
        if len(scenes) != 1:
            raise InputError(f"has {len(scenes)} scenes and does not say which one it is")
        for node in scenes[0].findall("node"):
            self.node(node, np.eye(4), 0)

    def node(self, node: Element, above: np.ndarray, depth: int) -> None:
        """Add what a node holds, placed by `above` and its own transforms."""
        self.budget.node()
        if depth > 200:
            raise InputError("nests its nodes too deeply, or a node holds itself")
        matrix = above
        for child in node:
            matrix = matrix @ _transform(child)
        for child in node:
            if child.tag == "node":
                self.node(child, matrix, depth + 1)
            elif child.tag == "instance_node":
                self.node(self.named(child.get("url"), "node"), matrix, depth + 1)
            elif child.tag == "instance_geometry":
                self.geometry(self.named(child.get("url"), "geometry"), matrix)
            elif child.tag == "instance_controller":
                raise InputError("holds a skinned or morphed mesh (instance_controller), which is not read")

    def geometry(self, geometry: Element, matrix: np.ndarray) -> None:
        """Add one geometry."""
        name = geometry.get("id", "")
        if name not in self.meshes:
            self.meshes[name] = self._parts(geometry)
        for vertices, faces in self.meshes[name]:
            self.budget.add(len(vertices) + 3 * len(faces))
            self.vertices.append(vertices @ matrix[:3, :3].T + matrix[:3, 3])
            self.faces.append(faces + self.size)
            self.size += len(vertices)

    def _parts(self, geometry: Element) -> list[tuple[np.ndarray, np.ndarray]]:
        mesh = geometry.find("mesh")
        if mesh is None:
            kinds = [child.tag for child in geometry if child.tag not in ("asset", "extra")]
            raise InputError(f"holds geometry of kind {', '.join(kinds)[:60]!r}; only mesh is read")
        parts = []
        for primitive in mesh:
            if primitive.tag in _FACES:
                corners, sizes, source = self._polygons(primitive)
                positions = self._positions(source)
                parts.append((positions, triangulate(positions, corners, sizes)[0]))
            elif primitive.tag not in _NOT_PARTS:
                raise InputError(f"holds {primitive.tag[:40]!r} in a mesh, which is not read")
        return parts

    def _polygons(self, primitive: Element) -> tuple[np.ndarray, np.ndarray, str | None]:
        """Corners of all polygons, one after the other, the number each has, and what their positions are."""
        inputs = primitive.findall("input")
        offsets = [_count(each, "offset", "0") for each in inputs]
        which = next((i for i, each in enumerate(inputs) if each.get("semantic") == "VERTEX"), None)
        if which is None or min(offsets) < 0:
            raise InputError("is damaged: faces without vertices")
        stride = max(offsets) + 1
        if primitive.find("ph") is not None:
            raise InputError("holds polygons with holes (ph), which are not read")
        lists = [whole_numbers((p.text or "").split(), "its faces") for p in primitive.findall("p")]
        if any(len(each) % stride for each in lists):
            raise InputError("is damaged: a face list does not come in whole corners")
        runs = [each.reshape(-1, stride)[:, offsets[which]] for each in lists]
        joined = np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)
        source = inputs[which].get("source")
        if primitive.tag == "polygons":
            return joined, np.array([len(run) for run in runs], dtype=np.int64), source
        if primitive.tag == "polylist":
            sizes = whole_numbers((primitive.findtext("vcount") or "").split(), "its polygons' sizes")
            if sizes.min(initial=0) < 0 or sizes.sum() != len(joined):
                raise InputError(f"is damaged: polygons of {sizes.sum()} corners, {len(joined)} are there")
            return joined, sizes, source
        if primitive.tag == "triangles":
            if len(joined) % 3 or ("count" in primitive.attrib and primitive.get("count") != str(len(joined) // 3)):
                raise InputError(f"is damaged or ends early: {primitive.get('count')} triangles were promised")
            return joined, np.full(len(joined) // 3, 3), source
        triples = [_fan(run) if primitive.tag == "trifans" else _strip(run) for run in runs if len(run) > 2]
        corners = np.concatenate(triples) if triples else np.empty(0, dtype=np.int64)
        return corners, np.full(len(corners) // 3, 3), source

    def _positions(self, url: str | None) -> np.ndarray:
        """The positions (V, 3) that a `vertices` element names."""
        inputs = self.named(url, "vertices").findall("input")
        source = next((each.get("source") for each in inputs if each.get("semantic") == "POSITION"), None)
        element = self.named(source, "source")
        accessor = element.find("technique_common/accessor")
        if accessor is None:
            raise InputError("is damaged: a source without an accessor")
        values = numbers((self.named(accessor.get("source"), "float_array").text or "").split(), "its coordinates")
        stride, count = _count(accessor, "stride", "1"), _count(accessor, "count", "0")
        start = _count(accessor, "offset", "0")
        names = [param.get("name", "").upper() for param in accessor.findall("param")]
        columns = [names.index(axis) for axis in "XYZ"] if set("XYZ") <= set(names) else [0, 1, 2]
        if min(count, start) < 0 or stride <= max(columns) or start + count * stride > len(values):
            raise InputError(f"ends early: {count} vertices were promised, {len(values)} numbers are there")
        return values[start : start + count * stride].reshape(count, stride)[:, columns]


def _count(element: Element, key: str, default: str) -> int:
    """A whole number from an attribute."""
    return int(whole_numbers([element.get(key, default)], f"its {key}")[0])


def _fan(run: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(run) - 2, run[0]), run[1:-1], run[2:]], axis=1).reshape(-1)


def _strip(run: np.ndarray) -> np.ndarray:
    return np.stack([run[:-2], run[1:-1], run[2:]], axis=1).reshape(-1)


def _transform(element: Element) -> np.ndarray:
    """The (4, 4) matrix of a transform; of other elements, the unit matrix."""
    matrix = np.eye(4)
    if element.tag not in ("matrix", "translate", "scale", "rotate", "skew", "lookat"):
        return matrix
    values = numbers((element.text or "").split(), f"a {element.tag}")
    wanted = {"matrix": 16, "rotate": 4, "translate": 3, "scale": 3}.get(element.tag)
    if wanted is None:
        raise InputError(f"places a node by {element.tag}, which is not read")
    if len(values) != wanted:
        raise InputError(f"is damaged: a {element.tag} of {len(values)} numbers")
    if element.tag == "matrix":
        return values.reshape(4, 4)
    if element.tag == "translate":
        matrix[:3, 3] = values
    elif element.tag == "scale":
        matrix[:3, :3] = np.diag(values)
    else:
        length = float(np.linalg.norm(values[:3]))
        x, y, z = values[:3] / (length or 1.0)
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        angle = math.radians(values[3]) if length else 0.0
        matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix
