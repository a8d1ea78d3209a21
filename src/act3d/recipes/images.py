"""Features of one image a cloud, made elsewhere by a frozen image encoder: from a file, or from a table's columns."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.errors import InputError
from act3d.settings.pretraining import ReconConfig
from act3d.use.embeddings import read_embeddings


class ImageFeatures(NamedTuple):
    """Image features of training clouds.

    Attributes:
        vectors: (S, Di) float32, a row a cloud; zeros where a cloud has none.
        known: bool (S,): which clouds have an image.
        about: where they are from, for results.json: file or columns, width, clouds_without, digest.
    """

    vectors: Tensor
    known: Tensor
    about: dict[str, Any]

    def to(self, device: torch.device) -> "ImageFeatures":
        """The same on another device."""
        return self._replace(vectors=self.vectors.to(device), known=self.known.to(device))


def read_images(clouds: CloudDataset, config: ReconConfig) -> ImageFeatures | None:
    """Return the image features of clouds, or None where the settings name none.

    Raises:
        InputError: no such file or columns, values that are no numbers, or none of the clouds has any.
    """
    if not (config.image_file or config.image_columns):
        return None
    if config.image_file:
        found, where = _from_file(config.image_file), f"recon.image_file: {config.image_file}"
        rows = [found.get(name) for name in clouds.columns()["name"]]
    else:
        rows, where = _from_columns(clouds, config.image_columns), f"recon.image_columns: {config.image_columns!r}"
    known = torch.tensor([row is not None for row in rows])
    if not known.any():
        raise InputError(f"{where} has no features for any of the {len(rows)} clouds of {clouds.name}")
    some = np.stack([row for row in rows if row is not None])
    if not np.isfinite(some).all():
        raise InputError(f"{where} holds numbers that are not finite")
    vectors = torch.zeros(len(rows), some.shape[1])
    vectors[known] = torch.from_numpy(some)
    about = {
        "from": config.image_file or f"columns {config.image_columns}",
        "width": some.shape[1],
        "clouds_without": int((~known).sum()),
        "digest": hashlib.sha256(vectors.numpy().tobytes()).hexdigest()[:16],
    }
    return ImageFeatures(vectors, known, about)


def _from_file(path: str) -> dict[str, np.ndarray]:
    table = read_embeddings(path)
    return dict(zip(table["name"], table.vectors, strict=True))


def _from_columns(clouds: CloudDataset, prefix: str) -> list[np.ndarray | None]:
    """A row a cloud: the numbers of the columns prefix0, prefix1 ...; None where the first is empty."""
    table = clouds.columns()
    names = [name for name in table if name.startswith(prefix) and name[len(prefix) :].isdigit()]
    names.sort(key=lambda name: int(name[len(prefix) :]))
    if not names:
        raise InputError(f"recon.image_columns: {clouds.name} has no columns {prefix}0, {prefix}1 ...")
    rows: list[np.ndarray | None] = []
    for cloud, *cells in zip(table["name"], *(table[name] for name in names), strict=True):
        try:
            rows.append(np.array(cells, dtype=np.float32) if cells[0] else None)
        except ValueError:
            raise InputError(f"recon.image_columns: {cloud}: {prefix}... holds what is no number") from None
    return rows
