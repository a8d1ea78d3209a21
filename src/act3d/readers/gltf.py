"""glTF 2.0 (.gltf, .glb): the triangles of its scene. By its standard y is up and the unit is the metre."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from act3d.errors import InputError
from act3d.installing import how_to_install
from act3d.readers.gltf_file import GltfFile, whole
from act3d.readers.gltf_parts import (
    FAN,
    LINES,
    POINTS,
    STRIP,
    TRIANGLES,
    color_of,
    compose,
    local_matrix,
    triangles_of,
)  # fmt: skip
from act3d.readers.limits import Budget, read_regular
from act3d.readers.shape import Shape

DRACO, INSTANCING, HIDDEN = "KHR_draco_mesh_compression", "EXT_mesh_gpu_instancing", "KHR_node_visibility"
_APPLIED = (DRACO, INSTANCING, HIDDEN, "KHR_mesh_quantization")
# Extensions that change no geometry, wherever they stand.
_HARMLESS = re.compile(
    r"\w+_(materials?|textures?|lights?|xmp|animation|audio|physics|techniques|interactivity)_?\w*"
    r"|EXT_(mesh_features|instance_features|feature_metadata|structural_metadata|mesh_manifold)|MSFT_lod"
    r"|KHR_node_(hover|select)ability|CESIUM_primitive_outline|(VRMC?|OMI|AGI|FB|GODOT)_\w+|VRM|KHR_xmp"
)


def read_gltf(path: Path) -> Shape:
    """See `parse_gltf`."""
    return parse_gltf(read_regular(path), path.parent)


def parse_gltf(data: bytes, folder: Path) -> Shape:
    """The triangles of the scene, with node transforms, instances, morph targets and skins in their rest pose.

    Args:
        data: Content of a .gltf or .glb file.
        folder: Where the files lie that it refers to.

    Raises:
        InputError: Damaged, or with an extension that changes geometry and is not applied; names it.
    """
    try:
        scene = _Scene(GltfFile(data, folder))
        scene.collect()
    except KeyError as error:
        raise InputError(f"is damaged: something lacks its {str(error)[:40]}") from None
    except (TypeError, AttributeError, IndexError, OverflowError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is damaged: an entry of its JSON is of another kind ({str(error)[:60]})") from None
    if scene.faces:
        return scene.shape()
    if scene.points:
        return Shape(np.concatenate(scene.points), up="y")
    raise InputError("holds no faces" + (", only lines" if scene.lines else ""))


def check_extensions(about: dict[str, Any], where: str) -> dict[str, Any]:
    """The extensions of an object that geometry depends on; refuses those that are not known."""
    extensions = about.get("extensions", {})
    for name in extensions:
        if name not in _APPLIED and not _HARMLESS.fullmatch(str(name)):
            raise InputError(f"uses the extension {str(name)[:60]} in a {where}, which is not read")
    return extensions if isinstance(extensions, dict) else {}


class _Scene:
    """Walks the nodes of a scene and gathers triangles, or points where there are none."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.owners: list[tuple[int, int, np.ndarray]] = []  # node, material, turned faces of each piece of `faces`
        self.points: list[np.ndarray] = []
        self.lines = 0
        self.size = 0
        self.budget = Budget()
        self.parents = self._parents()
        self._worlds: dict[int, np.ndarray] = {}

    def shape(self) -> Shape:
        """The triangles that were gathered, with their nodes as groups and their materials."""
        nodes, materials, turned = zip(*self.owners, strict=True)
        sizes = [len(faces) for faces in self.faces]
        own, groups = np.unique(nodes, return_inverse=True)
        used, places = np.unique(materials, return_inverse=True)
        entries = [self.file.item("materials", place) if place >= 0 else {} for place in used.tolist()]
        named = [str(self.file.item("nodes", place).get("name") or f"node {place}") for place in own.tolist()]
        return Shape(
            np.concatenate(self.vertices), np.concatenate(self.faces), np.repeat(places, sizes),
            [str(entry.get("name", "")) for entry in entries], np.array([color_of(entry) for entry in entries]),
            np.repeat(groups, sizes), named, np.concatenate(turned), up="y",
        )  # fmt: skip

    def _parents(self) -> dict[int, int]:
        """Node -> its parent; by the standard every node has one at most, so that copies cannot multiply."""
        parents: dict[int, int] = {}
        for place in range(len(self.file.content.get("nodes", []))):
            for child in self.file.item("nodes", place).get("children", []):
                self.file.item("nodes", child)
                if child in parents:
                    raise InputError(f"is damaged: node {child} has two parents")
                parents[child] = place
        return parents

    def collect(self) -> None:
        """Visit all nodes of the scene; without a scene, those without a parent."""
        content = self.file.content
        for name in content.get("extensionsRequired", []):
            if name not in _APPLIED and not _HARMLESS.fullmatch(str(name)):
                raise InputError(f"needs the extension {str(name)[:60]}, which is not read")
        nodes = range(len(content.get("nodes", [])))
        if content.get("scenes"):
            roots = self.file.item("scenes", whole(content, "scene", 0)).get("nodes", [])
        else:
            roots = [place for place in nodes if place not in self.parents]
        waiting = list(reversed(roots))
        while waiting:
            place = waiting.pop()
            self.budget.node()
            node = self.file.item("nodes", place)
            extensions = check_extensions(node, "node")
            if extensions.get(HIDDEN, {}).get("visible") is False:
                continue
            if "mesh" in node:
                self._mesh(place, node, extensions)
            waiting += reversed(node.get("children", []))

    def world(self, place: int) -> np.ndarray:
        """The (4, 4) matrix that carries a node's coordinates into the scene's."""
        chain = []
        while place not in self._worlds:
            chain.append(place)
            if place not in self.parents:
                break
            place = self.parents[place]
            if len(chain) > len(self.parents):
                raise InputError("is damaged: a node is its own ancestor")
        for link in reversed(chain):
            own = local_matrix(self.file.item("nodes", link))
            parent = self.parents.get(link)
            self._worlds[link] = own if parent is None else self._worlds[parent] @ own
        return self._worlds[chain[0] if chain else place]

    def _mesh(self, place: int, node: dict[str, Any], extensions: dict[str, Any]) -> None:
        mesh = self.file.item("meshes", node["mesh"])
        check_extensions(mesh, "mesh")
        matrices = self.world(place)[None]
        if INSTANCING in extensions:
            matrices = matrices @ self._instances(extensions[INSTANCING].get("attributes", {}))
        weights = node.get("weights", mesh.get("weights", []))
        skin = self._joints(node["skin"]) if "skin" in node else None
        for primitive in mesh["primitives"]:
            mode = primitive.get("mode", TRIANGLES)
            if mode in LINES:
                self.lines += 1
                continue
            if mode not in (POINTS, TRIANGLES, STRIP, FAN):
                raise InputError(f"is damaged: a primitive of mode {str(mode)[:20]}")
            positions, index = self._primitive(primitive, weights)
            if skin is not None:
                positions, turns = self._posed(primitive, positions, skin), np.eye(4)[None]
            else:
                turns = matrices
            faces, odd = triangles_of(index, mode)
            self.budget.add(len(turns) * (3 * len(faces) + len(positions)))
            for matrix in turns:
                moved = positions @ matrix[:3, :3].T + matrix[:3, 3]
                if mode == POINTS:
                    self.points.append(moved)
                    continue
                mirrored = np.linalg.det(matrix[:3, :3]) < 0
                self.owners.append(
                    (place, -1 if "material" not in primitive else whole(primitive, "material", None), odd ^ mirrored)
                )
                self._add(moved, faces)

    def _add(self, positions: np.ndarray, faces: np.ndarray) -> None:
        self.vertices.append(positions)
        self.faces.append(faces + self.size)
        self.size += len(positions)

    def _primitive(self, primitive: dict[str, Any], weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (V, 3) and the order (n,) in which they are drawn."""
        extensions = check_extensions(primitive, "primitive")
        attributes = primitive["attributes"]
        if "POSITION" not in attributes:
            raise InputError("is damaged: a primitive without POSITION")
        # An accessor with data of its own is what the standard offers to those who cannot decode Draco.
        if DRACO in extensions and "bufferView" not in self.file.item("accessors", attributes["POSITION"]):
            if primitive.get("targets"):
                raise InputError(f"has morph targets beside {DRACO}, which is not read")
            return self._draco(extensions[DRACO], attributes["POSITION"])
        positions = self.file.accessor(attributes["POSITION"], ("VEC3",))
        targets = primitive.get("targets", [])
        for weight, target in zip(weights, targets, strict=False):
            if weight and "POSITION" in target:
                positions = positions + float(weight) * self.file.accessor(target["POSITION"], ("VEC3",))
        if "indices" not in primitive:
            return positions, np.arange(len(positions), dtype=np.int64)
        index = self.file.accessor(primitive["indices"], ("SCALAR",), integers=True)[:, 0]
        if len(index) and index.max() >= len(positions):
            raise InputError(f"a face names a vertex outside 0..{len(positions) - 1}")
        return positions, index

    def _draco(self, about: dict[str, Any], accessor: Any) -> tuple[np.ndarray, np.ndarray]:
        """Positions and order of a primitive that is compressed with Draco; needs DracoPy."""
        try:
            import DracoPy
        except ImportError:
            raise InputError(f"is compressed with Draco ({DRACO}): to read it, {how_to_install('draco')}") from None
        data, _ = self.file.view(about["bufferView"])
        if self.file.item("accessors", accessor).get("componentType") != 5126:
            raise InputError(f"has quantized positions inside {DRACO}, which is not read")
        try:
            mesh = DracoPy.decode(data)
            positions = np.asarray(mesh.points, dtype=np.float64).reshape(-1, 3)
            index = np.asarray(mesh.faces, dtype=np.int64).reshape(-1)
        except Exception as error:  # a foreign decoder
            raise InputError(f"is damaged: its Draco data cannot be decoded ({str(error)[:60]})") from None
        if len(index) and (index.min() < 0 or index.max() >= len(positions)):
            raise InputError(f"a face names a vertex outside 0..{len(positions) - 1}")
        return positions, index

    def _instances(self, attributes: dict[str, Any]) -> np.ndarray:
        """The matrices (n, 4, 4) of EXT_mesh_gpu_instancing."""
        parts = {
            key: self.file.accessor(attributes[key], (kind,))
            for key, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
            if key in attributes
        }
        counts = {len(part) for part in parts.values()}
        if len(counts) != 1:
            raise InputError(f"is damaged: {INSTANCING} with {sorted(counts)} instances")
        count = counts.pop()
        self.budget.add(count)
        return compose(
            parts.get("TRANSLATION", np.zeros((count, 3))),
            parts.get("ROTATION", np.tile([0.0, 0.0, 0.0, 1.0], (count, 1))),
            parts.get("SCALE", np.ones((count, 3))),
        )

    def _joints(self, place: Any) -> np.ndarray:
        """The matrices (joints, 4, 4) of a skin in its rest pose."""
        skin = self.file.item("skins", place)
        for joint in skin["joints"]:
            self.file.item("nodes", joint)
        worlds = np.stack([self.world(joint) for joint in skin["joints"]])
        if "inverseBindMatrices" not in skin:
            return worlds
        inverse = self.file.accessor(skin["inverseBindMatrices"], ("MAT4",)).reshape(-1, 4, 4).transpose(0, 2, 1)
        if len(inverse) < len(worlds):
            raise InputError("is damaged: a skin has fewer matrices than joints")
        return worlds @ inverse[: len(worlds)]

    def _posed(self, primitive: dict[str, Any], positions: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Positions (V, 3) moved with their joints; the transform of the node itself does not count."""
        attributes = primitive["attributes"]
        matrices, total = np.zeros((len(positions), 4, 4)), np.zeros(len(positions))
        for part in range(8):
            if f"JOINTS_{part}" not in attributes or f"WEIGHTS_{part}" not in attributes:
                break
            which = self.file.accessor(attributes[f"JOINTS_{part}"], ("VEC4",), integers=True)
            share = self.file.accessor(attributes[f"WEIGHTS_{part}"], ("VEC4",))
            if which.shape != share.shape or len(which) != len(positions) or which.max(initial=0) >= len(joints):
                raise InputError("is damaged: the joints of a skin do not fit its mesh")
            for corner in range(4):
                matrices += share[:, corner, None, None] * joints[which[:, corner]]
                total += share[:, corner]
        if not (total > 0).all():
            raise InputError("is damaged: a skinned mesh with vertices that follow no joint")
        wide = np.concatenate([positions, np.ones((len(positions), 1))], axis=1)
        moved = np.einsum("vij,vj->vi", matrices / total[:, None, None], wide)
        return moved[:, :3]
