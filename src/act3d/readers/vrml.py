"""A reader for VRML 2.0 (.wrl): IndexedFaceSets with their materials, groups, transforms, DEF and USE.

What has no surface (lights, views, lines, points, text, scripts) is left out. A surface of another kind, an inlined
file or a prototype is refused by name: without it the shape would be another one.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import Budget, read_regular
from act3d.readers.shape import Shape, triangulate
from act3d.readers.text import decode

# One token: a comment, a string, a whole list of plain values, a bracket, or a word. Lists of numbers make up almost
# all of a file, so one token for each keeps the parser out of its inner loop.
_TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|\[[^\[\]{}"]*\]|[{}\[\]]|[^\s,{}\[\]"#]+')
_SCALAR = re.compile(r'[-+]?\.?[0-9]|TRUE$|FALSE$|"')
_GROUPS = {"Group": "children", "Transform": "children", "Anchor": "children", "Collision": "children"}
_GROUPS |= {"Billboard": "children", "LOD": "level", "Switch": "choice"}
# Nodes that add nothing to the surface, wherever they stand; geometry without a surface.
_WITHOUT_SURFACE = re.compile(
    r"\w*(Sensor|Interpolator|Light|Viewpoint|Script)|NavigationInfo|WorldInfo|Background|Fog|Sound|AudioClip"
    r"|Appearance|Material|\w*Texture\w*|Coordinate|Normal|Color|FontStyle"
)
_FLAT = ("IndexedLineSet", "PointSet", "Text")
_DEFAULT_COLOR = (0.8, 0.8, 0.8)


@dataclass(eq=False)
class Node:
    """A VRML node: its type, its DEF name ("" without), its fields."""

    kind: str
    name: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def numbers(self, key: str, default: tuple[float, ...] = ()) -> np.ndarray:
        """A field as float64 array, whether it was written as a list or bare; of as many numbers as its default has."""
        value = self.fields.get(key)
        if value is None:
            return np.array(default)
        if isinstance(value, Node):
            raise InputError(f"field {key} of {self.kind} is a node, not a list of numbers")
        text = value[1:-1] if isinstance(value, str) else " ".join(map(str, value))
        if "#" in text:
            text = re.sub(r"#[^\n]*", " ", text)
        try:
            found = np.array(text.replace(",", " ").split(), dtype=np.float64)
        except ValueError:
            raise InputError(f"field {key} of {self.kind} is not a list of numbers") from None
        if default and len(found) != len(default):
            raise InputError(f"field {key} of {self.kind} has {len(found)} numbers; expected {len(default)}")
        return found

    def nodes(self, key: str) -> "list[Node]":
        """A field as list of nodes."""
        value = self.fields.get(key)
        if isinstance(value, Node):
            return [value]
        return [item for item in value if isinstance(item, Node)] if isinstance(value, list) else []

    def node(self, key: str) -> "Node | None":
        """A field as one node, None if absent."""
        return next(iter(self.nodes(key)), None)


class _Parser:
    def __init__(self, text: str):
        self.tokens = [token for token in _TOKEN.findall(text) if not token.startswith("#")]
        self.at = 0
        self.defined: dict[str, Node] = {}

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        if self.at >= len(self.tokens):
            raise InputError("the file ends in the middle of a node")
        self.at += 1
        return self.tokens[self.at - 1]

    def scene(self) -> list[Node]:
        found = []
        while self.peek():
            if self.peek() == "ROUTE":
                self.at += 4
                continue
            if self.peek() in ("PROTO", "EXTERNPROTO"):
                raise InputError("VRML prototypes are not supported")
            node = self.statement()
            if node is not None:
                found.append(node)
        return found

    def statement(self) -> Node | None:
        word = self.next()
        if word == "NULL":
            return None
        if word == "USE":
            name = self.next()
            if name not in self.defined:
                raise InputError(f"USE {name} comes before its DEF")
            return self.defined[name]
        if word == "DEF":
            name = self.next()
            return self.body(Node(self.next(), name))
        return self.body(Node(word))

    def body(self, node: Node) -> Node:
        if self.next() != "{":
            raise InputError(f"expected '{{' after {node.kind!r}")
        while self.peek() != "}":
            key = self.next()
            if key == "ROUTE":
                self.at += 3
                continue
            node.fields[key] = self.value()
        self.at += 1
        if node.name:
            # Only now: a USE inside its own node would be a loop.
            self.defined[node.name] = node
        return node

    def value(self) -> Any:
        token = self.peek()
        if token == "[":
            self.at += 1
            items: list[Any] = []
            while self.peek() != "]":
                items.append(self.next() if self.peek().startswith('"') else self.statement())
            self.at += 1
            return items
        if token.startswith("["):
            return self._list(self.next())
        if not _SCALAR.match(token):
            return self.statement()
        scalars = []
        while _SCALAR.match(self.peek()):
            scalars.append(self.next())
        return scalars

    def _list(self, token: str) -> Any:
        """A bracketed list without braces: numbers, kept as text, or USEs of nodes."""
        words = token[1:-1].replace(",", " ").split()
        if words[:1] == ["USE"]:
            missing = [word for word in words[1::2] if word not in self.defined]
            if missing:
                raise InputError(f"USE {missing[0]} comes before its DEF")
            return [self.defined[word] for word in words[1::2]]
        return token


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    """(4, 4) rotation about an axis (first three) by an angle in radians (last)."""
    axis, angle = axis_angle[:3], axis_angle[3]
    length = np.linalg.norm(axis)
    matrix = np.eye(4)
    if length > 0:
        x, y, z = axis / length
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def _translation(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def transform_matrix(node: Node) -> np.ndarray:
    """The (4, 4) matrix of a Transform node: T C R SR S -SR -C, as the standard defines it."""
    zero, no_turn = (0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)
    center = node.numbers("center", zero)
    turn = _rotation(node.numbers("scaleOrientation", no_turn))
    matrix = _translation(node.numbers("translation", zero)) @ _translation(center)
    matrix = matrix @ _rotation(node.numbers("rotation", no_turn)) @ turn
    return matrix @ np.diag([*node.numbers("scale", (1.0, 1.0, 1.0)), 1.0]) @ turn.T @ _translation(-center)


class _Collector:
    """Walks the scene and gathers triangles with their materials."""

    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.materials: list[np.ndarray] = []
        self.turned: list[np.ndarray] = []
        self.palette: dict[tuple[str, tuple[float, ...]], int] = {}
        self.skipped: set[str] = set()
        self.size = 0
        self.budget = Budget()

    def walk(self, node: Node, matrix: np.ndarray | None) -> None:
        self.budget.node()
        if node.kind == "Shape":
            self.shape(node, matrix)
        elif node.kind in _GROUPS:
            if node.kind == "Transform":
                matrix = transform_matrix(node) if matrix is None else matrix @ transform_matrix(node)
            children = node.nodes(_GROUPS[node.kind])
            if node.kind == "Switch":
                which = int(_whole_numbers(node.numbers("whichChoice", (-1.0,)), "a Switch chooses")[0])
                children = children[which : which + 1] if which >= 0 else []
            elif node.kind == "LOD":
                children = children[:1]
            for child in children:
                self.walk(child, matrix)
        elif not _WITHOUT_SURFACE.fullmatch(node.kind):
            raise InputError(f"holds {node.kind[:40]}, which is not read")

    def shape(self, node: Node, matrix: np.ndarray | None) -> None:
        geometry = node.node("geometry")
        if geometry is None:
            return
        if geometry.kind in _FLAT:
            self.skipped.add(geometry.kind)
            return
        if geometry.kind != "IndexedFaceSet":
            raise InputError(f"holds {geometry.kind[:40]}; of surfaces only IndexedFaceSet is read")
        coord = geometry.node("coord")
        points = coord.numbers("point") if coord is not None else np.empty(0)
        if len(points) % 3:
            raise InputError("a coordinate list does not come in threes")
        vertices = points.reshape(-1, 3)
        faces = _triangles(vertices, _whole_numbers(geometry.numbers("coordIndex"), "a face names a vertex"))
        self.budget.add(3 * len(faces) + len(vertices))
        if matrix is not None:
            vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        mirrored = matrix is not None and np.linalg.det(matrix[:3, :3]) < 0
        clockwise = geometry.fields.get("ccw", [""])[:1] == ["FALSE"]
        self.turned.append(np.full(len(faces), clockwise != mirrored))
        self.vertices.append(vertices)
        self.faces.append(faces + self.size)
        self.materials.append(np.full(len(faces), self.material(node)))
        self.size += len(vertices)

    def material(self, shape: Node) -> int:
        appearance = shape.node("appearance")
        node = appearance.node("material") if appearance is not None else None
        color = tuple(node.numbers("diffuseColor", _DEFAULT_COLOR).tolist()) if node is not None else _DEFAULT_COLOR
        return self.palette.setdefault((node.name if node is not None else "", color), len(self.palette))


def _whole_numbers(numbers: np.ndarray, what: str) -> np.ndarray:
    """Numbers as int64; a fraction, or what int64 cannot hold, is refused."""
    if not (np.isfinite(numbers).all() and (np.abs(numbers) < 2**53).all() and (numbers == np.floor(numbers)).all()):
        raise InputError(f"{what} by what is not a whole number")
    return numbers.astype(np.int64)


def _triangles(vertices: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Triangles (T, 3) of a coordIndex list, whose polygons end in -1 (the last one need not)."""
    if len(index) % 4 == 0 and len(index) and (index[3::4] == -1).all():
        triples = index.reshape(-1, 4)[:, :3]
        if triples.min() >= 0:
            if triples.max() >= len(vertices):
                raise InputError(f"a face names a vertex outside 0..{len(vertices) - 1}")
            return triples
    if len(index) and index[-1] != -1:
        index = np.append(index, -1)
    ends = np.flatnonzero(index == -1)
    sizes = np.diff(np.concatenate([[-1], ends])) - 1
    return triangulate(vertices, index[index != -1], sizes)[0]


def read_wrl(path: Path) -> Shape:
    """Read a VRML 2.0 file. Raises InputError with the reason when it cannot."""
    text = decode(read_regular(path))
    if not text.startswith("#VRML V2.0"):
        raise InputError(f"starts with {text[:10]!r}; only VRML 2.0 is read")
    collector = _Collector()
    try:
        for node in _Parser(text).scene():
            collector.walk(node, None)
    except RecursionError:
        raise InputError("nests its nodes too deeply") from None
    if not collector.faces:
        kinds = f" (only {', '.join(sorted(collector.skipped))})" if collector.skipped else ""
        raise InputError(f"holds no IndexedFaceSet{kinds}")
    return Shape(
        np.concatenate(collector.vertices),
        np.concatenate(collector.faces),
        np.concatenate(collector.materials),
        [name for name, _ in collector.palette],
        np.array([color for _, color in collector.palette]),
        turned=np.concatenate(collector.turned),
    )
