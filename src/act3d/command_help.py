"""What `act3d COMMAND --help` prints, made from the function's signature, its docstring and the config dataclasses."""

import dataclasses
import inspect
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from act3d.settings.training import describe, fields

if TYPE_CHECKING:
    from act3d.cli import Command


def parameters(call: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield a command's parameters."""
    yield from inspect.signature(call).parameters.values()


def hints_of(call: Callable[..., Any]) -> dict[str, Any]:
    """Return the type of every option by its dotted key."""
    hints: dict[str, Any] = {}
    for item in parameters(call):
        if dataclasses.is_dataclass(item.annotation):
            hints.update({f"{item.name}.{name}": hint for name, _, hint in fields(item.annotation)})
        else:
            hints[item.name] = item.annotation
    return hints


def command_help(name: str, call: Callable[..., Any], command: "Command") -> str:
    """Return the whole help of a command."""
    from act3d.presets import preset_names

    width = min(120, max(72, shutil.get_terminal_size((100, 40)).columns))
    summary, body, about = read_docstring(inspect.getdoc(call) or "")
    required = [item for item in parameters(call) if item.default is inspect.Parameter.empty]
    needed = [
        i.name.upper() if i.name in command.positionals else f"--{i.name} {_value_name(i.annotation)}" for i in required
    ]
    usage = " ".join([f"usage: act3d {name}", *needed, "[options]"])
    parts = [usage, summary, *(textwrap.fill(paragraph, width) for paragraph in body)]
    if command.examples:
        parts.append("\n".join(["examples:", *(f"  {example}" for example in command.examples)]))
    plain = [item for item in parameters(call) if not dataclasses.is_dataclass(item.annotation)]
    parts.append("\n".join(["options:", *_plain_options(plain, about, command, preset_names(name), width)]))
    for item in parameters(call):
        if dataclasses.is_dataclass(item.annotation):
            parts.append("\n".join([f"{item.name}: {about.get(item.name, '')}", *_group(item, width)]))
    return "\n\n".join(parts)


def read_docstring(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Return a docstring's first line, its paragraphs, and its "Args:" by name."""
    head, _, rest = text.partition("\nArgs:\n")
    head = re.split(r"\n(?:Returns|Raises):\n", head)[0]
    arguments = re.split(r"\n(?=\S)", rest)[0]
    about: dict[str, str] = {}
    name = ""
    for line in arguments.splitlines():
        found = re.match(r" {4}(\w+): (.*)", line)
        if found:
            name, about[found[1]] = found[1], found[2].strip()
        elif name and line.strip():
            about[name] += " " + line.strip()
    about = {name: text.removesuffix(".") for name, text in about.items()}
    summary, *body = [" ".join(paragraph.split()) for paragraph in head.strip().split("\n\n")]
    return summary, body, about


def _plain_options(
    plain: list[inspect.Parameter], about: dict[str, str], command: "Command", presets: list[str], width: int
) -> Iterator[str]:
    for item in plain:
        text = about.get(item.name, "")
        if item.name in command.positionals:
            yield from _entry(item.name.upper(), text, width)
        elif item.name == "resume":
            yield from _entry("--resume [RUN]", f"{text}; a RUN folder given here stands for --out, its settings "
                              "are the base, and options change them", width)  # fmt: skip
        else:
            required = item.default is inspect.Parameter.empty
            default = "" if required else _default_text(item.default)
            yield from _entry(f"--{item.name} {_value_name(item.annotation)}".rstrip(), text + default, width)
    if presets:
        meaning = "settings from a preset or a YAML file; may come several times: later ones win, options win over all"
        yield from _entry("--config PRESET|FILE", f"{meaning}; presets: {', '.join(presets)}", width)
    yield from _entry("--debug", "show where an error came from", width)


def _group(item: inspect.Parameter, width: int) -> Iterator[str]:
    for name, field, hint in fields(item.annotation):
        default = getattr(item.default, name)
        text = describe(field) + _default_text(default)
        yield from _entry(f"--{item.name}.{name} {_value_name(hint)}".rstrip(), text, width)


def _entry(left: str, text: str, width: int, column: int = 34) -> Iterator[str]:
    """Yield the lines of one option: name on the left, meaning on the right."""
    lines = textwrap.wrap(text, width - column, break_on_hyphens=False) or [""]
    if len(left) > column - 4:
        yield f"  {left}"
    else:
        yield f"  {left.ljust(column - 2)}{lines.pop(0)}"
    yield from (" " * column + line for line in lines)


def _default_text(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f" (default: {str(value).lower()})"
    return f" (default: {value:g})" if isinstance(value, float) else f" (default: {value})"


def _value_name(hint: Any) -> str:
    """Return what stands for an option's value: INT, FLOAT, a|b|c ..."""
    if get_origin(hint) is Literal:
        return "|".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return next((_value_name(part) for part in get_args(hint) if part is not type(None)), "VALUE")
    names = {int: "INT", float: "NUMBER", bool: "[true|false]", str: "TEXT"}
    return names.get(hint, "PATH" if getattr(hint, "__name__", "") == "Path" else "VALUE")
