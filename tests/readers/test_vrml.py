"""The VRML reader: grammar, transforms, materials."""

from pathlib import Path

import numpy as np
import pytest

from act3d.errors import InputError
from act3d.prepare.kicad import ACCENT, BODY, LENS, MARKING, METAL, face_parts, part_of_material
from act3d.readers.shape import Shape, face_areas
from act3d.readers.vrml import read_wrl

HEAD = "#VRML V2.0 utf8\n"
TRIANGLE = "geometry IndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0, 0 1 0] } coordIndex [0,1,2,-1] }"


def read(tmp_path: Path, text: str) -> Shape:
    (tmp_path / "x.wrl").write_text(HEAD + text.replace("TRIANGLE", TRIANGLE))
    return read_wrl(tmp_path / "x.wrl")


def test_materials_by_def_and_use(tmp_path: Path) -> None:
    shape = read(
        tmp_path,
        """# materials first, without geometry, as KiCad's exporter writes them
        Shape { appearance Appearance {material DEF PIN-01 Material { diffuseColor 0.8 0.8 0.7 } } }
        Shape { appearance Appearance {material DEF IC-BODY-EPOXY-04 Material { diffuseColor .1 .1 .1 } } }
        Shape { TRIANGLE appearance Appearance{material USE IC-BODY-EPOXY-04 } }
        Shape { TRIANGLE appearance Appearance{material USE PIN-01 } }
        Shape { TRIANGLE appearance Appearance{material Material { diffuseColor 1 0 0 } } }
        Shape { TRIANGLE }""",
    )
    assert shape.materials is not None
    assert shape.colors is not None
    assert [shape.material_names[i] for i in shape.materials] == ["IC-BODY-EPOXY-04", "PIN-01", "", ""]
    assert shape.colors[shape.materials].tolist() == [[0.1, 0.1, 0.1], [0.8, 0.8, 0.7], [1, 0, 0], [0.8, 0.8, 0.8]]
    assert len(shape.vertices) == 12


def test_group_transform_switch_and_use(tmp_path: Path) -> None:
    shape = read(
        tmp_path,
        """NavigationInfo { type [ "EXAMINE", "ANY" ] } WorldInfo { title "a # in a string { [ is text" }
        Group { children Transform { translation 10 0 0 children [
            DEF part Group { children [ DEF leaf Shape { TRIANGLE } ] },
            Transform { scale 2 2 2 center 1 0 0 children USE part }
            Switch { whichChoice 1 choice [ Shape {}
                Transform { rotation 0 0 1 1.5707963267948966 children [ USE leaf ] } ] }
            Switch { choice [ USE leaf ] } Shape { geometry IndexedLineSet { coordIndex [0 1 -1] } }
        ] } } ROUTE a.b TO c.d""",
    )
    assert shape.faces is not None
    first, second, third = shape.vertices.reshape(3, 3, 3)
    assert first.tolist() == [[10, 0, 0], [11, 0, 0], [10, 1, 0]]
    # Scaled by 2 about (1, 0, 0), then moved.
    assert second.tolist() == [[9, 0, 0], [11, 0, 0], [9, 2, 0]]
    assert np.allclose(third, [[10, 0, 0], [10, 1, 0], [9, 0, 0]])
    assert np.allclose(face_areas(shape.vertices, shape.faces), [0.5, 2, 0.5])


def test_scale_orientation(tmp_path: Path) -> None:
    shape = read(
        tmp_path, "Transform { scale 3 1 1 scaleOrientation 0 0 1 1.5707963267948966 children Shape { TRIANGLE } }"
    )
    # Stretched along the turned x axis, which is y.
    assert np.allclose(shape.vertices, [[0, 0, 0], [1, 0, 0], [0, 3, 0]])


@pytest.mark.parametrize("index", ["0 1 2 3 4 5 -1", "0,1,2,3,4,5", "0 1 2 3 4 5 -1 0 1 -1"])
def test_concave_polygon(tmp_path: Path, index: str) -> None:
    points = "2 0 0, 2 1 0, 1 1 0, # a comment\n 1 2 0, 0 2 0, 0 0 0"
    shape = read(
        tmp_path,
        f"Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point [{points}] }} coordIndex [{index}] }} }}",
    )
    assert shape.faces is not None
    assert face_areas(shape.vertices, shape.faces).sum() == pytest.approx(3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Shape { geometry", "ends in the middle"),
        ("Shape { TRIANGLE", "ends in the middle"),
        ("Shape { geometry USE nothing }", "USE nothing"),
        ("Shape { geometry Box { size 1 1 1 } }", "Box.*IndexedFaceSet"),
        ("Shape { TRIANGLE } Shape { geometry Sphere { } }", "Sphere"),
        ('Shape { TRIANGLE } Inline { url "other.wrl" }', "Inline"),
        ("Shape { geometry IndexedLineSet { } }", "no IndexedFaceSet.*IndexedLineSet"),
        ("PROTO Pin [ ] { }", "prototypes"),
        ("Shape { geometry IndexedFaceSet { coord Coordinate { point [0 0 0 1] } coordIndex [0 0 0 -1] } }", "threes"),
        ("Shape { geometry IndexedFaceSet { coord Coordinate { point [0 0 x] } coordIndex [0 0 0 -1] } }", "numbers"),
        ("Shape { geometry IndexedFaceSet { coord Coordinate { point [0 0 0] } coordIndex [0 0 1 -1] } }", "outside"),
        ("", "no IndexedFaceSet"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(tmp_path, text)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wrl").write_text("#VRML V1.0 ascii\n")
    with pytest.raises(InputError, match=r"VRML 2\.0"):
        read_wrl(tmp_path / "x.wrl")


@pytest.mark.parametrize(
    ("name", "color", "part"),
    [
        ("PIN-01", (0, 0, 0), METAL), ("MET-COPPER", (0, 0, 0), METAL), ("GLASS-19", (0, 0, 0), LENS),
        ("LED-RED", (0, 0, 0), LENS), ("IC-LABEL-01", (0, 0, 0), MARKING), ("PLASTIC-WHITE-01", (0.9, 0.9, 0.8), BODY),
        ("", (0.44, 0.44, 0.44), METAL), ("", (0.86, 0.74, 0.49), METAL), ("", (0.91, 0.68, 0.14), METAL),
        ("", (0.15, 0.15, 0.15), BODY), ("", (0.02, 0.27, 0.82), BODY), ("", (0.92, 0.92, 0.92), BODY),
        ("", (0.4, 0.27, 0.0), BODY), ("", (0.0, 0.0, 0.0), BODY),
    ],
)  # fmt: skip
def test_part_of_material(name: str, color: tuple[float, float, float], part: int) -> None:
    assert part_of_material(name, np.array(color)) == part


def test_the_largest_body_material_is_the_body_and_the_others_accents() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 0, 0], [0, 9, 0]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 3, 4], [0, 1, 4], [0, 3, 4]])
    names = ["PLASTIC-WHITE-01", "RED-BODY", "CAP-CERAMIC-05", "PIN-01"]
    shape = Shape(vertices, faces, np.array([0, 1, 2, 3]), names, np.zeros((4, 3)))
    assert face_parts(shape).tolist() == [ACCENT, BODY, ACCENT, METAL]


@pytest.mark.parametrize(
    ("choice", "index"),
    [("1e999", "0 1 2 -1"), ("0.5", "0 1 2 -1"), ("0", "0 1.5 2 -1"), ("0", "0 1e300 2 -1"), ("0", "0 nan 2 -1")],
)
def test_numbers_that_are_not_whole_are_refused(tmp_path: Path, choice: str, index: str) -> None:
    path = tmp_path / "a.wrl"
    path.write_text(
        f"#VRML V2.0 utf8\nSwitch {{ whichChoice {choice} choice [ Shape {{ geometry IndexedFaceSet {{\n"
        f"coord Coordinate {{ point [0 0 0, 1 0 0, 0 1 0] }} coordIndex [{index}] }} }} ] }}\n"
    )
    with pytest.raises(InputError, match="not a whole number"):
        read_wrl(path)
