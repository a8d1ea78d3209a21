"""Words of a command line before and after cyclopts: switches with values, and mistakes as one line."""

from typing import Any

from cyclopts import CycloptsError, exceptions

from act3d.cli.table import COMMANDS, settings_of
from act3d.errors import ConfigError
from act3d.settings.layers import fields
from act3d.settings.messages import nearest, type_text


def join_switches(words: list[str]) -> list[str]:
    """Return words with values joined to their option where cyclopts would not take them.

    `--flag true` -> `--flag=true`, `--resume RUN` -> `--resume=RUN`, `--json -` -> `--json=-`.
    """
    switches = {f"--{key}" for key, field in fields(settings_of(words[0])).items() if field.annotation is bool}
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        is_switch = before in switches and word.lower() in ("true", "false", "yes", "no")
        is_run = before == "--resume" and not word.startswith("--")
        if is_switch or is_run or (word == "-" and before.startswith("--")):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return ["--resume=true" if word == "--resume" else word for word in joined]


def with_resumed_run(texts: dict[str, Any]) -> dict[str, Any]:
    """Return options where `--resume RUN` has become `--out RUN --resume`."""
    value = texts.get("resume")
    if value is None or value.lower() in ("true", "yes"):
        return texts
    if value.lower() in ("false", "no"):
        raise ConfigError("--resume: leave it out to begin a new run")
    if texts.get("out", value) != value:
        raise ConfigError(f"--resume: {value} and --out {texts['out']} are two folders; give one")
    return {**texts, "resume": "true", "out": value}


def wrong_words(error: CycloptsError, words: list[str]) -> str:
    """Return a mistake in options as one line."""
    name = words[0]
    if isinstance(error, exceptions.UnknownOptionError):
        word = (error.token.keyword or error.token.value).partition("=")[0]
        known = list(fields(settings_of(name))) if name in COMMANDS else []
        where = f"act3d {name}" if known else "act3d"
        return f"there is no option {word} in {where}{nearest(word.lstrip('-'), known, '--')}"
    if isinstance(error, exceptions.UnusedCliTokensError):
        word = (error.unused_tokens or [""])[0]
        before = words[words.index(word) - 1] if word in words else ""
        if before.startswith("--"):  # a switch: no other option leaves a word behind it
            return f"{before}: {word!r} is not allowed; it must be true or false"
        return f"{word!r} is not expected here; options start with --, see act3d {name} --help"
    option = error.argument.name if error.argument else ""
    if isinstance(error, exceptions.MissingArgumentError):
        return f"{option}: a value is missing; see act3d {name} --help"
    if isinstance(error, exceptions.RepeatArgumentError):
        return f"{error.token.keyword}: given twice; give it once"
    if isinstance(error, exceptions.CoercionError) and error.token is not None:
        hint = fields(settings_of(name))[option.lstrip("-")].annotation
        return f"{option}: {error.token.value!r} is not allowed; it must be {type_text(hint)}"
    return " ".join(str(error).split())
