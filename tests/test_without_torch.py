"""Where no model is needed torch is not imported: its import takes longer than the work."""

import subprocess
import sys
from pathlib import Path

import pytest

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
