"""act3d: teach 3D Transformers with pretrained image and text Transformers.

    import act3d
    model = act3d.load("runs/pretrain")        # a run, a .safetensors, a released .pth
    model.embed("chair.obj")                   # a file, an array or tensor (N, 3) or (B, N, 3), a list of these

What is below is imported on first use, so that `import act3d` itself stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from act3d.checkpoints import save as save
    from act3d.data import open_dataset as open_dataset
    from act3d.use.hub import from_pretrained as from_pretrained
    from act3d.use.hub import push_to_hub as push_to_hub
    from act3d.use.hub import save_pretrained as save_pretrained
    from act3d.use.points import read_points as read_points
    from act3d.use.predictor import load as load

__version__ = "0.1.0"

_PUBLIC = {
    "load": "act3d.use.predictor",
    "save": "act3d.checkpoints",
    "from_pretrained": "act3d.use.hub",
    "save_pretrained": "act3d.use.hub",
    "push_to_hub": "act3d.use.hub",
    "open_dataset": "act3d.data",
    "read_points": "act3d.use.points",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'act3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_PUBLIC))
