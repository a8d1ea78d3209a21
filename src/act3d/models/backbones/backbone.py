"""The form that every pretrained Transformer is read into: blocks and a final norm, frozen."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from act3d.errors import CheckpointError, InputError
from act3d.kernels.linear import Linear
from act3d.models.transformer import ACTIVATIONS, Block

DEFAULTS: dict[str, Any] = {
    "family": "blocks",  # "blocks": act3d's own; "timm": a token mixer, whose blocks stay timm's
    "name": "",  # for messages
    "width": 768,
    "depth": 12,
    "heads": 12,
    "hidden": None,  # of the MLP; None = 4 x width
    "norm_first": True,  # False = post-norm, as in BERT
    "qkv_bias": True,
    "eps": 1e-6,
    "activation": "gelu",  # or "gelu_tanh", "quick_gelu", "relu", "swiglu"
    "layer_scale": None,  # initial value of layer scale; None = no layer scale
    "pre_norm": False,  # a norm before the first block (only in released files with CLIP inside; otherwise left out)
    "final_norm": None,  # a norm after the last block; None = after pre-norm blocks only
    "length": None,  # number of tokens that a mixer was built for; None = any
    "init_std": 0.02,  # standard deviation of random weights
    "dropped": [],  # parts of the original that are left out: they belong to images, not to points
}


class SwiGLU(nn.Module):
    """Gated MLP of DINOv2-giant (SwiGLU, Shazeer, 2020): fc1 gives [gate, value], fc2 takes silu(gate) * value."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, 2 * hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(F.silu(gate) * value)


class Backbone(nn.Module):
    """A pretrained Transformer without its embeddings and heads: blocks, then a norm.

    Always frozen, and in eval mode whatever `train()` says. What belongs to images or words (patch and word
    embeddings, position embeddings and biases, a norm before the blocks, poolers) is left out.

    Args:
        blocks: Modules (B, T, C) -> (B, T, C).
        norm: Applied after the last block; Identity if the last block ends in one (post-norm).
        spec: The architecture, JSON-able, from which `backbone_from_spec` builds the same again.
        source: The name from which `load_backbone` gets the same weights again; None = there is no such name.

    Attributes:
        width: C.
        depth: Number of blocks.
        length: Number of tokens a token mixer was built for; None = any number.
        accepts_prefix: Blocks take prefix tokens as a second argument (keys and values only, no queries).
    """

    def __init__(self, blocks: list[nn.Module], norm: nn.Module, spec: dict[str, Any], source: str | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.norm_pre: nn.Module = (
            nn.LayerNorm(spec["width"], eps=spec["eps"]) if spec.get("pre_norm") else nn.Identity()
        )
        self.spec = spec
        self.source = source
        self.width: int = spec["width"]
        self.depth = len(blocks)
        self.length: int | None = spec["length"]
        self.accepts_prefix: bool = spec["family"] == "blocks"
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in eval mode, whatever `mode` says: the weights are frozen."""
        return super().train(False)

    def check_length(self, patches: int, prompts: int = 0) -> None:
        """Raise InputError if this is a token mixer built for another number of patches (G) and prompts (P)."""
        if self.length is None or patches + prompts == self.length:
            return
        name, fit = self.spec["name"], self.length - patches
        advice = f"take P = {fit} prompts" if fit >= 0 else f"take at most G = {self.length} patches"
        raise InputError(
            f"{name} mixes exactly {self.length} tokens: G = {patches} patches + P = {prompts} prompts are "
            f"{patches + prompts}; {advice}"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All blocks and the norm, without prompts or positions: (B, T, C) -> (B, T, C)."""
        self.check_length(x.shape[1])
        x = self.norm_pre(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def complete(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with `DEFAULTS` for what it leaves out.

    Raises:
        InputError: Unknown keys, or values that make no Transformer.
    """
    unknown = sorted(set(spec) - set(DEFAULTS))
    if unknown:
        raise InputError(f"backbone spec: unknown {', '.join(unknown)}; allowed are {', '.join(DEFAULTS)}")
    full = {**DEFAULTS, **spec}
    if full["family"] not in ("blocks", "timm"):
        raise InputError(f'backbone spec: family is "blocks" or "timm", not {full["family"]!r}')
    if full["family"] == "blocks" and full["activation"] not in (*ACTIVATIONS, "swiglu"):
        raise InputError(
            f"backbone spec: activation {full['activation']!r} is none of {', '.join(ACTIVATIONS)}, swiglu"
        )
    if full["family"] == "blocks" and full["width"] % full["heads"]:
        raise InputError(f"backbone spec: width {full['width']} is not a multiple of heads {full['heads']}")
    full["hidden"] = full["hidden"] or 4 * full["width"]
    full["layer_scale"] = float(full["layer_scale"]) if full["layer_scale"] else None
    if full["final_norm"] is None:
        full["final_norm"] = bool(full["norm_first"])
    return full


def random_backbone(spec: Mapping[str, Any]) -> Backbone:
    """A backbone of act3d's own blocks with random weights, drawn from torch's generator.

    Weights are normal with standard deviation `init_std` (timm and transformers truncate at 100 deviations, which is
    the same), biases 0, norms 1, layer scales their initial value. Under `torch.device("meta")` there are no values.
    """
    backbone = _on_meta(spec, None)
    if torch.empty(0).is_meta:  # whoever builds without memory fills it from a checkpoint
        return backbone
    backbone.to_empty(device="cpu")
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=backbone.spec["init_std"])
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, Block) and module.ls1 is not None and module.ls2 is not None:
            nn.init.constant_(module.ls1, backbone.spec["layer_scale"])
            nn.init.constant_(module.ls2, backbone.spec["layer_scale"])
    return backbone


def loaded_backbone(spec: Mapping[str, Any], state: Mapping[str, torch.Tensor], source: str | None) -> Backbone:
    """A backbone of act3d's own blocks with the given weights; no random number is drawn.

    Args:
        spec: The architecture, see `DEFAULTS`.
        state: Tensors by the names of our blocks.
        source: The name from which `load_backbone` gets them; None = there is no such name.

    Raises:
        CheckpointError: Names or shapes do not fit the spec.
    """
    backbone = _on_meta(spec, source)
    wanted = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{source or 'backbone'}: {name} should have shape {wanted.get(name, 'none')}, "
            f"not {found.get(name, 'none')} ({len(wrong)} such tensors)"
        )
    # Copies, since the file may be memory-mapped, or in another precision.
    copies = {name: value.detach().to("cpu", torch.float32, copy=True).contiguous() for name, value in state.items()}
    backbone.load_state_dict(copies, assign=True)
    return backbone


def _on_meta(spec: Mapping[str, Any], source: str | None) -> Backbone:
    """The modules without memory, so that nothing is initialized twice."""
    full = complete(spec)
    with torch.device("meta"):
        blocks: list[nn.Module] = [_block(full) for _ in range(full["depth"])]
        norm = nn.LayerNorm(full["width"], eps=full["eps"]) if full["final_norm"] else nn.Identity()
        return Backbone(blocks, norm, full, source).to(torch.float32)


def _block(spec: dict[str, Any]) -> Block:
    """One block of a completed spec."""
    gated = spec["activation"] == "swiglu"
    block = Block(
        spec["width"],
        spec["heads"],
        hidden=spec["hidden"],
        qkv_bias=spec["qkv_bias"],
        eps=spec["eps"],
        norm_first=spec["norm_first"],
        activation="gelu" if gated else spec["activation"],
        layer_scale=spec["layer_scale"] is not None,
    )
    if gated:
        block.add_module("mlp", SwiGLU(spec["width"], spec["hidden"]))
    return block
