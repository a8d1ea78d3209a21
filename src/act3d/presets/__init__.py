"""Named settings that ship with act3d: YAML files that hold only what differs from a command's defaults."""

from pathlib import Path
from typing import Any

from act3d.errors import ConfigError

FOLDER = Path(__file__).parent


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
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"--config: {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where is not None else ""
        raise ConfigError(f"--config: {path} is not valid YAML{line}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"--config: {path} must hold settings by name, not a {type(content).__name__}")
    return content


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
