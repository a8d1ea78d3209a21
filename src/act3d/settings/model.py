"""The base of all settings: frozen pydantic models that check themselves; a mistake is one line.

A `Section` is a group of settings such as `optim`; `Settings` are all settings of one command: sections and plain
options. Types are strict: 64.0 is no whole number, 3 no text, 1 not true.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from act3d.errors import ConfigError
from act3d.settings.messages import first_mistake, named_fields
from act3d.settings.places import check_existing


def option(default: Any, help: str, *, unit: str = "", counted: bool = False, **bounds: Any) -> Any:
    """Return a field with its default, meaning, unit and bounds (`ge`, `gt`, `le`, `lt`); `...` = it must be given.

    Of a list that may be `counted`, files and the command line give the length as well.
    """
    extra: Any = ({"unit": unit} if unit else {}) | ({"counted": True} if counted else {}) or None
    return Field(default, description=help, json_schema_extra=extra, **bounds)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)

    section: ClassVar[str] = ""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(first_mistake(error, type(self))) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some values changed; they are checked as all are. It knows which ones were named."""
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        return type(self)(**{**dict(copied), **update})._naming(self.model_fields_set | update.keys())

    def _naming(self, names: Iterable[str]) -> Self:
        """Return these settings, which tell those values that were named (`model_fields_set`) from defaults."""
        object.__setattr__(self, "__pydantic_fields_set__", set(names))
        return self


class Section(_Strict):
    """A group of settings with a name, as in `--optim.lr`.

    Raises:
        ConfigError: on construction; names the key, its value, and what is allowed.
    """

    def __init_subclass__(cls, section: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.section = section or cls.section


class Settings(_Strict):
    """All settings of one command.

    A section given as a dictionary changes the command's own defaults: `data={"root": x}` leaves its batch size alone.

    Raises:
        ConfigError: on construction; names the key, its value, and what is allowed.
    """

    command: ClassVar[str] = ""
    positionals: ClassVar[tuple[str, ...]] = ()  # what the command line takes without a name
    in_place: ClassVar[tuple[str, ...]] = ()  # what Python takes so besides, with a default
    retired: ClassVar[frozenset[str]] = frozenset()  # settings of older versions: files that hold them stay readable
    # What runs of older versions did where their config.yaml lacks a setting, if that is not today's default.
    earlier: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, command: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.command = command or cls.command

    @model_validator(mode="before")
    @classmethod
    def _keep_own_defaults(cls, values: Any) -> Any:
        made = dict(values)
        for name, kind in sections(cls).items():
            if isinstance(made.get(name), Mapping):
                made[name] = cls.model_fields[name].default.model_copy(update=made[name])
            elif isinstance(made.get(name), Section) and issubclass(kind, type(made[name])):
                plainer = made[name]  # of the same name
                made[name] = kind(**dict(plainer))._naming(plainer.model_fields_set)
        return made

    def check_places(self) -> None:
        """Check that the files and folders that are read are there: cheap, and before anything heavy is imported.

        Raises:
            InputError, CheckpointError, ConfigError: names the setting and what is not there.
        """
        resumed = bool(getattr(self, "resume", False))
        for part in (self, *(getattr(self, name) for name in sections(type(self)))):
            prefix = f"{part.section}." if part.section else ""
            for name, field in type(part).model_fields.items():
                check_existing(f"{prefix}{field.alias or name}", getattr(part, name), field.metadata, resumed)


def sections(model: type[Settings]) -> dict[str, type[Section]]:
    """Return a command's sections by name."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}


def default_of(model: type[Settings], key: str) -> Any:
    """Return the command's own default of a setting by its dotted key."""
    section, _, name = key.rpartition(".")
    return getattr(model.model_fields[section].default, name) if section else named_fields(model)[name].default


def to_dict(settings: Settings) -> dict[str, Any]:
    """Return settings as plain containers for YAML and JSON, without those that concern one call only."""
    return settings.model_dump()
