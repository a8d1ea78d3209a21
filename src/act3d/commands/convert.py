"""`act3d convert`: a released checkpoint as a native one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act3d import checkpoints
from act3d.data.reading import read_lines
from act3d.errors import ConfigError
from act3d.lines import say
from act3d.models.few_weights import merge_lora
from act3d.settings.command import command
from act3d.settings.using import ConvertSettings


@dataclass
class ConvertReport:
    """What `convert` wrote, and what of the released file it has no use for, or lacked."""

    out: Path
    kind: str
    left_over: list[str]
    missing: list[str]


@command
def convert(settings: ConvertSettings) -> ConvertReport:
    """Write any checkpoint that act3d reads as one native file, which says what it is and needs nothing else.

    Low-rank updates of transfer lora are put into the weights.

    Returns:
        What was written, left over and missing.

    Raises:
        CheckpointError: the file cannot be read, or covers less than an encoder.
    """
    checkpoint, out = settings.checkpoint, settings.out
    if not out.endswith(".safetensors"):
        raise ConfigError(f"out: {out} must end in .safetensors")
    loaded = checkpoints.load(checkpoint, base=settings.base or None)
    model, meta = loaded.model if settings.difference_from else merge_lora(loaded.model), dict(loaded.meta)
    names = _names(settings.classes)
    expected = getattr(model, "classes", None)
    if names and len(names) != expected:
        raise ConfigError(f"classes: {len(names)} names for {expected or 'no'} classes")
    if settings.patches:
        _set_patches(model, settings.patches, settings.points or meta.get("points"))
    meta |= {k: v for k, v in {"classes": names, "licence": settings.licence, "points": settings.points}.items() if v}
    if settings.difference_from:
        path, _ = checkpoints.save_difference(model, out, meta, settings.difference_from, checkpoints.load)
    else:
        path = checkpoints.save(model, out, meta)
    left_over, missing = loaded.left_over, loaded.missing
    beside = f", beside {settings.difference_from}" if settings.difference_from else ""
    say(f"{path}: {model.kind}, {path.stat().st_size / 1e6:.2f} MB{beside}")
    for what, found in (("left over in the file", left_over), ("missing, random numbers in their place", missing)):
        if found:
            say(f"{len(found)} tensors {what}: {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}")
    return ConvertReport(path, model.kind, left_over, missing)


def _set_patches(model: Any, patches: int, points: int | None) -> None:
    if points and patches > points:
        raise ConfigError(f"patches: {patches} are more than the {points} points a cloud that the model takes")
    model.patches = model.config["patches"] = patches


def _names(classes: str) -> list[str]:
    path = Path(classes)
    if classes and path.is_file():
        return read_lines(path)
    return [name.strip() for name in classes.split(",") if name.strip()]
