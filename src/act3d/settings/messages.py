"""Descriptions of settings, and messages about mistakes in them: always one line."""

import difflib
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from act3d.errors import ConfigError

SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}


def first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first of pydantic's errors as one line that names key, value and what is allowed."""
    found = error.errors(include_url=False)[0]
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # from a check of ours, which says all of this already
        return str(cause)
    name = str(found["loc"][0]) if found["loc"] else ""
    section = getattr(model, "section", "")
    key, value = f"{section}.{name}" if section else name, found["input"]
    if found["type"] == "missing":
        return f"{key} is missing"
    known = named_fields(model)
    if name not in known:
        keys = [f"{section}.{item}" if section else item for item in known]
        return f"there is no setting {key!r}{nearest(key, keys)}"
    field = known[name]
    if found["type"] in OUT_OF_BOUNDS:
        return f"{key}: {value} is out of bounds; it must be {bounds_text(field) or 'finite'}"
    return f"{key}: {value!r} is not allowed; it must be {type_text(field.annotation)}"


def named_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the names that users write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def required_settings(model: type[BaseModel]) -> list[str]:
    """Return the names of settings that have no default."""
    return [name for name, field in named_fields(model).items() if field.is_required()]


def describe(field: FieldInfo) -> str:
    """Return a setting's help with its unit and bounds, as the command line shows it."""
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    parts = [part for part in (unit, bounds_text(field)) if part]
    return (field.description or "") + (f" [{', '.join(parts)}]" if parts else "")


def bounds_text(field: FieldInfo) -> str:
    """Return bounds as words a user can read: ">= 1, < 2"; of a list, those of its items."""
    found = [(name, item) for item in metadata_of(field) for name in SIGNS if hasattr(item, name)]
    return ", ".join(f"{SIGNS[name]} {getattr(item, name):g}" for name, item in found)


def metadata_of(field: FieldInfo) -> Iterable[Any]:
    """Yield bounds and marks of a setting; of a list, those of its items as well."""
    yield from field.metadata
    for hint in get_args(field.annotation):
        if get_origin(hint) is Annotated:
            for item in get_args(hint)[1:]:
                yield from item.metadata if isinstance(item, FieldInfo) else [item]


def value_type(hint: Any) -> Any:
    """Return a type without its bounds and without the None that stands for "not given"."""
    if get_origin(hint) is Annotated:
        return value_type(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return next(value_type(part) for part in get_args(hint) if part is not type(None))
    return hint


def type_text(hint: Any) -> str:
    """Return a type in words: "a number", "one of eval, released"."""
    hint = value_type(hint)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is list:
        return f"a list, each item {type_text(get_args(hint)[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint) or f"a {getattr(hint, '__name__', hint)}"


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """Return "; did you mean X?" for the known name most like `name`, or nothing when none is alike."""
    # A user who forgets the section writes `--lr` for `--optim.lr`: the last part alone may be what matches.
    tails = [item for item in known if item.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6) if len(tails) != 1 else tails
    return f"; did you mean {prefix}{found[0]}?" if found else ""
