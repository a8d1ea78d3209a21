"""The models, as plain `nn.Module`s that take plain values."""

from typing import Any

from torch import nn


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """Build a model from the `kind` and `config` that every top model carries and every checkpoint stores.

    Raises:
        ValueError: Unknown kind.
    """
    if kind == "autoencoder":
        from act3d.models.autoencoder import Autoencoder

        return Autoencoder(**config)
    if kind == "student":
        from act3d.models.student import Student

        return Student(**config)
    raise ValueError(f"unknown kind of model {kind!r}; allowed are 'autoencoder', 'student'")
