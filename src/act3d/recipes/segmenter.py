"""The segmenter that both recipes of segmentation build."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from act3d.models.segmenter import Segmenter
from act3d.recipes.common import encoder_start, noted, transfer_arguments


def build_segmenter(
    settings: Any,
    labels: Sequence[str],
    categories: Sequence[str],
    kept: Path | None = None,
    channels: Sequence[str] = (),
) -> tuple[Segmenter, dict[str, Any]]:
    """Return a segmenter with the checkpoint's encoder, or a fresh one, and where it starts from.

    A segmenter of the same labels and categories, in the same order, is taken over whole, with its head; of any other
    only the encoder.

    Args:
        settings: `SegmentSettings`.
        labels: names of parts or classes of points.
        categories: categories of shapes; none for scenes.
        kept: a resumed run's `start.json`.
        channels: what points have beside x, y and z.

    Raises:
        CheckpointError: missing, damaged, or no point encoder in it.
    """
    config = settings.segmenter
    start = encoder_start(settings.checkpoint, config, kept, channels)
    source = start.source
    transfer = transfer_arguments(config)
    alike = isinstance(source, Segmenter) and source.channels == tuple(channels)
    whole = alike and _knows(source, start.meta, labels, categories)
    same = whole and source.transfer == config.transfer
    if same and all(source.config.get(name, value) == value for name, value in transfer.items()):
        return source, noted(start.about, channels)
    torch.manual_seed(settings.seed)  # initial weights
    if whole:  # other parameters are trained than those that trained it
        model = Segmenter(**{**source.config, **transfer})
        start.fill(model)
        head = {
            k: v for k, v in source.state_dict().items() if k in model.state_dict() and not k.startswith("encoder.")
        }
        model.load_state_dict(head, strict=False)
        return model, noted(start.about, channels)
    model = Segmenter(
        len(labels), len(categories), config.patches, config.patch_size, **start.size, drop_path=config.drop_path,
        head_widths=config.head_widths, dropout=config.dropout, **transfer,
    )  # fmt: skip
    start.fill(model)
    return model, noted(start.about, channels)


def _knows(model: Segmenter, meta: Mapping[str, Any], labels: Sequence[str], categories: Sequence[str]) -> bool:
    """Whether a segmenter has these labels and categories; a released file does not name its own."""
    if (model.classes, model.categories) != (len(labels), len(categories)):
        return False
    known = (meta.get("parts"), meta.get("classes")) if categories else (meta.get("classes"), None)
    return all(not names or list(names) == list(own) for names, own in zip(known, (labels, categories), strict=True))
