"""The reader of every suffix, and the one function that reads any shape."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from act3d.errors import Act3dError, InputError
from act3d.readers.cad import CAD_SUFFIXES, read_cad
from act3d.readers.collada import read_dae
from act3d.readers.gltf import read_gltf
from act3d.readers.ldraw import read_ldraw
from act3d.readers.numpy_files import read_npy, read_npz
from act3d.readers.obj import read_obj
from act3d.readers.off import read_off
from act3d.readers.pcd import read_pcd
from act3d.readers.ply import read_ply
from act3d.readers.point_channels import channel_values
from act3d.readers.point_text import read_text
from act3d.readers.shape import Shape, sample_surface
from act3d.readers.stl import read_stl
from act3d.readers.threemf import read_3mf
from act3d.readers.vrml import read_wrl

READERS: dict[str, Callable[[Path], Shape]] = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".off": read_off,
    ".dae": read_dae,
    ".stl": read_stl,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".3mf": read_3mf,
    ".wrl": read_wrl,
    ".dat": read_ldraw,
    ".ldr": read_ldraw,
    ".npy": read_npy,
    ".npz": read_npz,
    ".xyz": read_text,
    ".pts": read_text,
    ".pcd": read_pcd,
    **dict.fromkeys(CAD_SUFFIXES, read_cad),
}

# Formats of shapes that are not read, and what to do instead.
_TO_GLTF, _TO_STEP = "export it as .glb", "export it as .step"
UNREAD: dict[str, str] = {
    **dict.fromkeys((".fbx", ".blend", ".3ds", ".max", ".ma", ".mb", ".c4d", ".lwo", ".skp", ".x3d", ".x"), _TO_GLTF),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz", ".abc", ".vrm"), _TO_GLTF),
    **dict.fromkeys((".sldprt", ".sldasm", ".ipt", ".iam", ".prt", ".catpart", ".catproduct", ".x_t"), _TO_STEP),
    **dict.fromkeys((".jt", ".sat", ".brep", ".f3d", ".fcstd", ".ifc", ".dwg", ".dxf", ".3dm"), _TO_STEP),
    **dict.fromkeys((".e57", ".ptx", ".rcp"), "export it as .ply"),
}  # fmt: skip


def unread_reason(suffix: str) -> str:
    """One clause on a suffix that no reader has: what to do, where that is known, and what can be read."""
    instead = UNREAD.get(suffix.lower())
    return f"suffix {suffix!r} cannot be read" + (f": {instead}" if instead else f"; allowed: {', '.join(READERS)}")


class Sample(NamedTuple):
    """Points (count, 3) float64 of a file, what its `Shape` says of its up axis and takes for granted; if of a mesh.

    `beside` (count, F) are the channels that were asked for, and `known` those of them that the file has. `box` holds
    the lowest and the highest coordinates (2, 3) of the whole shape, where they are known.
    """

    points: np.ndarray
    up: str
    turned_from: str
    of_mesh: bool = False
    note: str = ""
    beside: np.ndarray | None = None
    known: Sequence[str] = ()
    box: np.ndarray | None = None


def read_sample(path: str | Path, count: int, seed: int = 0, channels: Sequence[str] = ()) -> Sample:
    """Read a file and take points from it, spread over its surface or drawn from its cloud; see `read_shape`."""
    shape = read_shape(path)
    samples = sample_surface(shape, count, np.random.default_rng(seed))
    used = shape.vertices if shape.faces is None else shape.vertices[np.unique(shape.faces)]
    box = np.stack([used.min(axis=0), used.max(axis=0)])
    found = Sample(samples.points, shape.up, shape.turned_from, note=shape.note, box=box)
    if not channels:
        return found
    beside, known = channel_values(shape, samples, channels)
    return found._replace(beside=beside, known=known)


def read_shape(path: str | Path) -> Shape:
    """Read a mesh or a point cloud; the suffix decides how.

    Raises:
        InputError: the suffix is not known, or the file cannot be read; says why. Nothing else: a file that its reader
            did not foresee is damaged.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(unread_reason(path.suffix))
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise InputError("is empty")
        with np.errstate(all="ignore"):  # what overflows is not finite, and is refused as such
            return reader(path)
    except (Act3dError, MemoryError):
        raise
    except RecursionError:
        raise InputError("nests its parts too deeply") from None
    except Exception as error:  # untrusted files fail in every way; for the user all of them are damaged files
        text = " ".join(str(error).split())[:100]
        raise InputError(f"is damaged ({type(error).__name__}: {text})") from None
