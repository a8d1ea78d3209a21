"""The point encoder: the 3D Transformer that is pretrained and that all downstream tasks use."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from act3d.channels import WIDTHS, columns_of, width_of
from act3d.errors import InputError
from act3d.geometry import Patches, gather, patchify
from act3d.kernels.linear import Linear
from act3d.models.few_weights import is_added, merged_state
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.text_head import TextHead, TextSide
from act3d.models.transformer import Block, drop_path_rates, init_weights, position_mlp


class Encoded(NamedTuple):
    """cls (B, T, C) and patches (B, G, C), both normed; shallow (B, G, C): patches after the shallow block, or None.

    T is 1 but for ReCon, which has three tokens. An encoder without a class token gives the mean over patches as cls.
    """

    cls: torch.Tensor
    patches: torch.Tensor
    shallow: torch.Tensor | None

    def pooled(self) -> torch.Tensor:
        """One vector a cloud (B, 2C): cls (the maximum over several), then the maximum over patches."""
        cls = self.cls[:, 0] if self.cls.shape[1] == 1 else self.cls.amax(dim=1)
        return torch.cat([cls, self.patches.amax(dim=1)], dim=1)


class NormedResidualBlock(Block):
    """A block of ReCon (Qi et al., 2023): what attention and MLP give is added to the normed tokens."""

    def forward(
        self, x: torch.Tensor, prefix: torch.Tensor | None = None, keys_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.norm1(x)
        x = x + self.drop_path(self.attn(x, prefix, keys_values))
        x = self.norm2(x)
        return x + self.drop_path(self.mlp(x))


class PointEncoder(nn.Module):
    """The 3D Transformer that all downstream tasks use: patches -> features of a class token and of every patch.

    Args:
        width: C, a multiple of heads.
        depth: Blocks.
        heads: Attention heads.
        drop_path: Rate of the last block; earlier ones rise to it from 0.
        class_token: Put a class token in front (Point-MAE has none).
        embed_width: Width of the patch embedding, if a linear layer takes it to `width` (Point-BERT); None = no layer.
        normed_residual: Blocks add to what they have normed (ReCon).
        channels: What points have beside x, y and z, see `act3d.channels`.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        drop_path: float = 0.1,
        class_token: bool = True,
        embed_width: int | None = None,
        normed_residual: bool = False,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        # What a downstream model needs to build the same encoder; drop-path and class token are its own choice.
        self.config: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "heads": heads,
            "embed_width": embed_width,
            "normed_residual": normed_residual,
        }
        if channels:
            self.config["channels"] = list(channels)
        self.width, self.channels = width, tuple(channels)
        self.patch_embedding = PatchEmbedding(embed_width or width, width_of(channels))
        self.reduce = Linear(embed_width, width) if embed_width else None
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.pos_embed = position_mlp(width)
        block = NormedResidualBlock if normed_residual else Block
        self.blocks = nn.ModuleList(
            block(width, heads, qkv_bias=False, drop_path=rate) for rate in drop_path_rates(depth, drop_path)
        )
        self.norm = nn.LayerNorm(width)
        self.apply(init_weights)
        if self.cls_token is not None and self.cls_pos is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
            nn.init.trunc_normal_(self.cls_pos, std=0.02)

    def embed_patches(self, neighborhoods: torch.Tensor) -> torch.Tensor:
        """Neighborhoods (B, G, M, 3) -> tokens of the Transformer (B, G, C)."""
        tokens = self.patch_embedding(neighborhoods)
        return tokens if self.reduce is None else self.reduce(tokens)

    def run_blocks(self, tokens: torch.Tensor, centers: torch.Tensor, shallow_block: int | None = None) -> Encoded:
        """Tokens (B, V, C) of patches at centers (B, V, 3), behind the class token, through all blocks."""
        x, pos = tokens, self.pos_embed(centers)
        first = 0
        if self.cls_token is not None and self.cls_pos is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + V, C)
            pos = torch.cat([self.cls_pos.expand(x.shape[0], -1, -1), pos], dim=1)
            first = 1
        shallow = None
        for number, block in enumerate(self.blocks):  # from 0: torch 2.4 compiles nothing else
            x = block(x + pos)
            if number + 1 == shallow_block:
                shallow = x[:, first:]
        x = self.norm(x)
        return Encoded(x[:, :1] if first else x.mean(dim=1, keepdim=True), x[:, first:], shallow)

    def forward(
        self,
        patches: Patches,
        visible: torch.Tensor | None = None,
        embed_visible_only: bool = False,
        shallow_block: int | None = None,
    ) -> Encoded:
        """Encode all patches, or the visible ones.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            visible: int64 (B, V) indices of the patches to encode; all by default.
            embed_visible_only: Embed only these as well. Faster; the patch embedding's batch statistics then come
                from them alone. By default all patches are embedded, as in the release.
            shallow_block: Also return the patches after this many blocks.
        """
        neighborhoods, centers = patches
        if visible is not None:
            centers = gather(centers, visible)
            if embed_visible_only:
                batch, _, size, inputs = neighborhoods.shape
                neighborhoods = gather(neighborhoods.flatten(2), visible).view(batch, -1, size, inputs)
        tokens = self.embed_patches(neighborhoods)
        if visible is not None and not embed_visible_only:
            tokens = gather(tokens, visible)
        return self.run_blocks(tokens, centers, shallow_block)

    def start_from(self, source: nn.Module) -> list[str]:
        """Take over the weights of a pretrained encoder; a class token that this one does not have is left behind.

        Args:
            source: A model of act3d with an `encoder`: a student of any method, a classifier, a segmenter.

        Returns:
            Names of parameters that the source does not have (Point-MAE has no class token): they keep their values,
            as do low-rank updates and adapters. Low-rank updates of the source are taken over within its weights.

        Raises:
            InputError: The source has no point encoder, one of another size, or adapters that this one has not.
        """
        other = getattr(source, "encoder", None)
        if not isinstance(other, PointEncoder):
            raise InputError(f"a {getattr(source, 'kind', type(source).__name__)!r} has no point encoder to start from")
        if {**other.config, "channels": None} != {**self.config, "channels": None}:
            raise InputError(f"the encoder to start from is {other.config}; this one is {self.config}")
        own, theirs = self.state_dict(), merged_state(other)
        if other.channels != self.channels:
            theirs[_FIRST] = recast_weight(theirs[_FIRST], other.channels, self.channels)
        if adapters := [name for name in theirs if is_added(name) and name not in own]:
            raise InputError(
                f"the encoder to start from has adapters ({adapters[0]}); give it transfer = adapter, or its own start"
            )
        shapes = [name for name in own if name in theirs and own[name].shape != theirs[name].shape]
        if shapes:
            raise InputError(f"the encoder to start from has adapters of another width ({shapes[0]})")
        self.load_state_dict({name: theirs.get(name, value) for name, value in own.items()})
        return [name for name in own if name not in theirs and not is_added(name)]


_FIRST = "patch_embedding.first_conv.0.weight"


def recast_weight(weight: torch.Tensor, own: Sequence[str], wanted: Sequence[str]) -> torch.Tensor:
    """A first layer (C, 3 + F, 1) for points with other channels: 0 for those that it did not know."""
    here = columns_of(own)
    beside = weight[:, 3:]
    none = [torch.zeros_like(weight[:, :1]).expand(-1, WIDTHS[name], -1) for name in wanted]
    parts = [beside[:, here[name]] if name in here else zeros for name, zeros in zip(wanted, none, strict=True)]
    return torch.cat([weight[:, :3], *parts], dim=1)


class EncoderModel(nn.Module):
    """Base of every model around a point encoder: how it cuts clouds into patches, and what it gives for them.

    Attributes:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch.
        encoder: The point encoder, of width C.
        alignment: The side of texts, in a model that learnt from names; else None.
    """

    kind: ClassVar[str] = "model with a point encoder"  # a subclass has its own: what checkpoints call it

    patches: int
    patch_size: int
    encoder: PointEncoder
    config: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.alignment: TextSide | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """What points have beside x, y and z."""
        return getattr(self.encoder, "channels", ())

    def patchify(self, points: torch.Tensor, patches: int = 0) -> Patches:
        """Cut points (B, N, 3 + F), N >= G and M, into neighborhoods (B, G, M, 3 + F) around centers (B, G, 3).

        G is `patches`, by default as many as the model is used at.
        """
        count = patches or self.patches
        if not self.channels:
            return patchify(points, count, self.patch_size)
        return patchify(points[..., :3].contiguous(), count, self.patch_size, beside=points[..., 3:])

    def patch_features(self, patches: Patches) -> torch.Tensor:
        """Encoder features of every patch (B, G, C), nothing hidden."""
        encoded: Encoded = self.encoder(patches)
        return encoded.patches

    def embed(self, patches: Patches) -> torch.Tensor:
        """One vector a cloud (B, 2C): class token (mean over patches without one), then the maximum over patches."""
        encoded: Encoded = self.encoder(patches)
        return encoded.pooled()

    def among_texts(self, patches: Patches) -> torch.Tensor:
        """One unit vector a cloud (B, D) beside those of texts, of a model that learnt from names."""
        return self.place_encoded(self.encoder(patches))

    def place_encoded(self, encoded: Encoded) -> torch.Tensor:
        """`among_texts` of clouds that the encoder has encoded."""
        if not isinstance(self.alignment, TextHead):
            raise ValueError(f"this {self.kind} learnt no names")
        return self.alignment.place(encoded.pooled())

    def remember_texts(self, texts: torch.Tensor) -> None:
        """Keep training texts (K, D), unit vectors, in a `TextHead`, and their number in the config."""
        assert isinstance(self.alignment, TextHead)
        self.alignment.memory = texts
        self._note_kept({"memory": len(texts)})

    def remember_examples(self, features: torch.Tensor, texts: torch.Tensor) -> None:
        """Keep training clouds, by features (E, F) as `embed` gives them and rows (E,) of the texts that are kept."""
        assert isinstance(self.alignment, TextHead)
        self.alignment.remember(features, texts)
        self._note_kept({"examples": len(texts)})

    def _note_kept(self, kept: dict[str, int]) -> None:
        if self.config.get("alignment") is None:
            self.config |= kept
        else:
            self.config["alignment"] = self.config["alignment"] | kept

    def start_from(self, source: nn.Module) -> list[str]:
        """Take over the encoder of a pretrained model; see `PointEncoder.start_from`."""
        return self.encoder.start_from(source)
