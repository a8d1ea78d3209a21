"""Loggers beside metrics.csv get the same numbers, and pictures at a sane rate. Services run offline."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from act3d.engine.loggers import log_picture, open_loggers, run_id, takes_pictures
from act3d.errors import MissingDependency
from tests.command_line import settings_of_words


def read_board(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def test_tensorboard_lies_in_the_run_folder_and_gets_numbers_and_pictures(tmp_path):
    (logger,) = open_loggers(["csv", "tensorboard", "tensorboard"], tmp_path / "run", {"a.b": 1})
    assert takes_pictures(logger)
    logger.log_metrics({"loss": 0.5}, 3)
    log_picture(logger, "shapes", np.zeros((8, 6, 3), dtype=np.uint8), 3)
    logger.finalize("success")
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    board = read_board(tmp_path / "run")
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(3, 0.5)]
    (picture,) = board.Images("shapes")
    assert (picture.width, picture.height) == (6, 8)


def test_steps_after_the_checkpoint_are_hidden_in_tensorboard(tmp_path):
    for start, value in ((0, 1.0), (2, 9.0)):
        (logger,) = open_loggers(["tensorboard"], tmp_path, {}, start, resumed=start > 0)
        for step in range(start + 1, start + 3):
            logger.log_metrics({"loss": value}, step)
        logger.finalize("success")
        time.sleep(1.1)  # TensorBoard orders files by the second in their names, then by a number as text: "10" < "9"
    (logger,) = open_loggers(["tensorboard"], tmp_path, {}, 3, resumed=True)
    logger.log_metrics({"loss": 7.0}, 4)
    logger.finalize("success")
    assert [(e.step, e.value) for e in read_board(tmp_path).Scalars("loss")] == [(1, 1), (2, 1), (3, 9), (4, 7)]


def test_both_stages_log_pictures_and_the_numbers_of_metrics_csv(stage1, stage2, tmp_path):
    one = stage1(tmp_path / "one", epochs=3).out
    board = read_board(one)
    with (one / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [e.step for e in board.Scalars("loss")] == [int(row["step"]) for row in rows if row["loss"]]
    codes = [float(row["val_codes"]) for row in rows if row["val_codes"]]
    assert [event.value for event in board.Scalars("val_codes")] == codes
    assert 1 <= len(board.Images("reconstructions")) <= 10
    assert read_board(stage2(tmp_path / "two", epochs=3).out).Tags()["images"] in ([], ["map"])


def test_pictures_come_ten_times_at_most_and_change_no_number(stage1, tmp_path, monkeypatch):
    with_pictures = stage1(tmp_path / "a", epochs=15)
    assert 8 <= len(read_board(tmp_path / "a").Images("reconstructions")) <= 11
    from act3d.recipes.autoencoder import AutoencoderTraining

    monkeypatch.setattr(AutoencoderTraining, "pictures", lambda self: {})
    without = stage1(tmp_path / "b", epochs=15)
    assert with_pictures.metrics == without.metrics


def test_names_of_loggers_are_checked_and_csv_alone_writes_no_events(stage1, tmp_path):
    words = ["autoencode", "--data.root", "sample", "--out", "x", "--logger"]
    assert settings_of_words(*words, "csv,wandb").logger == ["csv", "wandb"]
    from act3d.cli import main

    assert main([*words, "csv,board"]) == 2


def test_a_run_has_one_id_of_plain_characters(tmp_path):
    assert run_id(tmp_path / "a b/ü") == run_id(tmp_path / "a b/ü")
    assert run_id(tmp_path / "x") != run_id(tmp_path / "y" / "x")
    assert run_id(Path("a é")).isascii()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_is_said(tmp_path, monkeypatch, name):
    import sys

    for module in (name, "pytorch_lightning", "pytorch_lightning.loggers"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=f"logger: {name} .*pip install"):
        open_loggers([name], tmp_path, {})


def test_wandb_writes_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb: pip install 'act3d[wandb]'")
    pytest.importorskip("pytorch_lightning", reason="needs pytorch-lightning: pip install 'act3d[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (logger,) = open_loggers(["wandb"], tmp_path, {"optim.lr": 0.1})
    logger.log_metrics({"loss": 0.5}, 3)
    log_picture(logger, "shapes", np.zeros((8, 6, 3), dtype=np.uint8), 3)
    logger.finalize("success")
    logger.experiment.finish()
    assert list(tmp_path.rglob("*.wandb"))


def test_mlflow_writes_into_the_run_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow: pip install 'act3d[mlflow]'")
    pytest.importorskip("pytorch_lightning", reason="needs pytorch-lightning: pip install 'act3d[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (logger,) = open_loggers(["mlflow"], tmp_path, {"optim.lr": 0.1})
    logger.log_metrics({"loss": 0.5}, 3)
    logger.finalize("success")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_metric_history(logger.run_id, "loss")[0].value == 0.5
    assert client.get_run(logger.run_id).data.params["optim.lr"] == "0.1"


def test_trackio_gets_settings_and_numbers(tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace

    told = []
    run = SimpleNamespace(log=lambda values, step: told.append((values, step)), finish=lambda: told.append("end"))
    module = SimpleNamespace(init=lambda **about: told.append(about) or run)
    monkeypatch.setitem(sys.modules, "trackio", module)
    (logger,) = open_loggers(["trackio"], tmp_path, {"optim.lr": 0.1})
    logger.log_metrics({"loss": 0.5}, 3)
    logger.finalize("success")
    assert told[0] == {"project": "act3d", "name": run_id(tmp_path), "config": {"optim.lr": "0.1"}, "resume": "never"}
    assert told[1:] == [({"loss": 0.5}, 3), "end"]
