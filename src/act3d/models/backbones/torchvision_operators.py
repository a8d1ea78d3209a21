"""Importing torchvision where its compiled operators do not load."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[Any] = []  # the definitions live as long as this


def declare_torchvision_operators() -> bool:
    """Define the schemas of torchvision's `nms` and `qnms` if torchvision is installed without working operators.

    PyPI's torchvision is compiled for CUDA. With a CPU build of torch its operators are missing, so importing it fails,
    and with it timm, torchmetrics and transformers. act3d uses none of the operators; their schemas are enough for the
    import. Call this before anything imports torchvision; calling it again changes nothing.

    Returns:
        Whether schemas had to be defined (now or earlier).
    """
    if _library or "torchvision" in sys.modules:
        return bool(_library)
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return False
    folder = Path(found.submodule_search_locations[0])
    for extension in sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(extension))
            return False
        except (OSError, ImportError):
            continue
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _SIGNATURE)
    _library.append(library)
    return True
