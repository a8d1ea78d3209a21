"""Where no model is needed torch is not imported: its import takes longer than the work."""

import subprocess
import sys
from pathlib import Path

import pytest

import act3d
from act3d.errors import ConfigError, InputError
from tests.fixtures.small_models import write_box

PROGRAM = """
import sys
{setup}
code = {what}
print("imported:", sorted({{"torch", "lightning_fabric", "sklearn"}} & set(sys.modules)))
sys.exit(code)
"""


def without_torch(what: str, setup: str = "from act3d.cli import main", cwd: Path | None = None) -> str:
    """What a program prints that ends well and imports no torch."""
    program = PROGRAM.format(setup=setup, what=what)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "imported: []"
    return "\n".join(lines)


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    for i in range(3):
        write_box(tmp_path / "boxes" / f"box{i}.obj", 1, 2 + i, 5)
    return tmp_path / "boxes"


def test_datasets_are_prepared_and_checked(boxes: Path) -> None:
    out = boxes.with_name("packed")
    made = without_torch(f"main(['prepare', {str(boxes)!r}, '--out', {str(out)!r}, '--points', '64'])")
    assert "3 clouds in" in made
    assert "usable, 3 clouds" in without_torch(f"main(['check-data', {str(out)!r}])")


def test_the_table_of_a_dataset_is_read() -> None:
    setup = "import act3d; clouds = act3d.open_dataset('sample', 'test', points=256)"
    what = "print(clouds.columns()['class'][0], len(clouds), clouds.read([0], 0)[0].shape) or 0"
    printed = without_torch(what, setup)
    assert printed == "cap_axial 192 (1, 256, 3)"


def test_an_index_is_listed_and_searched_by_name(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    index, page = str(tmp_path / "index"), tmp_path / "found.html"
    act3d.index(str(boxes), str(student_file), index)
    found = without_torch(f"main(['search', 'box1.obj', '--index', {index!r}, '--k', '2', '--page', {str(page)!r}])")
    assert "nearest to box1.obj" in found
    assert page.is_file()
    by_file = act3d.search(str(boxes / "box1.obj"), index).hits["box1.obj"]
    by_name = act3d.search("box1.obj", index).hits["box1.obj"]
    assert [hit.name for hit in by_name] == [hit.name for hit in by_file]
    assert [hit.similarity for hit in by_name] == pytest.approx([hit.similarity for hit in by_file], abs=1e-5)
    listed = without_torch(f"main(['inspect', {index!r}])")
    assert "3, " in listed
    assert "student" in listed
    (boxes / "box2.obj").unlink()
    facts = act3d.inspect(index)
    assert (facts.shapes, facts.gone, facts.classes) == (3, 1, {"": 3})


def test_a_name_that_no_shape_has_is_answered_by_the_nearest(boxes: Path, student_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    index = str(tmp_path / "index")
    act3d.index(str(boxes), str(student_file), index)
    with pytest.raises(InputError, match=r"'bax1.obj' is no file.* no shape of .* is called so \(it has 'box1.obj'\)"):
        act3d.search("bax1.obj", index)
    with pytest.raises(ConfigError, match=r"up: 'box1.obj' is no file"):
        act3d.search("box1.obj", index, up="z")


def test_the_header_of_a_checkpoint_is_read(student_file: Path) -> None:
    shown = without_torch(f"main(['inspect', {str(student_file)!r}, '--header'])")
    assert "student (native" in shown
    header, whole = act3d.inspect(str(student_file), header=True), act3d.inspect(str(student_file))
    assert sum(header.numbers.values()) == whole.stored
    assert (header.kind, header.config) == (whole.kind, whole.config)
