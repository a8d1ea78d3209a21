"""Named settings that ship with act3d: YAML files that hold only what differs from a command's defaults."""

import re
from pathlib import Path
from typing import Any

from act3d.errors import ConfigError

FOLDER = Path(__file__).parent
MOST_VALUES = 100_000
RUN_HEADER = "All settings of this run. Again: act3d"  # begins a run's config.yaml, before the command


def preset_names(command: str = "") -> list[str]:
    """Return the names of all presets, such as "act/pretrain"; those of one command if it is given."""
    names = (path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml"))
    return sorted(name for name in names if not command or name.rsplit("/", 1)[-1].split("-")[0] == command)


def find_config(name: str, command: str = "") -> Path:
    """Return the file that `--config` means: a file on disk, else a preset.

    Raises:
        ConfigError: neither; lists the presets.
    """
    path = Path(name)
    if path.is_file():
        return path
    preset = FOLDER / f"{name.removesuffix('.yaml')}.yaml"
    if name.removesuffix(".yaml") in preset_names():
        return preset
    shown = ", ".join(preset_names(command) or preset_names())
    raise ConfigError(f"--config: {name!r} is neither a file nor a preset; presets: {shown}")


def read_config(path: Path) -> dict[str, Any]:
    """Return a settings file as nested dictionaries.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is not a mapping.
    """
    try:
        content = load_yaml(path)
    except OSError as error:
        raise ConfigError(f"--config: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"--config: {path} {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config: {path} must hold settings by name, not a {type(content).__name__}")
    return content


def run_command(config: Path) -> str:
    """Return the command whose run wrote a config.yaml, as its first line says; "" where it does not."""
    with config.open("rb") as file:
        found = re.match(rf"# {re.escape(RUN_HEADER)} (\S+)", file.readline(1000).decode(errors="replace"))
    return found[1] if found else ""


def load_yaml(path: Path) -> Any:
    """Return what a YAML file in UTF-8 or UTF-16 holds.

    Raises:
        ValueError: it is not YAML, or its references to other places of the file never end or make too much of it.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_bytes())
        _size(content, {})
    except (yaml.YAMLError, RecursionError, TypeError) as error:  # TypeError: a list as the name of a setting
        where = getattr(error, "problem_mark", None)
        raise ValueError(f"is not valid YAML{f' (line {where.line + 1})' if where is not None else ''}") from None
    return content


def _size(value: Any, known: dict[int, int]) -> int:
    """Return how many values there are when every reference is written out; `known` says 0 of what is being counted."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 0
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    if not 0 < known[id(value)] <= MOST_VALUES:
        raise ValueError("is no settings file: its references never end, or stand for too many values")
    return known[id(value)]


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted keys: {"data": {"root": x}} -> {"data.root": x}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat
