"""Texts from names: what stays, what goes, and that the class label stays out."""

import doctest
from pathlib import Path

import pytest

from act3d.commands.prepare import prepare
from act3d.data.description import read_table
from act3d.prepare.labels import read_labels
from act3d.use import texts
from act3d.use.texts import MODES, text_of, texts_of, words_of
from tests.fixtures.ldraw_library import labelled, ldraw_library


@pytest.mark.parametrize(
    ("name", "words"),
    [
        # KiCad: camel case, sizes, pitches, part numbers
        ("LQFP-48_7x7mm_P0.5mm", "lqfp"),
        ("HTSSOP-32-1EP_6.1x11mm_P0.65mm_EP5.2x11mm", "htssop"),
        ("TO-220-3_Vertical", "vertical"),
        ("SOT23", "sot"),
        ("BatteryHolder_Eagle_12BH611-GR", "battery holder eagle"),
        ("R_0603_1608Metric", ""),
        ("PinHeader_2x40_P2.54mm_Horizontal", "pin header horizontal"),
        ("USBMicro_DX07S016JA1R1500", "usb micro"),
        ("StatusLEDs", "status leds"),
        # LDraw
        ("Brick  2 x  4", "brick"),
        ("~Wheel Rim 8 x 18 with 6 Spokes", "wheel rim with spokes"),
        ("Door  1 x  4 x  6 with Door and 4 Panes (Complete)", "door with and panes complete"),
        ("Arm Bent with Clips at 90 Degrees", "arm bent with clips at"),
        # furniture and other letters
        ("Étagère à livres", "étagère livres"),
        ("lucky-bamboo2", "lucky bamboo"),
        # nothing to say
        ("1a04e3eab45ca15dd86060f189eb133", ""),
        ("9ab4c3d2-11ee-8c99-0242ac120002", ""),
        ("0001", ""),
        ("", ""),
    ],
)
def test_words(name: str, words: str) -> None:
    assert words_of(name) == words


def test_words_are_stable_and_said_once() -> None:
    assert words_of("Package_SO/SOPackage_package") == "package so"
    for row in read_labels("ldraw")[::50]:
        once = words_of(row["title"])
        assert words_of(once) == once


def test_examples_of_the_docstring() -> None:
    assert doctest.testmod(texts).failed == 0
    assert doctest.testmod(texts).attempted == 2


def test_kicad_is_told_by_library_and_name() -> None:
    row = {"name": "Package_QFP.3dshapes/LQFP-48_7x7mm_P0.5mm", "class": "qfp"}
    assert text_of(row) == "package qfp lqfp"
    assert text_of(row, "names") == "lqfp"
    assert text_of(row, "folders") == "package qfp"


def test_catalogs_are_told_by_title_and_category() -> None:
    row = {"name": "Scopia/Scopia#farola1", "class": "lamp", "title": "Street lamp", "category": "Lights"}
    assert text_of(row) == "street lamp lights"
    assert text_of(row, "names") == "farola"
    assert text_of(row | {"caption": "A lamp for the street."}) == "lamp for the street"
    assert text_of(row | {"title": "", "category": ""}) == "scopia farola"
    assert text_of({"name": "3001", "title": "Brick  2 x  4"}) == "brick"


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "classes"])
@pytest.mark.parametrize("name", ["Swivel Chair/train/x12.obj", "train/Swivel Chair/x12.obj", "Swivel Chair/x12.obj"])
def test_the_class_stays_out_unless_asked_for(name: str, mode: texts.Mode) -> None:
    row = {"name": name, "class": "Swivel Chair"}
    assert text_of(row, mode) == ""
    assert text_of(row, mode, use_class=True) == "swivel chair"
    # A column called class is not read, whatever else the row says.
    told = row | {"title": "Office seat", "class": "armchair", "name": "office/seat.obj"}
    assert "armchair" not in text_of(told, mode)
    assert text_of(told, mode, use_class=True).startswith("armchair ")


def test_the_class_alone_is_read_where_it_is_asked_for() -> None:
    row = {"name": "office/seat.obj", "title": "Office seat", "class": "Swivel_Chair"}
    assert text_of(row, "classes") == "swivel chair"
    assert text_of({"name": "office/seat.obj"}, "classes") == ""


def test_a_table_by_columns() -> None:
    table = {"name": ["a/Oak_Table.obj", "b/0001.obj"], "class": ["table", "b"]}
    assert texts_of(table) == ["oak table", ""]
    assert texts_of({"name": [], "class": []}) == []


def test_unknown_mode() -> None:
    with pytest.raises(ValueError, match="allowed are caption, names, folders"):
        text_of({"name": "x"}, "title")  # type: ignore[arg-type]


def test_prepared_parts_bring_their_titles(tmp_path: Path) -> None:
    prepare(ldraw_library(tmp_path / "deb"), tmp_path / "out", points=16, workers=1)
    assert texts_of(read_table(tmp_path / "out" / "clouds.csv")) == [words_of(row["title"]) for row in _in_order()]


def _in_order() -> list[dict[str, str]]:
    wanted = {row["file"] for row in labelled()}
    return [row for row in read_labels("ldraw") if row["file"] in wanted]
