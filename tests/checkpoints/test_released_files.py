"""Released files of ACT's teachers and relatives, and files that only look like them."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import act3d
from act3d import checkpoints
from act3d.errors import CheckpointError
from act3d.geometry import patchify
from benchmarks.textbook.autoencoder import PromptedAutoencoder, vit
from tests.helpers import assert_agree, randomize, textbook_autoencoder, torch_is_older

POINTS = torch.rand(2, 70, 3, generator=torch.Generator().manual_seed(3))


def write(state: dict[str, Tensor], path: Path, wrapper: str = "base_model", prefix: str = "module.") -> Path:
    content = {wrapper: {prefix + k: v for k, v in state.items()}, "epoch": 300, "metrics": {}, "best_metrics": {}}
    torch.save({**content, "optimizer": {}}, path)
    return path


def autoencoder(blocks: nn.Module, norm: nn.Module, width: int, deep: bool = True) -> nn.Module:
    plain = PromptedAutoencoder(blocks, norm, width, 3, deep, 0.0, patches=64, patch_size=8, codes=40, width=16)
    return randomize(plain).float().eval()


def agree(path: Path, plain: Any) -> Any:
    """The loaded file gives the textbook form's teacher features."""
    model = act3d.load(path)
    neighborhood, center = plain.group(POINTS)
    with torch.no_grad():
        wanted = plain(neighborhood, center, hard=True, noise=False)
    assert_agree(model.teacher_features(POINTS), wanted.features, 1e-4, "teacher features")
    return model


@pytest.mark.parametrize("deep", [True, False])
def test_vit_inside(deep: bool, tmp_path: Path) -> None:
    plain = autoencoder(*vit(128, 3, 2), 128, deep)
    model = agree(write(plain.state_dict(), tmp_path / "vit.pth"), plain)
    assert model.left_over == []
    assert model.model.config["teacher"]["heads"] == 2


class BertLayer(nn.Module):
    """Post-norm block under the names of transformers' BERT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = nn.Module()
        for part in ("query", "key", "value"):
            setattr(self.attention.self, part, nn.Linear(width, width))
        self.attention.output = nn.Module()
        self.attention.output.dense = nn.Linear(width, width)
        self.attention.output.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(width, 4 * width)
        self.output = nn.Module()
        self.output.dense = nn.Linear(4 * width, width)
        self.output.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        own = self.attention.self
        parts = [getattr(own, p)(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for p in ("query", "key", "value")]
        mixed = nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = self.attention.output.LayerNorm(x + self.attention.output.dense(mixed))
        hidden = nn.functional.gelu(self.intermediate.dense(x))
        return self.output.LayerNorm(x + self.output.dense(hidden))


@pytest.mark.parametrize("deep", [True, False])
def test_bert_inside(deep: bool, tmp_path: Path) -> None:
    plain = autoencoder([BertLayer(128, 2) for _ in range(2)], nn.Identity(), 128, deep)
    state = {k.replace("visual_embed.0.", "visual_embed.0.layer."): v for k, v in plain.state_dict().items()}
    model = agree(write(state, tmp_path / "bert.pth"), plain)
    assert not model.model.config["teacher"]["norm_first"]


class BeitBlock(nn.Module):
    """Pre-norm block with biases for queries and values only, and layer scale, under timm's names for BEiT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.attn.q_bias, self.attn.v_bias = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.attn.relative_position_bias_table = nn.Parameter(torch.randn(5, heads))
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma_1, self.gamma_2 = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        own = self.attn
        bias = torch.cat([own.q_bias, torch.zeros_like(own.q_bias), own.v_bias])
        mixed = nn.functional.linear(self.norm1(x), own.qkv.weight, bias)
        parts = mixed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = x + self.gamma_1 * own.proj(mixed)
        return x + self.gamma_2 * self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


def test_beit_inside(tmp_path: Path) -> None:
    plain = autoencoder([BeitBlock(128, 2) for _ in range(2)], nn.Identity(), 128)
    model = agree(write(plain.state_dict(), tmp_path / "beit.pth"), plain)
    assert model.model.config["teacher"]["dropped"] == ["relative position bias"]


class ClipBlock(nn.Module):
    """Pre-norm block with QuickGELU under the names of OpenAI's CLIP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))


@pytest.mark.parametrize("deep", [True, False])
def test_clip_inside_keeps_its_norm_before_the_blocks(deep: bool, tmp_path: Path) -> None:
    plain: Any = autoencoder([ClipBlock(128, 2) for _ in range(2)], nn.LayerNorm(128), 128, deep)
    before = randomize(nn.LayerNorm(128), seed=5).float()
    state = {}
    for name, value in plain.state_dict().items():
        state[name.replace("visual_embed.1.", "visual_embed.2.").replace("visual_embed.0.", "visual_embed.1.")] = value
    state |= {f"visual_embed.0.{k}": v for k, v in before.state_dict().items()}
    path = write(state, tmp_path / "clip.pth")
    # The norm acts on every token by itself: the first prompts and the projected codes.
    plain.proj_pre = nn.Sequential(plain.proj_pre, before)
    plain.visual_prompt_token.data = before(plain.visual_prompt_token).detach()
    assert agree(path, plain).model.config["teacher"]["pre_norm"]


def test_mixer_needs_timm_or_loads(tmp_path: Path) -> None:
    plain = textbook_autoencoder().float()
    state = {k: v for k, v in plain.state_dict().items() if not k.startswith("visual_embed.")}
    state |= {"visual_embed.0.0.mlp_tokens.fc1.weight": torch.zeros(384, 7)}
    with pytest.raises(CheckpointError, match="token mixer"):
        act3d.load(write(state, tmp_path / "mixer.pth"))
    state |= {"visual_embed.0.0.mlp_tokens.fc1.weight": torch.zeros(384, 7)}
    state["proj_pre.weight"] = torch.zeros(16)
    with pytest.raises(CheckpointError):
        act3d.load(write(state, tmp_path / "mixer.pth"))


# ---------------------------------------------------------------------- relatives


def encoder_state(prefix: str, tokens: bool, recon: bool = False) -> tuple[dict[str, Tensor], nn.Module]:
    """A released point encoder of width 128 with two blocks, and the textbook form that it belongs to."""
    from benchmarks.textbook.point_networks import Encoder
    from benchmarks.textbook.transformer import TransformerEncoder, position_embedding

    torch.manual_seed(4)
    parts = nn.Module()
    parts.encoder, parts.pos_embed = Encoder(128), position_embedding(128)
    parts.blocks, parts.norm = TransformerEncoder(128, 2, 2), nn.LayerNorm(128)
    if tokens:
        parts.cls_token, parts.cls_pos = nn.Parameter(torch.zeros(1, 1, 128)), nn.Parameter(torch.zeros(1, 1, 128))
    randomize(parts).float().eval()
    return {f"{prefix}{k}": v for k, v in parts.state_dict().items()}, parts


def textbook_features(parts: Any, recon: bool = False) -> Tensor:
    from benchmarks.textbook.geometry import group

    neighborhood, center = group(POINTS, 64, 8)
    with torch.no_grad():
        x, pos = parts.encoder(neighborhood), parts.pos_embed(center)
        if hasattr(parts, "cls_token"):
            x = torch.cat([parts.cls_token.expand(2, -1, -1), x], dim=1)
            pos = torch.cat([parts.cls_pos.expand(2, -1, -1), pos], dim=1)
        for block in parts.blocks.blocks:
            if recon:  # the residual starts from the normed tokens
                x = block.norm1(x + pos)
                x = block.norm2(x + block.attn(x))
                x = x + block.mlp(x)
            else:
                x = block(x + pos)
        return parts.norm(x)


def around(depth: int = 1) -> dict[str, Tensor]:
    """Decoder, mask token and head of a Point-MAE file with patches of 8 points."""
    from benchmarks.textbook.transformer import Block, position_embedding

    parts = nn.Module()
    parts.MAE_decoder = nn.Module()
    parts.MAE_decoder.blocks = nn.ModuleList(Block(128, 2) for _ in range(depth))
    parts.MAE_decoder.norm = nn.LayerNorm(128)
    parts.decoder_pos_embed = position_embedding(128)
    parts.increase_dim = nn.Sequential(nn.Conv1d(128, 24, 1))
    return {**parts.state_dict(), "mask_token": torch.randn(1, 1, 128)}


def test_point_mae(tmp_path: Path) -> None:
    state, parts = encoder_state("MAE_encoder.", tokens=False)
    model = act3d.load(write(state | around(), tmp_path / "mae.pth"))
    wanted = textbook_features(parts)
    assert model.kind == "point_mae"
    assert model.left_over == model.missing == []
    assert_agree(model.patch_features(POINTS), wanted, 1e-4)
    assert_agree(model.embed(POINTS), torch.cat([wanted.mean(1), wanted.amax(1)], 1), 1e-4)


def test_an_encoder_alone_is_enough_and_said(tmp_path: Path) -> None:
    state, _ = encoder_state("MAE_encoder.", tokens=False)
    model = act3d.load(write(state, tmp_path / "bare.pth"))
    assert any(name.startswith("head.") for name in model.missing)
    lost = {k: v for k, v in (state | around()).items() if k != "mask_token"}
    with pytest.raises(CheckpointError, match="mask_token"):  # all but one is damage
        act3d.load(write(lost, tmp_path / "lost.pth"))
    del state["MAE_encoder.blocks.blocks.1.mlp.fc1.bias"]
    with pytest.raises(CheckpointError, match=r"bare\.pth"):
        act3d.load(write(state, tmp_path / "bare.pth"))


def recon_state() -> dict[str, Tensor]:
    """What ReCon's file holds beside Point-MAE's: the second stream of both blocks, its tokens, a head for texts."""
    torch.manual_seed(5)
    shapes = {"norm1_contrast.weight": (128,), "norm1_contrast.bias": (128,), "norm2_contrast.weight": (128,)}
    shapes |= {"norm2_contrast.bias": (128,), "attn_contrast.q.weight": (128, 128)}
    shapes |= {"attn_contrast.kv.weight": (256, 128), "attn_contrast.proj.weight": (128, 128)}
    shapes |= {"attn_contrast.proj.bias": (128,), "mlp_contrast.fc1.weight": (512, 128)}
    shapes |= {"mlp_contrast.fc1.bias": (512,), "mlp_contrast.fc2.weight": (128, 512), "mlp_contrast.fc2.bias": (128,)}
    names = {f"blocks.blocks.{i}.{name}": shape for i in range(2) for name, shape in shapes.items()}
    names |= {f"{token}_{kind}": (1, 1, 128) for token in ("cls", "img", "text") for kind in ("token", "pos")}
    state = {f"MAE_encoder.{name}": torch.randn(shape) for name, shape in names.items()}
    return state | {"text_proj.weight": torch.randn(40, 128), "text_proj.bias": torch.randn(40)}


def test_recon(tmp_path: Path) -> None:
    state, parts = encoder_state("MAE_encoder.", tokens=False)
    state |= around() | recon_state() | {"text_encoder.weight": torch.zeros(3)}
    found = checkpoints.load(write(state, tmp_path / "recon.pth"))
    assert (found.model.kind, found.missing, found.left_over) == ("recon", [], ["text_encoder.weight"])
    assert (found.model.config["image_width"], found.model.config["text_width"]) == (None, 40)
    patches = found.model.patchify(POINTS)
    encoded = found.model.encoder(patches)
    assert_agree(encoded.patches, textbook_features(parts, recon=True), 1e-4)
    tokens = [state[f"MAE_encoder.{name}_token"] for name in ("cls", "img", "text")]
    assert torch.equal(found.model.encoder.global_tokens, torch.cat(tokens, dim=1))


@pytest.mark.parametrize("lost", ["blocks.blocks.1.attn_contrast.kv.weight", "text_pos", "blocks.blocks.0.norm1.bias"])
def test_recon_that_lacks_a_piece_is_refused(lost: str, tmp_path: Path) -> None:
    state = encoder_state("MAE_encoder.", tokens=False)[0] | around() | recon_state()
    del state[f"MAE_encoder.{lost}"]
    with pytest.raises(CheckpointError, match=r"recon\.pth.*lacks"):
        checkpoints.load(write(state, tmp_path / "recon.pth"))


@pytest.mark.parametrize("head", ["mlp3", "linear"])
def test_a_fine_tuned_recon(head: str, tmp_path: Path) -> None:
    """Its head reads class, image and text token, and the maximum over patches."""
    state, parts = encoder_state("", tokens=False)
    state |= {name.removeprefix("MAE_encoder."): value for name, value in recon_state().items()}
    del state["text_proj.weight"], state["text_proj.bias"]
    torch.manual_seed(6)
    widths = [(512, 9)] if head == "linear" else [(512, 256), (256, 256), (256, 9)]
    layers: list[nn.Module] = []
    for inputs, outputs in widths[:-1]:
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.5)]
    own_head = nn.Sequential(*layers, nn.Linear(*widths[-1])).eval()
    state |= {f"cls_head_finetune.{name}": value for name, value in own_head.state_dict().items()}
    found = checkpoints.load(write(state, tmp_path / "tuned.pth"))
    assert (found.model.kind, found.missing, found.left_over) == ("classifier", [], [])
    assert found.model.config["global_tokens"]
    assert found.model.transfer == ("linear" if head == "linear" else "full")
    patches = patchify(POINTS, 64, 8)
    encoded = found.model.encoder(patches)
    assert_agree(encoded.patches, textbook_features(parts, recon=True), 1e-4)
    features = torch.cat([*encoded.cls.unbind(dim=1), encoded.patches.amax(dim=1)], dim=1)
    assert_agree(found.model(patches), own_head(features), 1e-5)
    tokens = [state[f"{name}_token"] for name in ("cls", "img", "text")]
    assert torch.equal(found.model.encoder.global_tokens, torch.cat(tokens, dim=1))


def test_a_fine_tuned_recon_that_lacks_a_piece_is_refused(tmp_path: Path) -> None:
    state = encoder_state("", tokens=False)[0]
    state |= {name.removeprefix("MAE_encoder."): value for name, value in recon_state().items()}
    state |= {"cls_head_finetune.0.weight": torch.zeros(9, 512), "cls_head_finetune.0.bias": torch.zeros(9)}
    del state["blocks.blocks.1.attn_contrast.kv.weight"]
    refused(write(state, tmp_path / "tuned.pth"), "lacks")


def test_point_bert(tmp_path: Path) -> None:
    state, parts = encoder_state("transformer_q.", tokens=True)
    state |= {"transformer_q.lm_head.weight": torch.randn(40, 128), "transformer_q.lm_head.bias": torch.randn(40)}
    for i in (0, 2):
        state |= {f"transformer_q.cls_head.{i}.weight": torch.randn(128, 128)}
        state |= {f"transformer_q.cls_head.{i}.bias": torch.randn(128)}
    state |= {"transformer_q.mask_token": torch.zeros(1, 1, 128), "queue": torch.zeros(3, 3)}
    path = write(state, tmp_path / "bert.pth")
    model = act3d.load(path)
    # patches of 8 points cannot be read off this file: the recipe's 32 are taken
    model.model.patch_size = 8
    wanted = textbook_features(parts)
    assert_agree(model.patch_features(POINTS), wanted[:, 1:], 1e-4)
    assert model.left_over == ["queue"]


# ---------------------------------------------------------------------- files that are not what they seem


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch EVIL",)


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        act3d.load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"base_model": {"module.codebook": torch.zeros(2, 2)}, "config": Evil()}, tmp_path / "evil.pth")
    refused(tmp_path / "evil.pth", "refused")
    torch.save(Evil(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth")
    assert not (tmp_path / "EVIL").exists()


def test_damage_of_every_kind_ends_in_one_line(tmp_path: Path) -> None:
    state, _ = encoder_state("MAE_encoder.", tokens=False)
    good = write(state | around(), tmp_path / "good.pth").read_bytes()
    for keep in (0, 1, 9, 100, len(good) // 2, len(good) - 30):
        (tmp_path / "cut.pth").write_bytes(good[:keep])
        refused(tmp_path / "cut.pth")
    for content in ([1, 2], {"base_model": {}}, {"a": 1}, torch.zeros(3), {"x.weight": torch.zeros(3)}):
        torch.save(content, tmp_path / "other.pth")
        refused(tmp_path / "other.pth")


@pytest.mark.skipif(torch_is_older("2.6"), reason="torch reads no NumPy scalars beside weights before 2.6")
def test_numpy_scalars_beside_the_weights(tmp_path: Path) -> None:
    """Point-BERT's and ReCon's trainers save what NumPy computed: metrics, best metrics, arrays of them."""
    state, _ = encoder_state("MAE_encoder.", tokens=False)
    content = {"base_model": {f"module.{k}": v for k, v in (state | around()).items()}, "epoch": 300}
    numbers = {"acc": np.float64(91.5), "f": np.float32(1), "i": np.int64(2), "b": np.bool_(True)}
    content |= {"metrics": numbers, "best_metrics": {"all": np.arange(3.0), "pair": (np.float64(1), np.zeros((2, 2)))}}
    for zipped in (True, False):
        torch.save(content, tmp_path / "np.pth", _use_new_zipfile_serialization=zipped)
        found = act3d.load(tmp_path / "np.pth")
        assert torch.equal(found.model.encoder.norm.weight, state["MAE_encoder.norm.weight"])
    torch.save({**content, "metrics": np.array([Evil()], dtype=object)}, tmp_path / "evil.pth")
    refused(tmp_path / "evil.pth", "refused")


def test_a_name_that_counts_layers_without_end(tmp_path: Path) -> None:
    state, _ = encoder_state("MAE_encoder.", tokens=False)
    state["MAE_encoder.blocks.blocks.999999999.norm1.weight"] = torch.zeros(1)
    refused(write(state | around(), tmp_path / "deep.pth"), "layers")


def test_tensors_that_claim_more_than_there_is(tmp_path: Path) -> None:
    torch.save({"base_model": {"codebook": torch.zeros(1, 1).expand(1 << 20, 1 << 20)}}, tmp_path / "wide.pth")
    refused(tmp_path / "wide.pth", "claims more")
    one = torch.zeros(1 << 18)
    torch.save({"base_model": {f"codebook{i}": one for i in range(40)}}, tmp_path / "many.pth")
    refused(tmp_path / "many.pth", "far more bytes")
    buffer = io.BytesIO()
    torch.save({"base_model": {"codebook": torch.zeros(1 << 20)}}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            target.writestr(item.filename, source.read(item))
    refused(tmp_path / "bomb.pth", "unpacks")


def test_shapes_that_make_no_model(tmp_path: Path) -> None:
    state, _ = encoder_state("MAE_encoder.", tokens=False)
    for change in ({"MAE_encoder.norm.weight": torch.zeros(())}, {"MAE_encoder.norm.weight": torch.zeros(130)}):
        refused(write(state | around() | change, tmp_path / "odd.pth"))
