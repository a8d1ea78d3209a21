from pathlib import Path

import pytest

from act3d.engine.log import MetricsLog, read_metrics


def test_rows_after_the_checkpoint_are_written_anew(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, ["loss", "val"])
    for step in range(1, 4):
        log.write(step, 0, {"loss": step / 2})
    log.close()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("4,0,0.")  # a row that a kill cut short
    log = MetricsLog(tmp_path, ["loss", "val"], row_count=2)
    assert log.rows == 2
    log.write(3, 0, {"loss": 9.0})
    log.write(3, 1, {"val": 1.0})
    log.close()
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [(row["step"], row["loss"], row["val"]) for row in rows] == [
        ("1", "0.5", ""),
        ("2", "1", ""),
        ("3", "9", ""),
        ("3", "", "1"),
    ]


def test_a_new_run_starts_an_empty_file_and_keeps_to_its_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("old\n1\n")
    log = MetricsLog(tmp_path, ["loss"])
    with pytest.raises(ValueError, match="no column for \\['other'\\]"):
        log.write(1, 0, {"other": 1.0})
    log.close()
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,loss\n"
