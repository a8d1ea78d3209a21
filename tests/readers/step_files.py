"""Boxes as STEP files (ISO 10303-21 and -214), alone or as an assembly, written as text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNITS = {
    "mm": ["(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT(.MILLI.,.METRE.))"],
    "m": ["(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT($,.METRE.))"],
    "inch": [
        "(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT(.MILLI.,.METRE.))",
        "LENGTH_MEASURE_WITH_UNIT(LENGTH_MEASURE(25.4),{-1})",
        "DIMENSIONAL_EXPONENTS(1.,0.,0.,0.,0.,0.,0.)",
        "(CONVERSION_BASED_UNIT('INCH',{-2})LENGTH_UNIT()NAMED_UNIT({-1}))",
    ],
}
# Corners of a side of the unit cube, counted x + 2 y + 4 z, round its normal as seen from outside.
SIDES = [
    ((0, 2, 3, 1), (0, 0, -1)), ((4, 5, 7, 6), (0, 0, 1)), ((0, 1, 5, 4), (0, -1, 0)),
    ((2, 6, 7, 3), (0, 1, 0)), ((0, 4, 6, 2), (-1, 0, 0)), ((1, 3, 7, 5), (1, 0, 0)),
]  # fmt: skip


class Box(NamedTuple):
    """A part: its name, size, place in the assembly (of its corner), and colour."""

    name: str
    size: tuple[float, float, float]
    place: tuple[float, float, float] = (0, 0, 0)
    color: tuple[float, float, float] | None = None


class _Lines:
    """The entities of a file; `add` gives the new one's number as #n."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, text: str) -> str:
        for back in range(1, 5):  # {-1} is the entity before
            text = text.replace(f"{{-{back}}}", f"#{len(self.lines) + 1 - back}")
        self.lines.append(f"#{len(self.lines) + 1}={text};")
        return f"#{len(self.lines)}"

    def triple(self, kind: str, values: Sequence[float]) -> str:
        numbers = ",".join(f"{float(value)}" for value in values)
        return self.add(f"{kind}('',({numbers}))")

    def axes(self, place: Sequence[float], normal: Sequence[float] = (0, 0, 1), x: Sequence[float] = (1, 0, 0)) -> str:
        parts = self.triple("CARTESIAN_POINT", place), self.triple("DIRECTION", normal), self.triple("DIRECTION", x)
        return self.add(f"AXIS2_PLACEMENT_3D('',{','.join(parts)})")


def _solid(file: _Lines, box: Box) -> str:
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)]) * box.size
    vertices = [file.add(f"VERTEX_POINT('',{file.triple('CARTESIAN_POINT', corner)})") for corner in corners]
    edges: dict[tuple[int, int], str] = {}

    def edge(a: int, b: int) -> str:
        low, high = sorted((a, b))
        if (low, high) not in edges:
            along = corners[high] - corners[low]
            length = float(np.linalg.norm(along))
            vector = file.add(f"VECTOR('',{file.triple('DIRECTION', along / length)},1.)")
            line = file.add(f"LINE('',{file.triple('CARTESIAN_POINT', corners[low])},{vector})")
            edges[low, high] = file.add(f"EDGE_CURVE('',{vertices[low]},{vertices[high]},{line},.T.)")
        return file.add(f"ORIENTED_EDGE('',*,*,{edges[low, high]},.{'T' if a < b else 'F'}.)")

    faces = []
    for side, normal in SIDES:
        loop = ",".join(edge(a, b) for a, b in zip(side, (*side[1:], side[0]), strict=True))
        whole = file.add(f"EDGE_LOOP('',({loop}))")
        bound = file.add(f"FACE_OUTER_BOUND('',{whole},.T.)")
        x = (normal[2], *normal[:2])
        plane = file.add(f"PLANE('',{file.axes(corners[side[0]], normal, x)})")
        faces.append(file.add(f"ADVANCED_FACE('',({bound}),{plane},.T.)"))
    shell = file.add(f"CLOSED_SHELL('',({','.join(faces)}))")
    return file.add(f"MANIFOLD_SOLID_BREP('{box.name}',{shell})")


def _paint(file: _Lines, solid: str, color: tuple[float, float, float], context: str) -> None:
    rgb = ",".join(str(float(value)) for value in color)
    file.add(f"COLOUR_RGB('',{rgb})")
    for text in (
        "FILL_AREA_STYLE_COLOUR('',{-1})", "FILL_AREA_STYLE('',({-1}))", "SURFACE_STYLE_FILL_AREA({-1})",
        "SURFACE_SIDE_STYLE('',({-1}))", "SURFACE_STYLE_USAGE(.BOTH.,{-1})", "PRESENTATION_STYLE_ASSIGNMENT(({-1}))",
        f"STYLED_ITEM('color',({{-1}}),{solid})",
        f"MECHANICAL_DESIGN_GEOMETRIC_PRESENTATION_REPRESENTATION('',({{-1}}),{context})",
    ):  # fmt: skip
        file.add(text)


def _product(file: _Lines, name: str, representation: str, contexts: tuple[str, str]) -> str:
    file.add(f"PRODUCT('{name}','{name}','',({contexts[0]}))")
    file.add("PRODUCT_DEFINITION_FORMATION('','',{-1})")
    definition = file.add(f"PRODUCT_DEFINITION('design','',{{-1}},{contexts[1]})")
    file.add("PRODUCT_DEFINITION_SHAPE('','',{-1})")
    file.add(f"SHAPE_DEFINITION_REPRESENTATION({{-1}},{representation})")
    return definition


def write_step(path: Path, boxes: Sequence[Box], unit: str = "mm") -> Path:
    """One box as a part, or several as an assembly, in a unit."""
    file = _Lines()
    application = file.add("APPLICATION_CONTEXT('automotive design')")
    file.add(f"APPLICATION_PROTOCOL_DEFINITION('international standard','automotive_design',2000,{application})")
    contexts = (
        file.add(f"PRODUCT_CONTEXT('',{application},'mechanical')"),
        file.add(f"PRODUCT_DEFINITION_CONTEXT('part definition',{application},'design')"),
    )
    length = [file.add(text) for text in UNITS[unit]][-1]
    angle = file.add("(NAMED_UNIT(*)PLANE_ANGLE_UNIT()SI_UNIT($,.RADIAN.))")
    solid_angle = file.add("(NAMED_UNIT(*)SI_UNIT($,.STERADIAN.)SOLID_ANGLE_UNIT())")
    exact = file.add(f"UNCERTAINTY_MEASURE_WITH_UNIT(LENGTH_MEASURE(1.E-05),{length},'distance_accuracy_value','')")
    context = file.add(
        f"(GEOMETRIC_REPRESENTATION_CONTEXT(3)GLOBAL_UNCERTAINTY_ASSIGNED_CONTEXT(({exact}))"
        f"GLOBAL_UNIT_ASSIGNED_CONTEXT(({length},{angle},{solid_angle}))REPRESENTATION_CONTEXT('',''))"
    )
    parts = []
    for box in boxes:
        origin, solid = file.axes((0, 0, 0)), _solid(file, box)
        shape = file.add(f"ADVANCED_BREP_SHAPE_REPRESENTATION('{box.name}',({origin},{solid}),{context})")
        parts.append((_product(file, box.name, shape, contexts), shape, origin))
        if box.color is not None:
            _paint(file, solid, box.color, context)
    if len(boxes) > 1:
        _assemble(file, boxes, parts, context, contexts)
    head = "HEADER;\nFILE_DESCRIPTION((''),'2;1');\nFILE_NAME('','2026-01-01T00:00:00',(''),(''),'','','');\n"
    head += "FILE_SCHEMA(('AUTOMOTIVE_DESIGN { 1 0 10303 214 1 1 1 1 }'));\nENDSEC;\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"ISO-10303-21;\n{head}DATA;\n" + "\n".join(file.lines) + "\nENDSEC;\nEND-ISO-10303-21;\n")
    return path


def _assemble(
    file: _Lines, boxes: Sequence[Box], parts: list[tuple[str, str, str]], context: str, contexts: tuple[str, str]
) -> None:
    places = [file.axes(box.place) for box in boxes]
    whole = file.add(f"SHAPE_REPRESENTATION('whole',({','.join(places)}),{context})")
    product = _product(file, "whole", whole, contexts)
    for box, place, (definition, shape, origin) in zip(boxes, places, parts, strict=True):
        move = file.add(f"ITEM_DEFINED_TRANSFORMATION('','',{origin},{place})")
        related = file.add(
            f"(REPRESENTATION_RELATIONSHIP('','',{shape},{whole})"
            f"REPRESENTATION_RELATIONSHIP_WITH_TRANSFORMATION({move})SHAPE_REPRESENTATION_RELATIONSHIP())"
        )
        file.add(f"NEXT_ASSEMBLY_USAGE_OCCURRENCE('{box.name}','{box.name}','',{product},{definition},$)")
        file.add("PRODUCT_DEFINITION_SHAPE('','',{-1})")
        file.add(f"CONTEXT_DEPENDENT_SHAPE_REPRESENTATION({related},{{-1}})")
