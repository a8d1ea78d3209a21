"""The segmenter that both recipes of segmentation build."""

from pathlib import Path
from typing import Any

import torch

from act3d.models.segmenter import Segmenter
from act3d.recipes.common import encoder_start


def build_segmenter(
    settings: Any, classes: int, categories: int, kept: Path | None = None
) -> tuple[Segmenter, dict[str, Any]]:
    """Return a segmenter with the checkpoint's encoder, or a fresh one, and where it starts from.

    A segmenter of as many labels and categories is taken over whole, with its head.

    Args:
        settings: `SegmentSettings`.
        classes: labels.
        categories: categories of shapes; 0 for scenes.
        kept: a resumed run's `start.json`.

    Raises:
        CheckpointError: missing, damaged, or no point encoder in it.
    """
    config = settings.segmenter
    start = encoder_start(settings.checkpoint, config, kept)
    source = start.source
    if isinstance(source, Segmenter) and (source.classes, source.categories) == (classes, categories):
        return source, start.about
    torch.manual_seed(settings.seed)  # initial weights
    model = Segmenter(
        classes, categories, config.patches, config.patch_size, **start.size, drop_path=config.drop_path,
        head_widths=config.head_widths, dropout=config.dropout,
    )  # fmt: skip
    start.fill(model)
    return model, start.about
