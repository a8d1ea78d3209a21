"""act3d: pretrain 3D Transformers with pretrained image and text Transformers as teachers.

    import act3d
    model = act3d.load("runs/pretrain")        # a run, a .safetensors, a released .pth
    model.embed("chair.obj")                   # a file, an array or tensor (N, 3) or (B, N, 3), a list of these

Every command of the command line is a function of the same settings:

    act3d.pretrain(config="small/pretrain", data={"root": "data/mine"}, teacher={"checkpoint": "runs/teacher"})

All public names are imported on first use, so that `import act3d` itself is fast.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from act3d import device, waiting
from act3d.version import VERSION

if TYPE_CHECKING:
    from act3d.checkpoints.sources import list_models as list_models
    from act3d.commands.align import align as align
    from act3d.commands.app import app as app
    from act3d.commands.autoencode import autoencode as autoencode
    from act3d.commands.check_data import check_data as check_data
    from act3d.commands.compare import compare as compare
    from act3d.commands.convert import convert as convert
    from act3d.commands.doctor import doctor as doctor
    from act3d.commands.draw_folds import draw_folds as draw_folds
    from act3d.commands.embed import embed as embed
    from act3d.commands.evaluate import evaluate as evaluate
    from act3d.commands.export import export as export
    from act3d.commands.fewshot import fewshot as fewshot
    from act3d.commands.finetune import finetune as finetune
    from act3d.commands.index import index as index
    from act3d.commands.inspect import inspect as inspect
    from act3d.commands.predict import predict as predict
    from act3d.commands.prepare import prepare as prepare
    from act3d.commands.pretrain import pretrain as pretrain
    from act3d.commands.probe import probe as probe
    from act3d.commands.quickstart import quickstart as quickstart
    from act3d.commands.report import report as report
    from act3d.commands.search import search as search
    from act3d.commands.segment import segment as segment
    from act3d.commands.show import show as show
    from act3d.commands.teach import teach as teach
    from act3d.data import open_dataset as open_dataset
    from act3d.use.hub import from_pretrained as from_pretrained
    from act3d.use.hub import push_to_hub as push_to_hub
    from act3d.use.hub import save_pretrained as save_pretrained
    from act3d.use.load import load as load
    from act3d.use.load import save as save
    from act3d.use.points import read_points as read_points

__version__ = VERSION

waiting.set_waiting()  # OpenMP and MPS read their settings when torch is imported
device.let_mps_fall_back()

_COMMANDS = (
    "quickstart", "teach", "autoencode", "pretrain", "align", "finetune", "segment", "fewshot", "embed", "index",
    "search", "app", "predict", "export", "convert", "probe", "evaluate", "compare", "report", "show", "inspect",
    "doctor", "prepare", "check_data", "draw_folds",
)  # fmt: skip

_PUBLIC = {name: f"act3d.commands.{name}" for name in _COMMANDS} | {
    "load": "act3d.use.load",
    "save": "act3d.use.load",
    "read_points": "act3d.use.points",
    "open_dataset": "act3d.data",
    "list_models": "act3d.checkpoints.sources",
}
_HUB = ("from_pretrained", "save_pretrained", "push_to_hub")

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    module = "act3d.use.hub" if name in _HUB else _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'act3d' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Room(types.ModuleType):
    """A room that has the name of a command (`act3d.prepare`): as a function it is that command."""

    def __call__(self, *places: Any, **values: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(f"act3d.commands.{name}"), name)(*places, **values)


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _COMMANDS and isinstance(value, types.ModuleType):  # Python puts a room here when it is imported
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
