"""What the class token of a point encoder looks at."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from act3d.errors import InputError
from act3d.geometry import Patches
from act3d.models.encoder import PointEncoder


@torch.no_grad()
def class_attention(encoder: PointEncoder, patches: Patches) -> Tensor:
    """Return the attention of the class token to every patch, by block and head: (blocks, B, heads, G).

    The weights of a head sum to 1 over the class token itself and all patches; that of the class token is left out.

    Args:
        encoder: In eval mode.
        patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.

    Raises:
        InputError: The encoder has no class token, as Point-MAE's.
    """
    if encoder.cls_token is None:
        raise InputError("this encoder has no class token, so there is no attention of one to show")
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(_weights(module, inputs[0]))

    hooks = [block.attn.register_forward_pre_hook(keep) for block in encoder.blocks]  # type: ignore[union-attr]
    try:
        encoder(patches)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


def _weights(attention: Any, x: Tensor) -> Tensor:
    """Tokens (B, 1 + G, C), the class token first -> (B, heads, G)."""
    batch, tokens, _ = x.shape
    # (B, T, 3C) -> 3 x (B, heads, T, C / heads)
    query, key, _ = attention.qkv(x).view(batch, tokens, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    scores = query[:, :, :1] @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    return F.softmax(scores, dim=3)[:, :, 0, 1:]
