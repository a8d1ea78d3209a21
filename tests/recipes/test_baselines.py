"""Point-MAE and the Point-BERT-style student: losses by hand, training, resume, what fine-tuning takes from them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from act3d import checkpoints
from act3d.checkpoints import Checkpoint
from act3d.cli import main
from act3d.commands.pretrain import pretrain
from act3d.engine.batches import open_clouds
from act3d.engine.loop import Interrupted
from act3d.errors import ConfigError
from act3d.geometry import Patches, chamfer
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import random_mask
from act3d.models.point_bert import PointBERT
from act3d.models.point_mae import PointMAE
from act3d.recipes.classifier import build_classifier
from act3d.recipes.point_bert import PointBERTPretraining, masked_cross_entropy, mix_clouds
from act3d.recipes.point_mae import PointMAEPretraining
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
from tests.fixtures.interruption import stop_in
from tests.fixtures.packed import write_dataset

CUT: dict[str, Any] = {"patches": 8, "patch_size": 8}
SIZE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2}
PLAN = TrainerConfig(epochs=2, accelerator="cpu", log_every=1, save_every_steps=1, validate_every=2)


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_dataset(tmp_path_factory.mktemp("data") / "shapes")
    torch.manual_seed(0)
    tokenizer = Autoencoder(**CUT, width=12, codes=20, teacher=None)
    return {
        "data": DataConfig(root=str(root), points=64, batch_size=4, val_fraction=0.2),
        "teacher": TeacherConfig(checkpoint=str(checkpoints.save(tokenizer, root / "t.safetensors"))),
        "student": StudentConfig(**SIZE, decoder_depth=1, decoder_heads=2),
        "mask": MaskConfig(ratio=0.6),
        "optim": OptimConfig(lr=1e-3, warmup_epochs=1),
        "trainer": PLAN,
        "point_mae": PointMaeConfig(**CUT),
        "point_bert": PointBertConfig(queue=6, contrast_width=8),
    }


def test_point_mae_rebuilds_hidden_patches() -> None:
    torch.manual_seed(0)
    model = PointMAE(**CUT, **SIZE, decoder_depth=1, decoder_heads=2).eval()
    assert not any("cls" in name for name, _ in model.named_parameters())
    patches = model.patchify(torch.rand(3, 64, 3))
    mask = random_mask(3, 8, 4)
    output = model(patches, mask, 4)
    truth = torch.stack([n[m] for n, m in zip(patches.neighborhoods, mask, strict=True)])
    expected = torch.stack([chamfer(a, b, norm=2) for a, b in zip(output.points, truth, strict=True)]).mean()
    assert torch.allclose(model.loss(patches, output), expected)
    # What is hidden is not seen: other points there change nothing.
    moved = torch.where(mask[:, :, None, None], patches.neighborhoods + 1, patches.neighborhoods)
    assert torch.allclose(model(Patches(moved, patches.centers), mask, 4).points, output.points, atol=1e-6)
    assert model.embed(model.patchify(torch.rand(2, 64, 3))).shape == (2, 32)


def test_point_bert_sees_a_token_where_a_patch_is_hidden() -> None:
    torch.manual_seed(0)
    model = PointBERT(**CUT, **SIZE, embed_width=12, codes=20, contrast_width=8).eval()
    patches = model.patchify(torch.rand(3, 64, 3))
    mask = random_mask(3, 8, 3)
    output = model(patches, mask)
    assert (output.logits.shape, output.contrast.shape) == ((3, 8, 20), (3, 8))
    moved = torch.where(mask[:, :, None, None], patches.neighborhoods + 1, patches.neighborhoods)
    assert torch.allclose(model(Patches(moved, patches.centers), mask).logits, output.logits, atol=1e-6)
    nothing = torch.zeros(3, 8, dtype=torch.bool)
    assert torch.equal(model.encode(patches, nothing).patches, model.encoder(patches).patches)


def test_loss_of_hidden_codes() -> None:
    logits, codes = torch.randn(3, 8, 20), torch.randint(20, (3, 8))
    mask = torch.rand(3, 8) < 0.4
    expected = F.cross_entropy(logits[mask], codes[mask])
    assert torch.allclose(masked_cross_entropy(logits, codes, mask), expected)


def test_mixed_clouds_have_patches_of_both() -> None:
    patches = Patches(torch.rand(4, 8, 8, 3), torch.rand(4, 8, 3))
    codes = torch.arange(32).view(4, 8)
    share, mixed, of_mixed = mix_clouds(patches, codes)
    assert share.shape == (4,)
    for cloud in range(4):
        for patch in range(8):
            source = int(of_mixed[cloud, patch]) // 8
            assert source in (cloud, 3 - cloud)
            assert torch.equal(mixed.centers[cloud, patch], patches.centers[source, patch])
            assert torch.equal(mixed.neighborhoods[cloud, patch], patches.neighborhoods[source, patch])


def point_bert(
    common: dict[str, Any], model: PointBERT, tokenizer: Autoencoder, config: PointBertConfig
) -> PointBERTPretraining:
    settings = SimpleNamespace(**{**common, "point_bert": config}, probe=ProbeConfig(), seed=0)
    teacher = Checkpoint(tokenizer, {}, [], [], Path("t.safetensors"))
    return PointBERTPretraining(settings, model, open_clouds(common["data"], 0).train, teacher=teacher)


def test_contrast_by_hand(common: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = PointBERT(**CUT, **SIZE, codes=20, contrast_width=8)
    tokenizer = Autoencoder(**CUT, width=12, codes=20, teacher=None)
    config = common["point_bert"].model_copy(update={"momentum": 0.75})
    module = point_bert(common, model, tokenizer, config)
    contrast, keys = torch.randn(4, 8), F.normalize(torch.randn(4, 8), dim=1)
    logits = F.normalize(contrast, dim=1) @ torch.cat([keys, module._queue]).T / 0.07
    for own in (True, False):
        share = None if own else torch.tensor([0.2, 0.9, 0.5, 0.0])
        total = torch.zeros(())
        for i in range(4):
            if own:  # other clouds of the batch take no part
                row = torch.cat([logits[i, i : i + 1], logits[i, 4:]])
                total = total - row.log_softmax(0)[0] / 4
            else:
                row = logits[i].log_softmax(0)
                total = total - (share[i] * row[i] + (1 - share[i]) * row[3 - i]) / 4
        assert torch.allclose(module._agreement(contrast, keys, share), total, atol=1e-5)
    before = module._follower.code_head.weight.clone()
    with torch.no_grad():
        model.code_head.weight.add_(1)
    module._keys(model.patchify(torch.rand(4, 64, 3)))
    assert torch.allclose(module._follower.code_head.weight, before + 0.25, atol=1e-6)
    module._enqueue(keys)
    module._enqueue(-keys)
    assert torch.allclose(module._queue, torch.cat([-keys[2:], keys[2:], -keys[:2]]))  # a ring of six
    monkeypatch.setattr("act3d.engine.processes.gather_rows", lambda rows: torch.cat([rows, 2 * rows]))
    module._enqueue(keys[:1])  # of two processes
    assert torch.allclose(module._queue[1:4], torch.cat([-keys[3:], keys[:1], 2 * keys[:1]]))


def test_hidden_share_of_every_cloud(common: dict[str, Any]) -> None:
    model = PointBERT(patches=40, patch_size=4, **SIZE, codes=20, contrast_width=8)
    tokenizer = Autoencoder(patches=40, patch_size=4, width=12, codes=20, teacher=None)
    module = point_bert(common, model, tokenizer, common["point_bert"])
    counts = module._mask(torch.rand(200, 40, 3)).sum(dim=1)
    assert 10 <= int(counts.min()) < int(counts.max()) <= 18


@pytest.mark.parametrize("method", ["point_mae", "point_bert"])
def test_baselines_train_and_resume_exactly(
    method: Any, common: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(**common, method=method, out=str(tmp_path / "whole"))
    assert 0 <= whole.metrics["probe"] <= 100
    kind = PointMAEPretraining if method == "point_mae" else PointBERTPretraining
    stop_in(monkeypatch, kind, "losses")
    with pytest.raises(Interrupted):
        pretrain(**common, method=method, out=str(tmp_path / "parts"))
    monkeypatch.undo()
    no_teacher = {**common, "teacher": TeacherConfig()}  # the run keeps its own
    parts = pretrain(**no_teacher, method=method, out=str(tmp_path / "parts"), resume=True)
    a, b = checkpoints.load(whole.last).model.state_dict(), checkpoints.load(parts.last).model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    model, start = build_classifier(str(parts.out), ClassifierConfig(**CUT), ["ball", "box", "rod"], 0)
    assert start["kind"] == method
    assert model.embed(model.patchify(torch.rand(2, 64, 3))).shape == (2, 32)


def test_terms_can_be_switched_off(common: dict[str, Any], tmp_path: Path) -> None:
    only_codes = {**common, "point_bert": common["point_bert"].model_copy(update={"contrast": False, "mix": False})}
    pretrain(**only_codes, method="point_bert", out=str(tmp_path / "run"))
    header, first = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[:2]
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert row["loss"] == row["codes"]
    assert row["contrast"] == row["mix"] == ""


def test_mistakes(common: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=r"point_mae.patches: 80 must be <= data.points"):
        pretrain(**{**common, "point_mae": PointMaeConfig(patches=80, patch_size=8)}, method="point_mae", **run)
    with pytest.raises(ConfigError, match="hides none of 8 patches"):
        pretrain(**{**common, "mask": MaskConfig(ratio=0.0)}, method="point_mae", **run)
    with pytest.raises(ConfigError, match=r"mask_low: 0.5 must be <= point_bert.mask_high"):
        pretrain(**{**common, "point_bert": PointBertConfig(mask_low=0.5)}, method="point_bert", **run)
    with pytest.raises(ConfigError, match=r"teacher.checkpoint: missing"):
        pretrain(**{**common, "teacher": TeacherConfig()}, method="point_bert", **run)
    assert main(["pretrain", "--method", "simclr"]) == 2
    assert "act, point_mae, point_bert" in capsys.readouterr().err
