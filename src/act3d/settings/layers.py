"""Settings from presets, files, a resumed run and the caller, merged into a command's settings; later ones win."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from act3d.errors import ConfigError
from act3d.presets import find_config, flatten, read_config, run_command
from act3d.settings.messages import named_fields, nearest, required_settings, value_type
from act3d.settings.model import Settings, default_of, sections

S = TypeVar("S", bound=Settings)


def fields(model: type[Settings]) -> dict[str, FieldInfo]:
    """Return every setting of a command by its dotted key, plain ones first."""
    inner = sections(model)
    found = {name: field for name, field in named_fields(model).items() if name not in inner}
    for name, section in inner.items():
        found |= {f"{name}.{key}": field for key, field in named_fields(section).items()}
    return found


def resolve(
    model: type[S], given: Mapping[str, Any], config: Iterable[str | Path] = (), words: Mapping[str, str] | None = None
) -> S:
    """Return a command's settings: its defaults, the run that is resumed, `config` in order, then what is given.

    Args:
        model: the command's settings.
        given: by name: plain values, whole sections, or dictionaries with a part of a section.
        config: presets and YAML files.
        words: options of the command line by dotted key, as text; they count as given.

    Raises:
        ConfigError: one line that names the source, the key, its value, and what is allowed.
    """
    known = fields(model)
    layers = [_read_layer(model, find_config(str(name), model.command)) for name in config]
    texts = {key: _value(text, known[key]) for key, text in (words or {}).items()}
    if given.get("resume") or texts.get("resume") is True:
        run = _resumed(model, {**given, **texts}, layers, "" if words is None else "--")
        layers.insert(0, _read_layer(model, run, of_run=True))
        texts["out"] = str(run.parent)
    layers.append(Layer("--", texts))
    values = {key: value for layer in layers for key, value in layer.values.items()}
    labels = {key: layer.label for layer in layers for key in layer.values if not _is_given(key, given)}
    merged = _merged(nest(values), given)
    for name in required_settings(model):
        if name not in merged:
            raise ConfigError(f"{name} is missing" if words is None else _missing_word(model, name))
    try:
        return model(**merged)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(labels.get(text.partition(":")[0], "") + text) from None


class Layer(NamedTuple):
    """Settings from one place, by dotted key; `label` stands before a mistake in them."""

    label: str
    values: dict[str, Any]


def _read_layer(model: type[Settings], path: Path, of_run: bool = False) -> Layer:
    """Return the settings of a file.

    A run wrote down all settings of its version (`of_run`, or as its first line says). One that it lacks came later:
    the run is gone on with, or repeated, as it was without.

    Raises:
        ConfigError: it cannot be read, or holds a setting that the command does not have.
    """
    found = flatten(read_config(path))
    known, values = fields(model), dict(model.earlier) if of_run or run_command(path) else {}
    for key, value in found.items():
        if key in model.retired or (key in sections(model) and not value):  # of an older version; an empty section
            continue
        if key not in known:
            where = f"act3d {model.command}"
            raise ConfigError(f"{path}: there is no setting {key!r} in {where}{nearest(key, list(known))}")
        values[key] = _value(value, known[key])
    return Layer(f"{path}: ", values)


def _is_given(key: str, given: Mapping[str, Any]) -> bool:
    section, _, name = key.rpartition(".")
    if not section:
        return key in given
    return section in given and (not isinstance(given[section], Mapping) or name in given[section])


def _merged(nested: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of files with what is given on top: a dictionary changes a section, a model replaces it."""
    for name, value in given.items():
        below = nested.get(name)
        nested[name] = {**below, **value} if isinstance(below, dict) and isinstance(value, Mapping) else value
    return nested


def _missing_word(model: type[Settings], name: str) -> str:
    if name in model.positionals:
        return f"{name.upper()} is missing; see act3d {model.command} --help"
    return f"--{name} is missing"


def _resumed(model: type[Settings], given: Mapping[str, Any], layers: list[Layer], dashes: str) -> Path:
    """Return the config.yaml of the run that is resumed."""
    named = [layer.values["out"] for layer in layers if "out" in layer.values]
    folder = given.get("out", named[-1] if named else default_of(model, "out"))
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{dashes}resume: {folder} holds no run (no config.yaml)")
    other = run_command(path)
    if other not in ("", model.command):
        raise ConfigError(f"{dashes}resume: {folder} is a run of act3d {other}; act3d {other} --resume goes on with it")
    return path


def _value(value: Any, field: FieldInfo) -> Any:
    """Return a value of a file or of the command line by a setting's type; where a list may be counted, a bare number
    stays one."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra.get("counted") and isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return from_text(value, field.annotation)


def from_text(value: Any, hint: Any) -> Any:
    """Return text as a number, a switch or a list where the type asks for one; anything else comes back unchanged.

    YAML reads 1e-3 as text, and the command line reads all values so. Whether they are allowed is checked elsewhere.
    """
    hint = value_type(hint)
    if get_origin(hint) is list and isinstance(value, str):
        value = [item.strip() for item in value.strip("[]").split(",") if item.strip()]
    if get_origin(hint) is list and isinstance(value, list):
        return [from_text(item, get_args(hint)[0]) for item in value]
    if value is None and hint is str:
        return ""
    if hint is str and not isinstance(value, str | bool | dict | list):
        return str(value)  # a folder or a class called 3
    if not isinstance(value, str):
        return value
    try:
        if hint is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[value.strip().lower()]
        return hint(value) if hint in (int, float) else value
    except (ValueError, KeyError):
        return value


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as nested dictionaries."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = value
    return nested
