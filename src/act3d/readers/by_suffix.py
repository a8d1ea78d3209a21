"""Which reader takes which file."""

from collections.abc import Callable
from pathlib import Path

from act3d.errors import InputError
from act3d.readers import ldraw, meshes, vrml
from act3d.readers import point_files as scans
from act3d.readers.shape import Shape

READERS: dict[str, Callable[[Path], Shape]] = {
    ".obj": meshes.read_obj,
    ".ply": meshes.read_ply,
    ".off": meshes.read_off,
    ".dae": meshes.read_dae,
    ".stl": meshes.read_with_trimesh,
    ".glb": meshes.read_with_trimesh,
    ".gltf": meshes.read_with_trimesh,
    ".3mf": meshes.read_with_trimesh,
    ".wrl": vrml.read_wrl,
    ".dat": ldraw.read_ldraw,
    ".ldr": ldraw.read_ldraw,
    ".npy": scans.read_npy,
    ".npz": scans.read_npz,
    ".xyz": scans.read_text,
    ".pts": scans.read_text,
    ".pcd": scans.read_pcd,
}


def read_shape(path: str | Path) -> Shape:
    """Read a mesh or a point cloud; the suffix decides how.

    Raises:
        InputError: the suffix is not known, or the file cannot be read; says why.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: suffix {path.suffix!r} is not known; allowed: {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} is missing")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    return reader(path)
