"""Which parameters of an encoder a task trains: what the classifier and the segmenter have in common."""

from collections.abc import Sequence
from typing import Literal, Self, get_args

import torch
from torch import nn

from act3d.channels import width_of
from act3d.models.encoder import EncoderModel
from act3d.models.few_weights import add_adapters, add_lora, is_added
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.transformer import init_weights

Transfer = Literal["full", "mlp3", "linear", "side", "bitfit", "lora", "adapter"]
TRANSFERS: tuple[str, ...] = get_args(Transfer)
_TOKENS = ("cls_token", "cls_pos", "global_tokens", "global_pos")


class TransferModel(EncoderModel):
    """Base of models with a head on an encoder. The head, the class token and its position always train.

    - full: all parameters.
    - mlp3: no others; a head of several layers.
    - linear: no others; a head of one layer.
    - side: a second, small patch embedding beside the frozen encoder, mixed into its patches by a learned weight
      (Side-Tuning, Zhang et al., 2020).
    - bitfit: the biases of the encoder (BitFit, Ben Zaken et al., 2022).
    - lora: low-rank updates of linear layers of the encoder (LoRA, Hu et al., 2022).
    - adapter: a bottleneck behind the MLP of every block (Adapter, Houlsby et al., 2019).

    A frozen encoder stays in eval mode whatever `train()` says: no drop-path, and batch norms keep their averages.
    """

    transfer: str
    width: int

    def set_transfer(self, transfer: str, lora_rank: int, lora_targets: Sequence[str], adapter_width: int) -> None:
        """Add what the transfer needs to the encoder, and freeze what it does not train.

        Raises:
            ValueError: No such transfer or target, or a rank or width below 1.
        """
        if transfer not in TRANSFERS:
            raise ValueError(f"transfer = {transfer!r}; allowed are {', '.join(TRANSFERS)}")
        self.transfer = transfer
        self.side: PatchEmbedding | None = None
        if transfer == "side":
            self.side = PatchEmbedding(self.width, width_of(self.encoder.channels))
            self.side_projection = nn.Linear(self.width, self.width, bias=False)
            self.side_alpha = nn.Parameter(torch.zeros(1))  # sigmoid(0): half of each at the start
            self.side.apply(init_weights)
            self.side_projection.apply(init_weights)
        elif transfer == "lora":
            add_lora(self.encoder, lora_rank, lora_targets)
        elif transfer == "adapter":
            add_adapters(self.encoder, adapter_width)
        for name, parameter in self.encoder.named_parameters():
            trains = transfer == "full" or name in _TOKENS or is_added(name)
            trains |= transfer == "bitfit" and name.endswith("bias")
            parameter.requires_grad_(trains)

    @property
    def frozen(self) -> bool:
        """Whether the encoder, or most of it, is frozen."""
        return self.transfer != "full"

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and batch norms between training and use; those of a frozen encoder stay in use."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def beside(self, neighborhoods: torch.Tensor) -> torch.Tensor | None:
        """What the side network gives for neighborhoods (B, G, M, 3): (B, G, C); None without one."""
        return None if self.side is None else self.side_projection(self.side(neighborhoods))

    def mixed(self, patches: torch.Tensor, beside: torch.Tensor | None) -> torch.Tensor:
        """Features of patches (B, G, C), with those of the side network mixed in."""
        if beside is None:
            return patches
        share = torch.sigmoid(self.side_alpha)
        return share * patches + (1 - share) * beside
