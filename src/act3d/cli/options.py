"""A command as cyclopts reads it: one option a setting, all of them text, which `act3d.settings` understands."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import Group, Parameter, Token

from act3d.cli.next_step import next_step
from act3d.cli.table import COMMANDS, load, settings_of
from act3d.cli.words import with_resumed_run
from act3d.engine import processes
from act3d.lines import say, typed
from act3d.presets import preset_names
from act3d.settings.layers import fields, resolve
from act3d.settings.messages import describe, metadata_of, required_settings, value_type
from act3d.settings.model import Settings, default_of, sections
from act3d.settings.places import is_place

RESUME = "a RUN folder given here is also --out; its settings are used, and options change them"


def help_of(name: str) -> dict[str, str]:
    """Return what `act3d COMMAND --help` says around the options, as arguments of `App.command`."""
    return {"help": _about(name), "usage": _usage(name), "help_epilogue": _epilogue(name)}


def _about(name: str) -> str:
    paragraphs = (inspect.getdoc(settings_of(name)) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _usage(name: str) -> str:
    model = settings_of(name)
    needed = required_settings(model)
    words = [f"[{key.upper()}]" for key in model.positionals if key not in needed]
    words += [key.upper() if key in model.positionals else f"--{key} TEXT" for key in needed]
    return " ".join([f"Usage: act3d {name}", *words, "[OPTIONS]"])


def _epilogue(name: str) -> str:
    """Return the text below the options of `act3d COMMAND --help`: examples and presets."""
    text = "\n".join(["Examples:", *(f"  {example}" for example in COMMANDS[name].examples)])
    presets = preset_names(name)
    return f"{text}\n\nPresets: {', '.join(presets)}" if presets else text


def command_line_of(name: str) -> Callable[..., None]:
    """Return a command for cyclopts: a function with one option a setting, which all take text."""
    model = settings_of(name)
    keys = {key.replace(".", "__"): key for key in fields(model)}
    many = [key for key, field in fields(model).items() if takes_several(field, key in model.positionals)]

    def call(*places: Any, **words: Any) -> None:
        words |= zip(model.positionals, places, strict=False)
        given = {keys[place]: value for place, value in words.items() if place in keys}
        # An option that comes several times counts once, as it came last.
        texts = with_resumed_run({k: v[-1] if isinstance(v, list) and k not in many else v for k, v in given.items()})
        settings = resolve(model, {}, words.get("config") or [], texts)
        settings.check_places()  # before torch is imported
        result = load(COMMANDS[name].target)(settings)
        step = next_step(name, settings, result)
        if step and not processes.rank():  # the first of several processes speaks
            say(f"next: {typed(step)}", error=True)

    shown = [_option(model, key, place) for place, key in keys.items()]
    order = sorted([*shown, *_common_options(name)], key=lambda item: item.kind)  # stable: positional ones first
    call.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
    return call


def takes_several(field: Any, positional: bool) -> bool:
    """Tell whether a setting takes several words in a row: lists of places do, and lists without a name."""
    return get_origin(value_type(field.annotation)) is list and (positional or is_place(metadata_of(field)))


def _option(model: type[Settings], key: str, place: str) -> inspect.Parameter:
    field, section = fields(model)[key], key.rpartition(".")[0]
    hint, positional = value_type(field.annotation), key in model.positionals
    default = "" if field.is_required() else _shown(default_of(model, key))
    about = Parameter(
        name=[f"--{key}", f"-{key}"] if len(key) == 1 else f"--{key}",
        help=describe(field) if key != "resume" else f"{describe(field)}; {RESUME}",
        show_default=(lambda _: default) if default else False,
        choices=tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else None,
        show_choices=False,
        metavar="PATH" if is_place(metadata_of(field)) else _metavar(hint, key),
        required=False,
        negative=(),
        consume_multiple=takes_several(field, positional) and not positional,
        converter=None if hint is bool and key != "resume" else _as_written,
    )
    if section:
        names = list(sections(model))
        group = Group(section, help=model.model_fields[section].description or "", sort_key=names.index(section) + 1)
        about = Parameter.combine(about, Parameter(group=group))
    one = positional and get_origin(hint) is not list
    text = Path if is_place(metadata_of(field)) else str  # shells complete paths; both are taken as they are written
    taken: Any = bool if hint is bool and key != "resume" else text if one else list[text]  # type: ignore[valid-type]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(place, kind, default=None, annotation=Annotated[taken | None, about])


def _common_options(name: str) -> list[inspect.Parameter]:
    config = Parameter(
        name="--config", metavar="PRESET|FILE", negative=(), show_default=False, completer=lambda _: preset_names(name),
        help="settings from a preset or a YAML file; may come several times: later ones win, options win over all",
    )  # fmt: skip
    debug = Parameter(name="--debug", negative=(), show_default=False, help="show where an error came from")
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[list[str] | None, config]),
        inspect.Parameter("debug", keyword, default=None, annotation=Annotated[bool | None, debug]),
    ]


def _shown(default: Any) -> str:
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _as_written(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return an option's words unchanged: what they mean is the settings' to say."""
    words = [token.value for token in tokens]
    return words if get_origin(kind) is list else words[-1]


def _metavar(hint: Any, key: str) -> str:
    """Return the placeholder of an option's value: INT, NUMBER, a|b|c ..."""
    if key == "resume":
        return "[RUN]"
    if get_origin(hint) is Literal:
        return "|".join(str(choice) for choice in get_args(hint))
    return {int: "INT", float: "NUMBER", str: "TEXT"}.get(hint, "A,B,...")
