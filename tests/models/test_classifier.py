"""The classifier: what trains, what stays still, where it starts from; against the textbook form in float64."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from act3d import load, save
from act3d.errors import InputError
from act3d.models.aligned import Aligned
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier, WordsHead
from act3d.models.point_bert import PointBERT
from act3d.models.point_mae import PointMAE
from act3d.models.student import Student
from act3d.models.transfer import TRANSFERS
from benchmarks.textbook import heads
from tests.helpers import compare, copy_weights, randomize

SMALL: dict[str, Any] = {"patches": 8, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}
NAMES = (
    ("encoder.", "encoder.patch_embedding."),
    ("pos_embed.", "encoder.pos_embed."),
    ("blocks.blocks.", "encoder.blocks."),
    ("norm.", "encoder.norm."),
    ("cls_token", "encoder.cls_token"),
    ("cls_pos", "encoder.cls_pos"),
    ("cls_head_finetune.", "head."),
)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_textbook(linear: bool, training: bool) -> None:
    plain = heads.Classifier(5, **SMALL, drop_path=0.0, linear=linear)
    if not linear:
        plain.cls_head_finetune[3].p = plain.cls_head_finetune[7].p = 0.0
    randomize(plain)
    fast = Classifier(5, **SMALL, drop_path=0.0, dropout=0.0, transfer="linear" if linear else "full").double()
    fast.requires_grad_(True)  # gradients of all parameters, whatever trains
    copy_weights(plain, fast, NAMES)
    for model in (plain, fast):
        model.train(training)
    if linear:
        fast.encoder.train(training)
    points = torch.rand(4, 40, 3, dtype=torch.float64)
    compare(plain, fast, lambda: plain(points), lambda: fast(fast.patchify(points)), names=NAMES)


def trainable(model: Classifier) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_step_moves_what_trains_and_nothing_else(transfer: str) -> None:
    torch.manual_seed(0)
    model = Classifier(3, **SMALL, transfer=transfer).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    torch.nn.functional.cross_entropy(model(model.patchify(torch.rand(8, 40, 3))), torch.arange(8) % 3).backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    encoder = {name for name in moved if name.startswith("encoder.")}
    if transfer == "full":
        assert "encoder.blocks.0.attn.qkv.weight" in moved
        assert "encoder.patch_embedding.first_conv.1.running_mean" in moved
    elif transfer == "bitfit":
        assert all(name.endswith(("bias", "cls_token", "cls_pos")) for name in encoder)
        assert "encoder.blocks.0.mlp.fc1.bias" in moved
    elif transfer in ("lora", "adapter"):  # the first step moves only what is zero at the start
        added = {name for name in encoder if name.endswith(("lora_b", "adapter_up.weight", "adapter_up.bias"))}
        assert added
        assert encoder == added | {"encoder.cls_token", "encoder.cls_pos"}
    else:
        assert encoder == {"encoder.cls_token", "encoder.cls_pos"}
    assert any(name.startswith("head.") for name in moved)
    assert ("side_alpha" in moved) == (transfer == "side")
    assert trainable(model) >= {"encoder.cls_token", "encoder.cls_pos", "head.0.weight"}


@pytest.mark.parametrize("transfer", ["mlp3", "linear", "side", "bitfit", "lora", "adapter"])
def test_a_frozen_encoder_stays_in_eval_mode(transfer: str) -> None:
    model = Classifier(3, **SMALL, transfer=transfer, drop_path=0.9).train()
    assert not any(module.training for module in model.encoder.modules())
    assert model.head.training
    averages = [b.clone() for b in model.encoder.buffers()]
    torch.manual_seed(0)
    first = model.embed(patches := model.patchify(torch.rand(4, 40, 3)))
    if transfer != "side":
        assert torch.equal(first, model.embed(patches))  # no drop-path
    assert all(torch.equal(a, b) for a, b in zip(averages, model.encoder.buffers(), strict=True))


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_native_checkpoint(transfer: str, tmp_path: Any) -> None:
    model = Classifier(3, **SMALL, transfer=transfer).eval()
    found = load(save(model, tmp_path / "c.safetensors", {"classes": ["a", "b", "c"]}))
    points = torch.rand(2, 40, 3)
    assert torch.equal(found(points), model(model.patchify(points)))
    assert trainable(found.model) == trainable(model)
    assert found.meta["classes"] == ["a", "b", "c"]


def test_starts_from_any_student() -> None:
    small = {**SMALL, "drop_path": 0.0}
    model = Classifier(3, **small)
    assert model.start_from(student := Student(**small, decoder_heads=2)) == []
    patches = model.patchify(torch.rand(2, 40, 3))
    assert torch.equal(model.embed(patches), student.train().embed(patches))
    assert model.start_from(Classifier(7, **small, transfer="linear")) == []
    token = model.encoder.cls_token.clone()
    assert model.start_from(mae := PointMAE(**small, decoder_heads=2)) == ["cls_token", "cls_pos"]
    assert torch.equal(model.encoder.cls_token, token)
    assert torch.equal(model.encoder.norm.weight, mae.encoder.norm.weight)
    reduced = Classifier(3, **small, embed_width=12)
    assert reduced.start_from(PointBERT(**small, embed_width=12, codes=20)) == []


def test_refuses_what_does_not_fit() -> None:
    model = Classifier(3, **SMALL)
    with pytest.raises(InputError, match="'autoencoder' has no point encoder"):
        model.start_from(Autoencoder(8, 8, 16, 20, teacher=None))
    with pytest.raises(InputError, match=r"'width': 32.*; this one is .*'width': 16"):
        model.start_from(Student(8, 8, 32, 2, 2, decoder_heads=2))
    with pytest.raises(InputError, match=r"'embed_width': 12"):
        model.start_from(PointBERT(8, 8, 16, 2, 2, embed_width=12, codes=20))
    with pytest.raises(InputError, match=r"'normed_residual': True"):
        model.start_from(Classifier(3, **SMALL, normed_residual=True))
    with pytest.raises(ValueError, match="allowed are full, mlp3, linear, side, bitfit, lora, adapter"):
        Classifier(3, transfer="half")
    with pytest.raises(ValueError, match="at least 2"):
        Classifier(1)


def test_a_head_of_words_begins_as_naming_by_words() -> None:
    torch.manual_seed(0)
    source = Aligned(**SMALL, hidden=24, text_width=12)
    source.alignment.text_mean.copy_(torch.randn(12))
    vectors = torch.randn(5, 12)
    head = WordsHead(32, 5, 24, 12)
    head.start_from_words(source.alignment, vectors)
    patches = source.eval().patchify(torch.rand(3, 40, 3))
    expected = source.alignment.scores(source(patches), source.alignment.place_texts(vectors))
    torch.testing.assert_close(head(source.embed(patches)), expected)


def test_a_head_of_words_is_kept_with_its_width(tmp_path: Path) -> None:
    model = Classifier(3, **SMALL, head="words", hidden=24).eval()
    again = load(save(model, tmp_path / "words.safetensors")).model
    assert again.config["hidden"] == 24
    patches = model.patchify(torch.rand(2, 40, 3))
    torch.testing.assert_close(again(patches), model(patches))
