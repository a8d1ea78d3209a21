"""3MF: the objects that its build plate holds. By its standard z is up."""

import io
import posixpath
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from act3d.errors import InputError
from act3d.readers.limits import Budget, check_unpacked, read_regular
from act3d.readers.shape import Shape
from act3d.readers.xml_text import local, parse_xml, scan_xml

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_APPLIED = (
    _CORE,
    "http://schemas.microsoft.com/3dmanufacturing/material/2015/02",
    "http://schemas.microsoft.com/3dmanufacturing/production/2015/06",
    "http://schemas.microsoft.com/3dmanufacturing/trianglesets/2021/07",
)
# Elements that make another surface than the triangles they stand beside.
_UNREAD = {"beamlattice", "booleanshape", "displacementmesh", "levelset", "volumetricstack", "slicestack"}
_Key = tuple[str, str]  # path of the model part, id of the object


@dataclass
class _Object:
    vertices: list[tuple[float, float, float]] = field(default_factory=list)
    triangles: list[tuple[int, int, int]] = field(default_factory=list)
    components: "list[tuple[_Key, np.ndarray]]" = field(default_factory=list)


class _Package:
    """The model parts of an archive: objects by path and id, and what is to be built."""

    def __init__(self, data: bytes) -> None:
        try:
            self.archive = zipfile.ZipFile(io.BytesIO(data))
        except Exception as error:  # zipfile raises errors of many kinds
            raise InputError(f"is no readable 3mf ({type(error).__name__}: {str(error)[:60]})") from None
        self.objects: dict[_Key, _Object] = {}
        self.build: list[tuple[_Key, np.ndarray]] = []
        self.main = self._main_part()
        self._wanted = [self.main]
        for path in self._wanted:  # grows while parts refer to others
            self._parse(path)

    def _read(self, path: str) -> bytes:
        try:
            info = self.archive.getinfo(path.lstrip("/"))
            check_unpacked(info.file_size, info.compress_size, f"its part {path[:60]!r}")
            return self.archive.read(info)
        except KeyError:
            raise InputError(f"has no part {path[:60]!r}") from None
        except InputError:
            raise
        except Exception as error:  # zipfile and its decompressors raise errors of many kinds
            raise InputError(f"is no readable 3mf ({type(error).__name__}: {str(error)[:60]})") from None

    def _main_part(self) -> str:
        names = self.archive.namelist()
        if "_rels/.rels" in names:
            for relation in parse_xml(self._read("_rels/.rels")):
                if relation.get("Type", "").endswith("/3dmodel"):
                    return posixpath.normpath("/" + relation.get("Target", "").lstrip("/"))
        found = [name for name in names if name.lower().endswith(".model")]
        if not found:
            raise InputError("is no 3mf: it holds no model")
        return "/" + found[0]

    def _parse(self, path: str) -> None:
        current = [_Object()]
        spaces: dict[str, str] = {}

        def begin(name: str, about: dict[str, str]) -> None:
            tag = local(name)
            if tag == "vertex":
                current[0].vertices.append((float(about["x"]), float(about["y"]), float(about["z"])))
            elif tag == "triangle":
                current[0].triangles.append((int(about["v1"]), int(about["v2"]), int(about["v3"])))
            elif tag == "object":
                current[0] = _Object()
                if (path, about["id"]) in self.objects:
                    raise InputError(f"is damaged: two objects have the id {about['id'][:20]!r}")
                self.objects[path, about["id"]] = current[0]
            elif tag == "component":
                current[0].components.append(self._reference(path, about))
            elif tag == "item" and path == self.main:
                self.build.append(self._reference(path, about))
            elif tag in _UNREAD:
                raise InputError(f"holds a {tag}, which is not read")
            elif tag == "model":
                _check_required(about.get("requiredextensions", ""), spaces)

        # Prefixes matter only for requiredextensions, which names them.
        data = self._read(path)
        spaces.update(_prefixes(data))
        try:
            scan_xml(data, begin, lambda name: None)
        except (KeyError, ValueError) as error:
            raise error if isinstance(error, InputError) else InputError(f"is damaged ({error})") from None

    def _reference(self, path: str, about: dict[str, str]) -> tuple[_Key, np.ndarray]:
        """What a component or an item names, and the (4, 4) matrix it is placed by."""
        other = next((value for key, value in about.items() if local(key) == "path"), path)
        if other not in self._wanted:
            self._wanted.append(other)
        matrix = np.eye(4)
        if "transform" in about:
            matrix[:3, :] = np.array(about["transform"].split(), dtype=np.float64).reshape(4, 3).T
        return (other, about["objectid"]), matrix


def _prefixes(data: bytes) -> dict[str, str]:
    """Prefix -> namespace of the root's declarations."""
    import re

    head = data[:8192].decode("utf-8", errors="replace")
    return dict(re.findall(r"xmlns:([\w.-]+)\s*=\s*[\"']([^\"']+)[\"']", head))


def _check_required(text: str, spaces: dict[str, str]) -> None:
    for prefix in text.split():
        if spaces.get(prefix) not in _APPLIED:
            raise InputError(f"needs the 3MF extension {spaces.get(prefix, prefix)[-60:]}, which is not read")


class _Builder:
    """Copies objects to their places."""

    def __init__(self, package: _Package) -> None:
        self.objects, self.budget = package.objects, Budget()
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.size = 0
        self.meshes: dict[_Key, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, key: _Key, matrix: np.ndarray, above: tuple[_Key, ...] = ()) -> None:
        """Add one object and its components, placed by `matrix`."""
        self.budget.node()
        if key not in self.objects:
            raise InputError(f"is damaged: it has no object {key[1][:20]!r}")
        if key in above or len(above) > 100:
            raise InputError(f"is damaged: object {key[1][:20]!r} holds itself")
        found = self.objects[key]
        if found.triangles:
            vertices, faces = self._mesh(key)
            self.budget.add(len(vertices) + 3 * len(faces))
            self.vertices.append(vertices @ matrix[:3, :3].T + matrix[:3, 3])
            self.faces.append(faces + self.size)
            self.size += len(vertices)
        for other, own in found.components:
            self.add(other, matrix @ own, (*above, key))

    def _mesh(self, key: _Key) -> tuple[np.ndarray, np.ndarray]:
        if key not in self.meshes:
            found = self.objects[key]
            vertices = np.array(found.vertices, dtype=np.float64).reshape(-1, 3)
            faces = np.array(found.triangles, dtype=np.int64)
            if faces.min() < 0 or faces.max() >= len(vertices):
                raise InputError(f"a face names a vertex outside 0..{len(vertices) - 1}")
            self.meshes[key] = vertices, faces
        return self.meshes[key]


def read_3mf(path: Path) -> Shape:
    """The triangles of everything on the build plate; of all objects where the plate is empty.

    Raises:
        InputError: Damaged, with parts that unpack to far more than they are, or an extension that is not read.
    """
    package = _Package(read_regular(path))
    builder = _Builder(package)
    inside = {key for found in package.objects.values() for key, _ in found.components}
    for key, matrix in package.build or [(key, np.eye(4)) for key in package.objects if key not in inside]:
        builder.add(key, matrix)
    if not builder.faces:
        raise InputError("holds no faces")
    return Shape(np.concatenate(builder.vertices), np.concatenate(builder.faces), up="z")
