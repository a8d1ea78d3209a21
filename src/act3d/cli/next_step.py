"""The command to type next, which every command ends with."""

import shlex
from collections.abc import Callable
from typing import Any

from act3d.files import folders_of, printable

SHAPE, SCAN, MINE = "my_shape.obj", "my_scan.ply", "data/mine"  # stand for what is the user's own


def next_step(name: str, settings: Any, result: Any) -> str:
    """Return the command to type after one that succeeded, or "" where there is none to recommend."""
    words = _NEXT[name](settings, result) if name in _NEXT else []
    return " ".join(["act3d", *map(_quoted, words)]) if words else ""


def _quoted(word: str) -> str:
    """Return a word as a shell takes it, and as it can be printed."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + printable(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def _autoencode(s: Any, _: Any) -> list[str]:
    preset = "act/pretrain" if s.autoencoder.width >= 384 else "small/pretrain"
    weights = ",".join(f"{weight:g}" for weight in s.data.weights)
    pool = ["--data.root", s.data.root, *(["--data.weights", weights] if weights else [])]
    return ["pretrain", "--config", preset, *pool, "--teacher.checkpoint", s.out]


def _pretrain(s: Any, _: Any) -> list[str]:
    roots = folders_of(s.data.root)  # a probe takes one dataset
    return ["probe", s.out, *(["--data.root", roots[0]] if len(roots) > 1 else [])]


def _prepare(s: Any, made: Any) -> list[str]:
    if hasattr(made, "classes"):  # rooms
        return ["segment", "--config", "small/scenes", "--data.root", s.out]
    return ["autoencode", "--config", "small/autoencode", "--data.root", s.out]


def _label(checkpoint: str, categories: Any) -> list[str]:
    """Label points; `categories` are the names among which a segmenter of parts has to be told one."""
    category = ["--category", str(next(iter(categories)))] if categories else []
    return ["predict", SHAPE if categories else SCAN, "--checkpoint", checkpoint, *category, "--out", "labelled.ply"]


def _inspect(s: Any, report: Any) -> list[str]:
    if report.kind == "index":
        return ["search", SHAPE, "--index", s.checkpoint]
    if report.kind == "autoencoder":
        preset = "act/pretrain" if report.config["width"] >= 384 else "small/pretrain"
        return ["pretrain", "--config", preset, "--data.root", MINE, "--teacher.checkpoint", s.checkpoint]
    if report.kind == "segmenter":
        count = report.config.get("categories", 0)
        return _label(s.checkpoint, count and (report.meta.get("classes") or range(count)))
    if report.kind == "classifier":
        return ["predict", SHAPE, "--checkpoint", s.checkpoint]
    own = (
        "settings" in report.meta or "command" in report.meta
    )  # a run of ours knows its data, a released file does not
    return ["probe", s.checkpoint, *([] if own else ["--data.root", MINE])]


def _show(s: Any, _: Any) -> list[str]:
    if s.out.endswith(".html"):
        models = ["--checkpoint", ",".join(s.checkpoint)] if s.checkpoint else []
        return ["show", s.kind, s.input, *models, "--out", "figure.pdf"]
    return ["inspect", s.checkpoint[0]] if s.checkpoint else ["check-data", s.input]


def _evaluate(s: Any, _: Any) -> list[str]:
    given = _given(s.data, "root", "subset")
    return ["compare", s.out] if s.out else ["evaluate", s.checkpoint, *given, "--out", "results"]


def _tasks(tasks: Any) -> list[str]:
    """Return the options that ask for the folds that were drawn; folds from the first on are given by how many."""
    count = len(tasks.folds)
    folds = str(count) if tasks.folds == list(range(count)) else f"[{','.join(map(str, tasks.folds))}]"
    numbers = {"ways": ",".join(map(str, tasks.ways)), "shots": ",".join(map(str, tasks.shots)), "folds": folds}
    return [word for name, value in numbers.items() for word in (f"--tasks.{name}", value)]


def _given(data: Any, *names: str) -> list[str]:
    """Return the options of `data` that say which clouds were meant and how they are read."""
    chosen = {name: getattr(data, name) for name in names}
    return [word for name, value in chosen.items() if value not in ("", "auto") for word in (f"--data.{name}", value)]


def _after_prediction(s: Any, report: Any) -> list[str]:
    if s.out and s.labels:
        return ["index", "my_shapes", "--checkpoint", s.checkpoint, "--out", "index"]
    if s.out:
        return ["evaluate", s.checkpoint, "--data.root", MINE]
    return _again("predict", s, "--out", "predictions.csv", False)


def _again(name: str, s: Any, option: str, value: str, given: bool) -> list[str]:
    """Return the same command with one option more, if it was not given yet."""
    place = getattr(s, type(s).positionals[0])
    places = place if isinstance(place, list) else [place]
    index = ["--index", s.index] if name == "search" else []
    own = ["--out", s.out] if name == "export" else ["--checkpoint", s.checkpoint] if name == "predict" else []
    own += ["--labels", s.labels] if name == "predict" and s.labels else []
    return [] if given else [name, *places, *index, *own, option, *([value] if value else [])]


def _folders(runs: list[str]) -> list[str]:
    """Return the run folders of `compare`'s words, which may be NAME=RUN,RUN."""
    return [folder for word in runs for folder in word.rpartition("=")[2].split(",")]


_NEXT: dict[str, Callable[[Any, Any], list[str]]] = {
    "quickstart": lambda s, _: [],  # it prints all the commands for one's own shapes
    "teach": lambda s, _: [],  # it prints the commands that follow
    "autoencode": _autoencode,
    "pretrain": _pretrain,
    "align": lambda s, _: ["predict", SHAPE, "--checkpoint", s.out, "--labels", "chair,table,lamp"],
    "finetune": lambda s, _: ["predict", SHAPE, "--checkpoint", s.out],
    "segment": lambda s, result: _label(s.out, result.metrics.get("categories")),
    "fewshot": lambda s, _: ["compare", s.out],
    "embed": lambda s, _: (
        ["index", s.input, "--checkpoint", s.checkpoint, *_given(s.data, "up", "normalize", "split"), "--out", "index"]
    ),
    "index": lambda s, _: ["search", SHAPE, "--index", s.out, "--page", "found.html"],
    "search": lambda s, _: (
        ["search", SHAPE, "--index", s.index]
        if s.page or not s.shape
        else _again("search", s, "--page", "found.html", False)
    ),
    "app": lambda s, _: [],  # the page is where one goes on
    "predict": _after_prediction,
    "export": lambda s, _: _again("export", s, "--int8", "", s.int8) or ["inspect", s.checkpoint],
    "convert": lambda s, _: ["inspect", s.out],
    "probe": lambda s, _: ["index", "my_shapes", "--checkpoint", s.checkpoint, "--out", "index"],
    "evaluate": _evaluate,
    "compare": lambda s, _: _again("compare", s, "--out", "table.md", bool(s.out)) or ["report", *_folders(s.runs)],
    "inspect": _inspect,
    "show": _show,
    "report": lambda s, _: ["compare", *s.runs],
    "doctor": lambda s, _: ["quickstart"],
    "prepare": _prepare,
    "check-data": lambda s, _: [],  # it names the command that takes the data
    "draw-folds": lambda s, _: ["fewshot", "--config", "small/fewshot", "--data.root", s.out, *_tasks(s.tasks)],
}
