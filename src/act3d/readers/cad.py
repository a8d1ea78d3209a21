"""STEP and IGES through cascadio (OpenCASCADE), an optional dependency: surfaces become triangles, units metres."""

from pathlib import Path
from typing import Literal

from act3d.errors import InputError, MissingDependency
from act3d.installing import how_to_install
from act3d.readers.gltf import parse_gltf
from act3d.readers.limits import read_regular
from act3d.readers.shape import Shape

CAD_SUFFIXES = (".step", ".stp", ".iges", ".igs")
# How far triangles may lie from their surface, in units of the edge or face that they replace, and how many radians two
# neighbours may differ by: a shape of any size gets equally many triangles. A circle becomes 25 lines.
DEFLECTION, ANGLE = 0.01, 0.25


def read_cad(path: Path) -> Shape:
    """A STEP or IGES file in metres, whatever its unit; every solid of an assembly is a group.

    Raises:
        MissingDependency: cascadio is not installed.
        InputError: Damaged, or without surfaces.
    """
    try:
        import cascadio
    except ImportError:
        raise MissingDependency(f"STEP and IGES need cascadio: {how_to_install('cad')}") from None
    kind: Literal["step", "iges"] = "step" if path.suffix.lower() in CAD_SUFFIXES[:2] else "iges"
    data = read_regular(path)
    found: bytes = cascadio.load(
        data, kind, tol_linear=DEFLECTION, tol_angular=ANGLE, tol_relative=True, use_parallel=False
    )
    if not found:
        raise InputError(f"is no readable {kind.upper()} file, or holds no surfaces")
    shape = parse_gltf(found, path.parent)
    if kind == "iges":
        shape.vertices /= 1000  # it turns the unit of an IGES file into millimetres, that of STEP into metres
    shape.up = ""  # the reader leaves the axes as they are, and neither format says which of them is up
    shape.material_names = [""] * len(shape.material_names)  # cascadio numbers them
    return shape
