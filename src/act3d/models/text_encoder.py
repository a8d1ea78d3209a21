"""MiniLM as a whole text encoder: token ids -> one unit vector a text, the frozen text tower of alignment.

The teacher `minilm` takes only its blocks; here its word embeddings come along (Reimers and Gurevych, 2019: mean over
tokens, then unit length, as sentence-transformers/all-MiniLM-L6-v2 is used).
"""

import torch
import torch.nn.functional as F
from torch import nn

from act3d.models.backbones import minilm
from act3d.models.backbones.backbone import Backbone
from act3d.models.backbones.weights import SafetensorsFile

VOCABULARY = 30522
LONGEST = 256  # tokens, as in the model's own configuration; there are positions for 512


class TextEncoder(nn.Module):
    """Embeddings, post-norm blocks, mean over tokens. Frozen, and in eval mode whatever `train()` says.

    Texts of one batch have equal length, so there is no padding and no attention mask: callers sort by length.
    """

    def __init__(self, blocks: Backbone, vocabulary: int = VOCABULARY, positions: int = 512) -> None:
        super().__init__()
        self.width = blocks.width
        self.blocks = blocks
        self.word_embeddings = nn.Embedding(vocabulary, self.width)
        self.position_embeddings = nn.Embedding(positions, self.width)
        self.type_embedding = nn.Parameter(torch.zeros(self.width))  # of the first sentence; there is no second
        self.norm = nn.LayerNorm(self.width, eps=blocks.spec["eps"])
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "TextEncoder":
        """Stay in eval mode: the text tower does not learn."""
        return super().train(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (B, T) int64, [CLS] first and [SEP] last -> unit vectors (B, C)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.word_embeddings(ids) + self.position_embeddings(positions) + self.type_embedding  # (B, T, C)
        return F.normalize(self.blocks(self.norm(x)).mean(dim=1), dim=1)


def load_text_encoder() -> TextEncoder:
    """MiniLM from the installed package, float32, on the CPU; no random number is drawn.

    Raises:
        MissingDependency, CheckpointError: As `load_backbone("minilm")`.
    """
    blocks = minilm.load_minilm()
    file = SafetensorsFile(minilm.tested_weights())
    with torch.device("meta"):
        encoder = TextEncoder(blocks)
    state = {f"blocks.{name}": value for name, value in blocks.state_dict().items()} | {
        "word_embeddings.weight": file.tensor("embeddings.word_embeddings.weight"),
        "position_embeddings.weight": file.tensor("embeddings.position_embeddings.weight"),
        "type_embedding": file.tensor("embeddings.token_type_embeddings.weight")[0],
        "norm.weight": file.tensor("embeddings.LayerNorm.weight"),
        "norm.bias": file.tensor("embeddings.LayerNorm.bias"),
    }
    encoder.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return encoder.requires_grad_(False)
