"""A command: a function of its settings that Python calls with keywords, and the command line with options."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from act3d.settings.layers import resolve
from act3d.settings.messages import named_fields
from act3d.settings.model import Settings

S = TypeVar("S", bound=Settings)
R = TypeVar("R", covariant=True)


class Command(Protocol[R]):
    """A function that `command` has wrapped."""

    __name__: str

    def __call__(self, *places: Any, config: str | Path | Iterable[str | Path] = (), **values: Any) -> R:
        """Run with whole settings, or with a command's positional arguments, presets and settings by name."""


def command(run: Callable[[S], R]) -> Command[R]:
    """Make a function of its settings callable with keywords and presets as well.

        pretrain(PretrainSettings(...))
        pretrain(config="small/pretrain", data={"root": "data/mine"}, teacher={"checkpoint": "runs/teacher"})
        evaluate("runs/finetune", data=EvaluationData(root="data/mine"))

    A dictionary changes a part of a section, a section's model replaces the whole of it; what is given by name wins
    over `config`, and later presets and files win over earlier ones. With `resume=True` the run's own settings in `out`
    come before all others.
    """
    model: type[Settings] = run.__annotations__["settings"]

    @functools.wraps(run)
    def call(*places: Any, config: str | Path | Iterable[str | Path] = (), **values: Any) -> R:
        if len(places) == 1 and isinstance(places[0], Settings):
            if config or values:
                raise TypeError(f"{model.command}: give whole settings, or a config and settings by name, not both")
            return run(_after_restart(places[0]))  # type: ignore[arg-type]
        named = _in_places(model)
        if len(places) > len(named):
            raise TypeError(f"{model.command}: only {', '.join(named) or 'nothing'} can be given without a name")
        given = {**dict(zip(named, places, strict=False)), **values}
        settings = _after_restart(resolve(model, given, [config] if isinstance(config, str | Path) else config))
        settings.check_places()
        return run(settings)  # type: ignore[arg-type]

    call.__signature__ = _signature(model, run)  # type: ignore[attr-defined]
    call.__doc__ = _document(model, run.__doc__ or "")
    return call


def _after_restart(settings: S) -> S:
    """Return settings that go on with their run, where torchrun or SLURM has started the same command again."""
    counts = [os.environ.get(name, "0") for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")]
    if not any(count.isdecimal() and int(count) for count in counts) or getattr(settings, "resume", True):
        return settings
    begun = (Path(getattr(settings, "out", "")) / "config.yaml").is_file()
    return settings.model_copy(update={"resume": True}) if begun else settings


def _in_places(model: type[Settings]) -> list[str]:
    """Return the names of settings that Python takes without a name too: those of places, and those without default."""
    takes = (*model.positionals, *model.in_place)
    return [name for name, field in named_fields(model).items() if field.is_required() or name in takes]


def _signature(model: type[Settings], run: Callable[..., Any]) -> inspect.Signature:
    """Return the signature that help() and editors show: every section and plain option by name."""
    parameter, empty = inspect.Parameter, inspect.Parameter.empty
    shown: list[inspect.Parameter] = []
    for name, field in named_fields(model).items():
        optional = any(item.default is not empty for item in shown)  # what follows one has to be named
        placed = name in _in_places(model) and not (field.is_required() and optional)
        kind = parameter.POSITIONAL_OR_KEYWORD if placed else parameter.KEYWORD_ONLY
        default = empty if field.is_required() else field.default
        shown.append(parameter(name, kind, default=default, annotation=field.annotation))
    shown.append(parameter("config", parameter.KEYWORD_ONLY, default=(), annotation=str | list[str]))
    order = sorted(shown, key=lambda item: item.kind)  # stable: positional ones first
    return inspect.Signature(order, return_annotation=inspect.signature(run).return_annotation)


def _document(model: type[Settings], text: str) -> str:
    """Return a docstring with every setting in it."""
    lines = [f"    {name}: {field.description}." for name, field in named_fields(model).items()]
    lines.append("    config: presets or YAML files to start from, such as small/pretrain.")
    head, found, rest = inspect.cleandoc(text).partition("\nReturns:")
    return "\n".join([head.rstrip(), "", "Args:", *lines, found + rest if found else ""]).rstrip() + "\n"
