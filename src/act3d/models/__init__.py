"""The models, as plain `nn.Module`s that take plain values."""

import importlib
from typing import Any

from torch import nn

# Kind -> module and class; imported only when asked for.
_KINDS = {
    "autoencoder": ("autoencoder", "Autoencoder"),
    "student": ("student", "Student"),
    "point_mae": ("point_mae", "PointMAE"),
    "point_bert": ("point_bert", "PointBERT"),
    "recon": ("recon", "ReCon"),
    "aligned": ("aligned", "Aligned"),
    "classifier": ("classifier", "Classifier"),
    "segmenter": ("segmenter", "Segmenter"),
}


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """Build a model from the `kind` and `config` that every top model carries and every checkpoint stores.

    Raises:
        ValueError: Unknown kind.
    """
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of model {kind!r}; allowed are {', '.join(_KINDS)}")
    module, name = _KINDS[kind]
    model: nn.Module = getattr(importlib.import_module(f"act3d.models.{module}"), name)(**config)
    return model
