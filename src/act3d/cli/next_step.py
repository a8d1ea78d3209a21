"""The command to type next, which every command ends with."""

import shlex
from collections.abc import Callable
from typing import Any

SHAPE = "my_shape.obj"  # stands for a file of the user's own


def next_step(name: str, settings: Any, result: Any) -> str:
    """Return the command to type after one that succeeded, or "" where there is none to recommend."""
    words = _NEXT[name](settings, result) if name in _NEXT else []
    return f"act3d {shlex.join(words)}" if words else ""


def _autoencode(s: Any, _: Any) -> list[str]:
    preset = "act/pretrain" if s.autoencoder.width >= 384 else "small/pretrain"
    return ["pretrain", "--config", preset, "--data.root", s.data.root, "--teacher.checkpoint", s.out]


def _prepare(s: Any, made: Any) -> list[str]:
    if hasattr(made, "classes"):  # rooms
        return ["segment", "--config", "small/scenes", "--data.root", s.out]
    return ["autoencode", "--config", "small/autoencode", "--data.root", s.out]


def _predict(checkpoint: str, out: bool) -> list[str]:
    return ["predict", SHAPE, "--checkpoint", checkpoint, *(["--out", "labelled.ply"] if out else [])]


def _inspect(s: Any, report: Any) -> list[str]:
    if report.kind == "autoencoder":
        return ["pretrain", "--config", "small/pretrain", "--teacher.checkpoint", s.checkpoint]
    if report.kind in ("classifier", "segmenter"):
        return _predict(s.checkpoint, out=report.kind == "segmenter")
    return ["probe", s.checkpoint]


def _again(name: str, s: Any, option: str, value: str, given: bool) -> list[str]:
    """Return the same command with one option more, if it was not given yet."""
    place = getattr(s, type(s).positionals[0])
    places = place if isinstance(place, list) else [place]
    index = ["--index", s.index] if name == "search" else []
    own = ["--out", s.out] if name == "export" else ["--checkpoint", s.checkpoint] if name == "predict" else []
    own += ["--labels", s.labels] if name == "predict" and s.labels else []
    return [] if given else [name, *places, *index, *own, option, *([value] if value else [])]


_NEXT: dict[str, Callable[[Any, Any], list[str]]] = {
    "quickstart": lambda s, _: [],  # it prints all the commands for one's own shapes
    "autoencode": _autoencode,
    "pretrain": lambda s, _: ["probe", s.out],
    "align": lambda s, _: ["predict", SHAPE, "--checkpoint", s.out, "--labels", "chair,table,lamp"],
    "finetune": lambda s, _: _predict(s.out, out=False),
    "segment": lambda s, _: _predict(s.out, out=True),
    "fewshot": lambda s, _: ["compare", s.out],
    "embed": lambda s, _: ["index", s.input, "--checkpoint", s.checkpoint, "--out", "index"],
    "index": lambda s, _: ["search", SHAPE, "--index", s.out, "--page", "found.html"],
    "search": lambda s, _: _again("search", s, "--page", "found.html", bool(s.page)),
    "predict": lambda s, _: _again("predict", s, "--out", "predictions.csv", bool(s.out)),
    "export": lambda s, _: _again("export", s, "--int8", "", s.int8),
    "convert": lambda s, _: ["inspect", s.out],
    "probe": lambda s, _: ["index", "my_shapes", "--checkpoint", s.checkpoint, "--out", "index"],
    "evaluate": lambda s, _: ["compare", s.out] if s.out else ["evaluate", s.checkpoint, "--out", "results"],
    "compare": lambda s, _: _again("compare", s, "--out", "table.md", bool(s.out)),
    "inspect": _inspect,
    "doctor": lambda s, _: ["quickstart"],
    "prepare": _prepare,
    "check-data": lambda s, _: [],  # it names the command that takes the data
    "draw-folds": lambda s, _: ["fewshot", "--config", "small/fewshot", "--data.root", s.out],
}
