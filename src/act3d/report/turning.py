"""Animated pictures, .webp or .gif, for figures whose clouds turn where no script runs."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act3d.files import atomic_path

MILLISECONDS = 100  # that each picture is shown


def write_turning(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> Path:
    """Write pictures (H, W, 3) that are shown one after another, again and again; return the file's path."""
    from PIL import Image

    first, *others = [Image.fromarray(picture) for picture in pictures]
    kind = path.suffix.lower()[1:].upper()
    if kind == "GIF":
        palette = first.quantize(128)  # one for all: colours must not flicker
        first, *others = [picture.quantize(palette=palette) for picture in (first, *others)]
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=70)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path
