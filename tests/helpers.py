"""Comparing a fast module with its textbook form: same weights, outputs, gradients and running averages."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from torch import Tensor, nn

from benchmarks.textbook.autoencoder import PromptedAutoencoder, bert, vit

# Textbook (= released) name -> act3d's, tried in order on the start of a name.
Names = tuple[tuple[str, str], ...]
AUTOENCODER_NAMES: Names = (
    ("encoder.", "patch_embedding."),
    ("dgcnn_1.", "token_head."),
    ("dgcnn_2.", "feature_head."),
    ("visual_embed.0.", "prompted.backbone.blocks."),
    ("visual_embed.1.", "prompted.backbone.norm."),
    ("visual_pos_embed.", "prompted.pos_embed."),
    ("visual_prompt_", "prompted.prompt_"),
    ("deep_prompt_", "prompted.deep_prompt_"),
    ("proj_p", "prompted.proj_p"),
)
ENCODER_NAMES: Names = (("encoder.", "patch_embedding."), ("blocks.blocks.", "blocks."))
STUDENT_NAMES: Names = (
    ("ACT_encoder.encoder.", "encoder.patch_embedding."),
    ("ACT_encoder.blocks.blocks.", "encoder.blocks."),
    ("ACT_encoder.", "encoder."),
    ("ACT_decoder.", "decoder."),
    ("proj_head.", "head."),
    ("cls_pos", "decoder_cls_pos"),
)


def ours(name: str, names: Names = ()) -> str:
    """The act3d name of a textbook parameter."""
    for old, new in names:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def copy_weights(plain: nn.Module, fast: nn.Module, names: Names = (), skip: tuple[str, ...] = ()) -> None:
    """Fill `fast` from `plain`; every tensor of both must have its partner."""
    state = {ours(k, names): v for k, v in plain.state_dict().items() if not k.startswith(skip or ("\0",))}
    fast.load_state_dict(state, strict=True)


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random norms and biases too, so that nothing hides behind a one or a zero; in float64."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("seed") or not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                value.copy_(1 + 0.1 * noise.abs())
            elif value.ndim <= 1:
                value.copy_((1 if name.endswith("weight") else 0) + 0.1 * noise)
            elif "token" in name or "_pos" in name:
                value.copy_(0.3 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    return module


def assert_agree(found: Tensor, expected: Tensor, tolerance: float = 1e-9, what: str = "") -> None:
    """Equal to a tolerance relative to the largest absolute value."""
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)} against {tuple(expected.shape)}"
    worst, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    assert worst <= tolerance * max(largest, 1e-30), f"{what}: off by {worst:.3g}, the largest value is {largest:.3g}"


def _outputs(result: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _gradients(
    model: nn.Module, outputs: list[Tensor], inputs: list[Tensor], seed: int
) -> tuple[dict[str, Tensor | None], list[Tensor | None]]:
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in outputs]
    total = torch.stack([(w * o).sum() for w, o in zip(weights, outputs, strict=True)]).sum()
    parameters = {k: v for k, v in model.named_parameters() if v.requires_grad}
    found = torch.autograd.grad(total, [*parameters.values(), *inputs], allow_unused=True)
    return dict(zip(parameters, found, strict=False)), list(found[len(parameters) :])


def compare(
    plain: nn.Module,
    fast: nn.Module,
    run_plain: Callable[..., Tensor | Iterable[Tensor]],
    run_fast: Callable[..., Tensor | Iterable[Tensor]],
    inputs: Iterable[Tensor] = (),
    names: Names = (),
    skip: tuple[str, ...] = (),
    tolerance: float = 1e-9,
) -> None:
    """Outputs, gradients of parameters and of inputs, and buffers after the pass agree."""
    given = [i.detach().clone().requires_grad_() for i in inputs]
    torch.manual_seed(1)
    expected = _outputs(run_plain(*given))
    torch.manual_seed(1)
    found = _outputs(run_fast(*given))
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_agree(a, b, tolerance, f"output {number}")
    wanted, wanted_inputs = _gradients(plain, expected, given, seed=2)
    got, got_inputs = _gradients(fast, found, given, seed=2)
    partners = {ours(k, names): v for k, v in wanted.items() if not k.startswith(skip or ("\0",))}
    assert partners.keys() == got.keys()
    largest = max(v.abs().max().item() for v in partners.values() if v is not None) if partners else 0.0
    for name, gradient in partners.items():
        _assert_same_gradient(got[name], gradient, tolerance, largest, name)
    for number, (mine, theirs) in enumerate(zip(got_inputs, wanted_inputs, strict=True)):
        _assert_same_gradient(mine, theirs, tolerance, 0.0, f"gradient of input {number}")
    buffers = dict(fast.named_buffers())
    for name, value in plain.named_buffers():
        if not name.startswith(skip or ("\0",)) and not name.endswith("seed"):
            assert_agree(buffers[ours(name, names)].double(), value.double(), tolerance, name)


def _assert_same_gradient(
    found: Tensor | None, expected: Tensor | None, tolerance: float, largest: float, what: str
) -> None:
    if expected is None:
        assert found is None or found.abs().max().item() == 0, f"{what}: a gradient where the textbook has none"
        return
    assert found is not None, f"{what}: no gradient"
    # A bias before a normalisation has a gradient of exactly zero: rounding noise on both sides.
    if expected.abs().max().item() < 1e-12 * largest:
        assert found.abs().max().item() < 1e-11 * largest, what
        return
    assert_agree(found, expected, tolerance, f"gradient of {what}")


SMALL = {"patches": 8, "patch_size": 8, "codes": 40, "width": 16, "graph_width": 64, "folding_width": 32}


def textbook_autoencoder(
    norm_first: bool = True, deep: bool = True, dropout: float = 0.0, depth: int = 3, prompts: int = 3
) -> PromptedAutoencoder:
    """A `SMALL` prompted autoencoder with a backbone of width 24 and 2 heads."""
    blocks, norm = vit(24, depth, 2) if norm_first else bert(24, depth, 2)
    plain = PromptedAutoencoder(blocks, norm, 24, prompts, deep, dropout, **SMALL)
    randomize(plain)
    return plain


def backbone_spec(norm_first: bool = True, depth: int = 3) -> dict[str, object]:
    """The architecture of the backbone in `textbook_autoencoder`, as act3d writes it."""
    return {
        "width": 24,
        "depth": depth,
        "heads": 2,
        "hidden": 96,
        "norm_first": norm_first,
        "qkv_bias": True,
        "eps": 1e-6 if norm_first else 1e-12,
        "activation": "gelu",
        "layer_scale": False,
    }


def run_interpreted(tests: Path) -> None:
    """Run a file of tests with Triton's interpreter, in another process: it is settled when kernels are imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--show-capture=no", str(tests)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def torch_is_older(version: str) -> bool:
    """Whether the installed torch is older than a version, as "2.6"."""
    return Version(torch.__version__) < Version(version)


draws_alike = pytest.mark.skipif(
    torch_is_older("2.5"), reason="torch 2.4 draws from the exponential distribution by MKL: other numbers than ours"
)
