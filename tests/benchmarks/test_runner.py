"""The benchmark runner: its arithmetic, and one real row. What it measures is never asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import measure, small, steps, waiting
from benchmarks.__main__ import USERS, add_shares_of_a_step, show_size
from benchmarks.ops import operations
from benchmarks.step_rows import STEPS

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_works_run_in_turn() -> None:
    order: list[str] = []
    works = [lambda: order.append("a"), lambda: order.append("b")]
    times = measure.interleave(works, 3, CPU, warmup=1)
    assert order == ["a", "b", *"ab", *"ba", *"ab"]
    assert [len(values) for values in times] == [3, 3]


def test_a_comparison_is_made_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "interleave", lambda *_: [[2.0, 8.0, 4.0], [1.0, 2.0, 2.0]])
    found = measure.compare(lambda: None, lambda: None, 3, CPU)
    assert found == (4.0, 2.0, 2.0, pytest.approx(0.5))  # ratios 2, 4, 2: quartiles 2 and 3


def test_operations_are_counted_with_their_gradients() -> None:
    a, b = torch.randn(4, 5, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    assert measure.flops(lambda: (a @ b).sum().backward()) == 3 * 2 * 4 * 5 * 6


def test_every_step_has_both_forms() -> None:
    for step in STEPS.values():
        assert callable(getattr(steps, step.textbook))
        assert callable(getattr(steps, step.ours))
        assert step.sizes in steps.SIZES


def test_shares_of_a_step() -> None:
    rows = [{"name": "classifier_8k_step", "ours_s": 2.0, "batch": 2}, {"name": "load_cold", "ours_s": 1.0}]
    rows += [{"name": name, "ours_s": 0.4, "batch": 8} for name in ("sample_8192_512", "knn_64_64_k4")]
    add_shares_of_a_step(rows)
    assert rows[2]["step_share"] == pytest.approx(0.05)  # a cloud: 0.05 of 1 second
    assert rows[2]["step"] == "classifier_8k_step"
    assert not any("step" in row for row in (rows[0], rows[1], rows[3]))


def test_operations_are_compared_with_steps_that_exist() -> None:
    assert set(USERS.values()) <= STEPS.keys()
    assert USERS.keys() <= {operation.name for operation in operations(CPU, batch=1)}


def test_rows_are_printed_and_written(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    done = run("--only", "ops", "--rows", "knn_64_64", "--repeats", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    (row,) = found["rows"]
    assert {"name", "textbook_s", "ours_s", "ratio", "spread", "peak_share"} <= row.keys()
    assert row["name"] in done.stdout
    assert found["machine"]["matrix_peak_gflops"] > 0


def test_reading_is_measured_on_equal_clouds(tmp_path: Path) -> None:
    from benchmarks import loading

    loading.write(tmp_path, 3)
    for cold in (True, False):
        for work in loading.epochs(tmp_path, 3, cold):
            work()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_refused_where_there_is_none() -> None:
    done = run("--device", "cuda")
    assert done.returncode != 0
    assert "no CUDA device" in done.stderr


def test_memory_of_a_step_is_its_own_and_not_its_parents() -> None:
    from benchmarks import memory

    held = torch.ones(100_000_000)  # 400 MB here must not hide what the other process needs
    alone = memory.of_step("infer_ours", steps.Setting(CPU, 1, points=256, patches=16), repeats=2)
    del held
    assert alone is not None
    assert alone.megabytes > 80  # 22 million parameters in single precision
    assert alone.seconds > 0


def test_scaling_goes_through_all_sizes_and_draws_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks import memory, scaling

    def of_step(builder: str, setting: steps.Setting, *_: object) -> memory.Alone | None:
        assert builder == "stage2_ours"
        return None if setting.batch > 100 else memory.Alone(0.5 * setting.batch, 100.0)

    monkeypatch.setattr(memory, "of_step", of_step)
    rows = list(scaling.table(CPU, 7, quick=False, clock="wall"))
    values = {what: [row["value"] for row in rows if row["grows"] == what] for what in ("points", "patches", "batch")}
    assert (values["points"][-1], values["patches"][-1], values["batch"][-1]) == (8192, 512, 256)
    assert [row["seconds"] is None for row in rows] == [row["grows"] == "batch" and row["value"] > 100 for row in rows]
    assert all("did not fit" in show_size(row) for row in rows if row["seconds"] is None)
    assert "2.000 steps/s" in show_size(next(row for row in rows if row["grows"] == "batch"))
    scaling.plot(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_peers_find_the_neighbors_that_ours_finds() -> None:
    from benchmarks import neighbors

    points = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(0))
    found = {name: form(points[:, :30].contiguous(), points, 5) for name, form in neighbors.FORMS.items()}
    found["openpoints"] = found["openpoints"].transpose(1, 2)
    assert all(torch.equal(form, found["ours"]) for form in found.values())


def test_what_a_user_waits_for_runs_beside_another_source_tree(tmp_path: Path) -> None:
    from benchmarks import waits

    waits.write(tmp_path, clouds=80, embedded=10, files=2)
    assert [row["name"] for row in waits.rows(tmp_path, "ch", 1, None)] == [
        "check_data",
        "stage1_epoch",
        "stage2_epoch",
    ]
    rows = list(waits.rows(tmp_path, "embed_1", 1, ROOT / "src"))
    assert [row["name"] for row in rows] == ["embed_1", "embed_1000"]
    assert all(row["ratio"] > 0 and row["before_processor_s"] > 0 for row in rows)
    (row,) = waits.rows(tmp_path, "index", 1, None)
    assert "ratio" not in row
    (row,) = waits.rows(tmp_path, "import", 1, None, busy=True)
    assert row["busy"]
    with pytest.raises(RuntimeError, match="no such file"):
        waits.run(["-m", "act3d", "embed", str(tmp_path), "--checkpoint", "nowhere", "--out", "x.npz"], waits.OURS)


@pytest.mark.parametrize("name", ["small_stage1", "small_stage2_cached"])
def test_steps_of_the_small_presets_learn(name: str) -> None:
    with small.ROWS[name]() as pair:
        for work in (pair.plain, pair.ours):
            work()
    assert pair.clouds in (8, 16)


def test_busy_jobs_run_beside_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Remembered(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(waiting.subprocess, "Popen", Remembered)
    with waiting.busy_jobs(2):
        assert [job.poll() for job in started] == [None, None]
    assert all(job.poll() is not None for job in started)
    assert len(started) == 2
