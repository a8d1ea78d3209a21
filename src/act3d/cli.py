"""The command line: jsonargparse over the functions in `act3d.commands`. Only the chosen command is imported."""

import difflib
import importlib
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from act3d.errors import Act3dError, ConfigError, InputError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


class Command(NamedTuple):
    """One command: where its function is, what it does in one line, its positional arguments, and examples."""

    target: str
    summary: str
    positionals: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "act3d.commands.quickstart:quickstart",
        "Both stages on shapes that come with act3d, then what they brought: about seven minutes",
        examples=("act3d quickstart", "act3d quickstart --seeds 1"),
    ),
    "prepare": Command(
        "act3d.commands.prepare:prepare",
        "Turn a folder of meshes and point clouds into a dataset ready for training",
        ("source",),
        (
            "act3d prepare my_meshes --out data/mine",
            "act3d prepare kicad-packages3d.deb --format kicad --out data/kicad",
        ),
    ),
    "autoencode": Command(
        "act3d.commands.autoencode:autoencode",
        "Stage I: turn a pretrained Transformer into a 3D teacher",
        examples=(
            "act3d autoencode --config small/autoencode --data.root data/mine --out runs/teacher",
            "act3d autoencode --config act/autoencode --data.root data/ShapeNet55 --trainer.precision bf16",
            "act3d autoencode --resume runs/teacher",
        ),
    ),
    "pretrain": Command(
        "act3d.commands.pretrain:pretrain",
        "Stage II: teach a 3D Transformer",
        examples=(
            "act3d pretrain --config small/pretrain --data.root data/mine --teacher.checkpoint runs/teacher",
            "act3d pretrain --config act/pretrain --data.root data/ShapeNet55 --teacher.checkpoint runs/teacher",
            "act3d pretrain --resume runs/pretrain --trainer.epochs 400",
        ),
    ),
    "finetune": Command(
        "act3d.commands.finetune:finetune",
        "Make a classifier of a pretrained encoder",
        examples=(
            "act3d finetune --config small/finetune --data.root data/mine --checkpoint runs/pretrain",
            "act3d finetune --config act/finetune-scan-hardest --data.root data/ScanObjectNN --checkpoint act.pth",
            "act3d finetune --config small/finetune --data.root data/mine --out runs/scratch",
            "act3d finetune --resume runs/finetune",
        ),
    ),
    "segment": Command(
        "act3d.commands.segment:segment",
        "Label every point: parts of shapes, or scenes of rooms",
        examples=(
            "act3d segment --config small/parts --data.root data/kicad --data.subset core --checkpoint runs/pretrain",
            "act3d segment --config act/parts --data.root data/ShapeNetPart --checkpoint act.pth",
            "act3d segment --config act/scenes --data.root data/S3DIS --scenes.held_out Area_5 --checkpoint act.pth",
            "act3d segment --evaluate --checkpoint runs/scenes --data.root data/rooms --out runs/scenes-again",
        ),
    ),
    "evaluate": Command(
        "act3d.commands.evaluate:evaluate",
        "Test a classifier: accuracies, a table by class, the confusion matrix",
        ("checkpoint",),
        (
            "act3d evaluate runs/finetune --data.root data/mine --out runs/finetune/test",
            "act3d evaluate released.pth --data.root data/ModelNet --votes 10",
        ),
    ),
    "fewshot": Command(
        "act3d.commands.fewshot:fewshot",
        "Learn new classes from a few shapes of each: settings, folds, mean and deviation",
        examples=(
            "act3d fewshot --config act/fewshot --data.root data/ModelNetFewshot --checkpoint runs/pretrain",
            "act3d fewshot --config small/fewshot --data.root data/mine --tasks.ways 5 --tasks.shots 10",
            "act3d fewshot --resume runs/fewshot",
        ),
    ),
    "draw-folds": Command(
        "act3d.commands.draw_folds:draw_folds",
        "Draw few-shot tasks from a labelled dataset and keep them, as the released ones are laid out",
        examples=(
            "act3d draw-folds --data.root data/ModelNet --out data/ModelNetFewshot",
            "act3d draw-folds --data.root data/mine --tasks.ways 5 --tasks.shots 10 --out data/mine-fewshot",
        ),
    ),
    "compare": Command(
        "act3d.commands.compare:compare",
        "Put results of several runs into one table: mean, spread and best over seeds",
        ("runs",),
        ("act3d compare runs/finetune-*", "act3d compare taught=runs/a-* scratch=runs/b-* --out table.md"),
    ),
    "check-data": Command(
        "act3d.commands.check_data:check_data",
        "Say which dataset a folder holds, and what is missing or broken",
        ("root",),
        ("act3d check-data data/ScanObjectNN", "act3d check-data sample"),
    ),
    "probe": Command(
        "act3d.commands.probe:probe",
        "Measure frozen features by linear SVM and nearest neighbours, against an untaught encoder",
        ("checkpoint",),
        ("act3d probe runs/pretrain --data.root data/mine",),
    ),
    "embed": Command(
        "act3d.commands.embed:embed",
        "Write one vector for every shape of a file, a folder or a dataset",
        ("input",),
        (
            "act3d embed my_meshes --checkpoint runs/pretrain --out shapes.parquet",
            'act3d embed "parts/**/*.obj" --checkpoint student.safetensors --out parts.npz --data.workers 4',
        ),
    ),
    "index": Command(
        "act3d.commands.index:index",
        "Make a collection searchable by shape, or bring its index up to date",
        ("input",),
        ("act3d index my_meshes --checkpoint runs/pretrain --out index",),
    ),
    "search": Command(
        "act3d.commands.search:search",
        "Find the shapes of an indexed collection that are nearest to a given one",
        ("query",),
        ("act3d search chair.obj --index index -k 10", "act3d search chair.obj --index index --page found.html"),
    ),
    "predict": Command(
        "act3d.commands.predict:predict",
        "Name shapes (a classifier), or colour their points by part (a segmenter)",
        ("input",),
        (
            "act3d predict chair.obj --checkpoint runs/classifier",
            "act3d predict my_meshes --checkpoint runs/segmenter --out coloured --category chair",
        ),
    ),
    "export": Command(
        "act3d.commands.export:export",
        "Write a model as ONNX, checked against PyTorch",
        ("checkpoint",),
        ("act3d export runs/pretrain --format onnx --out student.onnx --int8",),
    ),
    "convert": Command(
        "act3d.commands.convert:convert",
        "Write a released checkpoint as a native one",
        ("checkpoint",),
        ("act3d convert ACT.pth --out act.safetensors",),
    ),
    "inspect": Command(
        "act3d.commands.inspect:inspect",
        "Say what a checkpoint is, what it lacks and what is left over",
        ("checkpoint",),
        ("act3d inspect ACT.pth", "act3d inspect runs/pretrain --json"),
    ),
    "doctor": Command(
        "act3d.commands.doctor:doctor",
        "Say what this installation has and lacks, and check it against stored numbers",
        examples=("act3d doctor",),
    ),
}


def _keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors free: giving it back costs a step on the CPU a fifth of its time."""
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; musl has none
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no mapping of its own for every large tensor
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def set_waiting() -> None:
    """Let threads of OpenMP that wait spin for some microseconds, then sleep; this must come before torch is imported.

    To spin for long makes a shared machine many times slower, and to sleep at once makes steps of many small operations
    twice as slow: a thread takes longer to wake than most of them last.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")  # GNU's OpenMP, which torch brings on Linux


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 (failure), 2 (wrong usage), 128 + signal (interrupted)."""
    set_waiting()
    _keep_freed_memory()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("act3d: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Print an error as one line and return the exit code it stands for."""
    code = getattr(error, "code", None)
    if isinstance(code, int) and code > 128:  # stopped on request, with everything saved
        if int(os.environ.get("LOCAL_RANK", 0)):
            return 0  # a helper process; the first one speaks
        print(f"act3d: {error}", file=sys.stderr)
        return code
    text = " ".join(str(error).split())
    if isinstance(error, Act3dError):
        print(f"act3d: error: {text}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | InputError) else 1
    print(f"act3d: error: {type(error).__name__}: {text[:500]} (--debug shows where)", file=sys.stderr)
    return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from act3d import __version__

        print(f"act3d {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command {name!r}; {hint}")
    module, function = COMMANDS[name].target.split(":")
    call = getattr(importlib.import_module(module), function)
    if "-h" in rest or "--help" in rest:
        from act3d.command_help import command_help

        print(command_help(name, call, COMMANDS[name]))
        return 0
    call(**parse(name, call, rest))
    return 0


def overview() -> str:
    """Return the text of `act3d --help`."""
    width = max(len(name) for name in COMMANDS)
    lines = [
        "act3d: teach 3D Transformers with pretrained image and text Transformers (ACT, ICLR 2023)",
        "",
        "usage: act3d COMMAND [options]",
        "",
        "commands:",
        *(f"  {name.ljust(width)}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "act3d COMMAND --help explains a command, its options and its presets.",
        "--debug after any command shows where an error came from; --version prints the version.",
    ]
    return "\n".join(lines)


# ---------------------------------------------------------------------- from words to arguments


def parse(name: str, call: Callable[..., Any], words: list[str]) -> dict[str, Any]:
    """Return the arguments for a command's function.

    Later sources win: the function's defaults, the run that is resumed, `--config` files in order, options.

    Raises:
        ConfigError: an option or key that does not exist (with the nearest that does), or a value of a wrong type.
    """
    from act3d.command_help import hints_of
    from act3d.presets import find_config, flatten, read_config

    hints = hints_of(call)
    options, configs = read_words(name, words, hints, COMMANDS[name].positionals)
    layers = [(path, flatten(read_config(path))) for path in (find_config(config, name) for config in configs)]
    if "resume" in options:
        base = _resumed_run(call, options, layers)
        layers.insert(0, (base, flatten(read_config(base))))
    settings: dict[str, Any] = {}
    for path, layer in layers:
        for key, value in layer.items():
            if key not in hints:
                raise ConfigError(f"{path}: there is no setting {key!r} in act3d {name}{_nearest(key, hints)}")
            settings[key] = checked(f"{path}: {key}", value, hints[key])
    for key, text in options.items():
        settings[key] = checked(f"--{key}", text, hints[key])
    return _instantiate(call, settings, COMMANDS[name].positionals)


def read_words(
    name: str, words: list[str], hints: dict[str, Any], positionals: tuple[str, ...]
) -> tuple[dict[str, str], list[str]]:
    """Return options by key, with positional arguments among them, and the values of `--config`.

    `--key value` and `--key=value` are the same; a switch alone means true; `--resume` takes an optional folder.
    """
    options: dict[str, str] = {}
    configs: list[str] = []
    waiting = list(positionals)
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if len(word) == 2 and word[0] == "-" and word[1] in hints:  # -k 10 is --k 10
            word = f"-{word}"
        if not word.startswith("--"):
            if not waiting and positionals and get_origin(hints[positionals[-1]]) is list:
                options[positionals[-1]] += f"{word}\n"  # the last positional takes all words that are left
                continue
            if not waiting:
                raise ConfigError(f"{word!r} is not expected here; options start with --, see act3d {name} --help")
            key = waiting.pop(0)
            options[key] = f"{word}\n" if get_origin(hints[key]) is list else word
            continue
        key, equals, value = word[2:].partition("=")
        if key != "config" and key not in hints:
            raise ConfigError(f"there is no option --{key} in act3d {name}{_nearest(key, hints, '--')}")
        if not equals:
            alone = not queue or queue[0].startswith("--")
            if alone and key != "config" and hints[key] is not bool:
                raise ConfigError(f"--{key}: a value is missing; see act3d {name} --help")
            if alone and key == "config":
                raise ConfigError("--config: a preset or a file is missing")
            value = "true" if alone else queue.pop(0)
        if key == "config":
            configs.append(value)
        else:
            options[key] = value
    if waiting:
        raise ConfigError(f"{waiting[0].upper()} is missing; see act3d {name} --help")
    return options, configs


def _resumed_run(call: Callable[..., Any], options: dict[str, str], layers: list[tuple[Any, dict[str, Any]]]) -> Any:
    """Return the config.yaml of the run that `--resume` means, and point `out` at its folder."""
    from inspect import signature
    from pathlib import Path

    value = options["resume"]
    if value.lower() in ("false", "no"):
        raise ConfigError("--resume: leave it out to begin a new run")
    named = [layer["out"] for _, layer in layers if "out" in layer]
    default = str(signature(call).parameters["out"].default)
    folder = options.get("out", named[-1] if named else default)
    if value.lower() not in ("true", "yes"):
        if options.get("out", value) != value:
            raise ConfigError(f"--resume: {value} and --out {options['out']} are two folders; give one")
        folder = value
    options["resume"], options["out"] = "true", str(folder)
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"--resume: {folder} holds no run (no config.yaml)")
    return path


def _nearest(key: str, hints: dict[str, Any], prefix: str = "") -> str:
    from act3d.settings.training import nearest

    return nearest(key, list(hints), prefix)


def checked(where: str, value: Any, hint: Any) -> Any:
    """Return a value in its type, from a word of the command line or from YAML.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """
    from act3d.settings.training import type_text

    text = str(value).strip()
    if get_origin(hint) is list:
        # Words of the command line end in a newline each and may hold commas; an option's items are joined by commas.
        split = value.splitlines() if "\n" in str(value) else text.strip("[]").split(",")
        items = value if isinstance(value, list) else [item.strip() for item in split if item.strip()]
        return [checked(where, item, get_args(hint)[0]) for item in items]
    try:
        if hint is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
        if hint is int and not isinstance(value, bool | float):
            return int(text)
        if hint is float and not isinstance(value, bool):
            return float(text)
        if hint in (int, float):
            raise ValueError
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: {value!r} is not allowed; it must be {type_text(hint)}") from None
    if get_origin(hint) is Literal and text not in map(str, get_args(hint)):
        raise ConfigError(f"{where}: {value!r} is not allowed; it must be {type_text(hint)}")
    if hint is str and not isinstance(value, str):
        return "" if value is None else text
    return value


def _instantiate(call: Callable[..., Any], settings: dict[str, Any], positionals: tuple[str, ...]) -> dict[str, Any]:
    """Return the function's arguments through jsonargparse: dataclasses made, remaining types checked."""
    parser = build_parser(call)
    try:
        parsed = parser.parse_object(nest(settings))
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # by version
        return dict(vars(instantiate(parsed)))
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        missing = [key for key in _required(call) if key not in settings]
        if missing:
            raise ConfigError(f"--{missing[0]} is missing") from error
        raise ConfigError(" ".join(str(error).split())) from error


def build_parser(call: Callable[..., Any]) -> "ArgumentParser":
    """Return jsonargparse's parser of a command's function."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(call)
    return parser


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Return dotted keys as nested dictionaries."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = value
    return nested


def _required(call: Callable[..., Any]) -> list[str]:
    from inspect import Parameter, signature

    return [name for name, item in signature(call).parameters.items() if item.default is Parameter.empty]


if __name__ == "__main__":
    sys.exit(main())
