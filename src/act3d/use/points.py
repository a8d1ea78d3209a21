"""Points as users give them (tensors, arrays, files, lists of these) into tensors that a model takes.

Arrays and tensors are taken as they are: in the frame the model was trained in (y up, usually in the unit sphere).
Files are transformed into that frame first, as the model's training data were (`read_points`).
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from act3d.channels import missing_line, width_of
from act3d.errors import InputError
from act3d.files import printable
from act3d.geometry import Patches, patchify
from act3d.geometry.checks import check_points

if TYPE_CHECKING:
    from act3d.readers.by_suffix import Sample

Cloud: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str]"
Points: TypeAlias = "Cloud | Sequence[Cloud]"
Mask: TypeAlias = "Tensor | np.ndarray[Any, Any]"


class Target(Protocol):
    """The target of points: the device and precision of tensors, what its points have beside x, y, z, and a
    function that reads a file as a cloud (N, 3 + F)."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def channels(self) -> Sequence[str]: ...

    def read(self, path: str | os.PathLike[str]) -> Tensor: ...


class Group(NamedTuple):
    """Clouds of one size: their places in what was given, and points (b, N, 3)."""

    places: list[int]
    points: Tensor


def read_points(
    path: str | os.PathLike[str],
    meta: Mapping[str, Any] | None = None,
    count: int = 1024,
    up: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Read a mesh or a point cloud and bring it into the frame that a model was trained in.

    Args:
        path: A file of any format that `act3d prepare` reads.
        meta: Facts of a checkpoint: its `source_up`, `scale` and `normalization` are applied.
        count: Points to take: spread over a mesh's surface by area, or drawn from a cloud.
        up: The file's up axis, x, y or z; by default as in the model's training files of this format, else what the
            file says, else y.
        seed: Of the choice of points.

    Returns:
        Tensor with shape (count, 3), float32.

    Warns:
        UserWarning: The file does not say which axis is up, or which columns are x, y and z, so that one is taken.

    Raises:
        InputError: The file cannot be read, or no points can be taken from it; names the file.
    """
    points, notes = read_with_notes(path, meta or {}, count, up, seed)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return points


def read_with_notes(
    path: str | os.PathLike[str], meta: Mapping[str, Any], count: int, up: str | None = None, seed: int = 0
) -> tuple[Tensor, list[str]]:
    """Read a file as `read_points` does, and say what was inferred; see `in_training_frame`."""
    from act3d.readers.by_suffix import read_sample
    from act3d.readers.guarded import Lost, limits_for, read_one

    read = partial(read_sample, count=count, seed=seed, channels=tuple(meta.get("channels") or ()))
    found = read_one(read, Path(path), limits_for(path))
    if isinstance(found, Lost):
        raise InputError(f"{printable(path)}: {found.reason}")
    return in_training_frame(found, Path(path), meta, up, 'up="x", "y" or "z"')


def in_training_frame(
    sample: "Sample", path: Path, meta: Mapping[str, Any], up: str | None = None, asking: str = "--up x, y or z"
) -> tuple[Tensor, list[str]]:
    """Bring points of a file into the frame that a model was trained in.

    Args:
        sample: As `read_sample` gives it, in the file's own coordinates.
        path: The file; its suffix counts where the file does not say which axis is up.
        meta, up: See `read_points`.
        asking: How the user says which axis is up.

    Returns:
        Points (count, 3) float32, and lines that say what was inferred of files of this suffix.
    """
    from act3d.data.transforms import prepare_cloud
    from act3d.readers.up_axis import choose_up, rotation_to_y_up, to_y_up, up_note

    axis = choose_up(path.suffix, sample.up, meta, up)
    turned_from = "" if axis.by == "file" else sample.turned_from
    notes = [up_note(axis, path.suffix, asking), f"{path.suffix} files: {sample.note}" if sample.note else ""]
    points = prepare_cloud(to_y_up(sample.points, axis.axis, turned_from), meta, up="y")
    channels = tuple(meta.get("channels") or ())
    if channels:
        assert sample.beside is not None
        beside = sample.beside.copy()
        if "normal" in channels:
            upright = rotation_to_y_up(meta.get("up") or "y")
            beside[:, :3] = to_y_up(beside[:, :3], axis.axis, turned_from) @ upright
        points = torch.cat([points, torch.from_numpy(beside).float()], dim=1)
        missing = [name for name in channels if name not in sample.known]
        notes.append(missing_line(missing, f"a {path.suffix} file") if missing else "")
    return points, [note for note in notes if note]


def extents_of(
    sample: "Sample", path: Path, meta: Mapping[str, Any], up: str | None = None
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Width (x), height (y, along the up axis) and depth (z) of a file's shape (3,), in the file's own units."""
    from act3d.readers.up_axis import choose_up, to_y_up

    axis = choose_up(path.suffix, sample.up, meta, up)
    box = np.stack([sample.points.min(axis=0), sample.points.max(axis=0)]) if sample.box is None else sample.box
    turned = to_y_up(box, axis.axis, "" if axis.by == "file" else sample.turned_from)
    return np.ptp(turned, axis=0).astype(np.float32)


def is_single(points: Points) -> bool:
    """Whether this is one cloud: a path, or an array or tensor (N, 3)."""
    given: Any = _unlisted(points)
    return isinstance(given, str | os.PathLike) or (not isinstance(given, list | tuple) and given.ndim == 2)


def as_groups(points: Points, target: Target, at_least: int = 1) -> list[Group]:
    """Points in any form, as batches of equal size on the target's device and in its precision.

    Args:
        points: Tensor or array with shape (N, 3) or (B, N, 3); a path; or a list of clouds (N, 3) and paths.
        target: Where the tensors go, and who reads files.
        at_least: Points of a smaller cloud are repeated, in order, up to this many.

    Raises:
        InputError: Another shape, an empty cloud, coordinates that are not finite.
    """
    clouds: list[Tensor] = []
    points = _unlisted(points)
    if isinstance(points, list | tuple):
        if not points:
            raise InputError("points is an empty list; expected at least one cloud")
        clouds = [_cloud(item, target, f"points[{i}]") for i, item in enumerate(points)]
    else:
        whole = _tensor(points, target, "points")
        if whole.ndim == 3:
            whole = _complete(whole, target)
            check_points(whole[..., :3] if target.channels else whole)
            return [Group(list(range(len(whole))), _filled(whole.to(target.device, target.dtype), at_least))]
        clouds = [_cloud(whole, target, "points")]
    by_size: dict[int, list[int]] = {}
    for place, cloud in enumerate(clouds):
        by_size.setdefault(len(cloud), []).append(place)
    return [
        Group(places, _filled(torch.stack([clouds[i].to(target.device, target.dtype) for i in places]), at_least))
        for places in by_size.values()
    ]


def as_patches(points: Points, target: Target, patches: int, patch_size: int) -> Patches:
    """Points in any form, cut into patches: one batch, since these do not depend on the clouds' sizes.

    Returns:
        Patches with (B, G, M, 3) neighborhoods and (B, G, 3) centers, in the order given.
    """
    groups = as_groups(points, target, max(patches, patch_size))
    cut = [_cut(group.points, patches, patch_size) for group in groups]
    if len(cut) == 1:
        return cut[0]
    order = torch.tensor([place for group in groups for place in group.places]).argsort()
    neighborhoods, centers = (torch.cat(parts)[order.to(parts[0].device)] for parts in zip(*cut, strict=True))
    return Patches(neighborhoods, centers)


def _cut(points: Tensor, patches: int, patch_size: int) -> Patches:
    if points.shape[-1] == 3:
        return patchify(points, patches, patch_size)
    return patchify(points[..., :3].contiguous(), patches, patch_size, beside=points[..., 3:])


def as_mask(mask: Mask, patches: Patches) -> Tensor:
    """A mask given as Tensor or array (B, G), or (G,) for one cloud, on the patches' device; its values unchecked."""
    given = torch.as_tensor(mask, device=patches.centers.device)
    return given[None] if given.ndim == 1 else given


def per_point(
    points: Points, target: Target, at_least: int, function: Callable[[Tensor, list[int]], Tensor]
) -> Tensor | list[Tensor]:
    """Run a function that gives a value for every point, on points in any form.

    Args:
        function: Points (b, N, 3) and the places of these clouds in what was given -> (b, N, ...).

    Returns:
        Tensor (B, N, ...); for a list of clouds of different sizes a list of Tensors (N_i, ...).
    """
    groups = as_groups(points, target)
    results: dict[int, Tensor] = {}
    for places, group in groups:
        given = group.shape[1]
        output = function(_filled(group, at_least), places)[:, :given]
        if len(groups) == 1:
            return output
        results |= dict(zip(places, output, strict=True))
    return [results[i] for i in range(len(results))]


def _unlisted(points: Any) -> Any:
    """Nested lists of numbers as an array; everything else unchanged."""
    if not isinstance(points, list | tuple) or any(
        isinstance(p, Tensor | np.ndarray | str | os.PathLike) for p in points
    ):
        return points
    try:
        array = np.asarray(points)
    except ValueError:  # clouds of different sizes
        return points
    return array if array.ndim >= 2 and array.dtype.kind in "fiu" else points


def _cloud(item: Any, target: Target, name: str) -> Tensor:
    """One cloud (N, 3), checked."""
    cloud = _tensor(item, target, name)
    cloud = _complete(cloud, target)
    width = 3 + width_of(target.channels)
    if cloud.ndim != 2 or cloud.shape[1] != width:
        raise InputError(
            f"{name} has shape {tuple(cloud.shape)}; expected (N, {width}) or (B, N, {width}), "
            f"or a list of (N, {width})"
        )
    check_points(cloud[None, :, :3], name)
    return cloud


def _complete(cloud: Tensor, target: Target) -> Tensor:
    """Add channels that a model was trained with, as not known, to points (..., 3) that have none; warns of it."""
    if not target.channels or cloud.shape[-1] != 3:
        return cloud
    warnings.warn(missing_line(list(target.channels), "an array of x, y and z"), stacklevel=3)
    return torch.cat([cloud, cloud.new_zeros(*cloud.shape[:-1], width_of(target.channels))], dim=-1)


def _tensor(item: Any, target: Target, name: str) -> Tensor:
    if isinstance(item, str | os.PathLike):
        return target.read(item)
    if isinstance(item, Tensor):
        return item if item.is_floating_point() else item.float()
    try:
        array = np.asarray(item)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"dtype {array.dtype}")
        # A copy: torch would warn of arrays that cannot be written to, such as those of a memory map.
        return torch.from_numpy(np.array(array, dtype=np.float64 if array.dtype == np.float64 else np.float32))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array of numbers ({error}); expected (N, 3) or (B, N, 3)") from None


def _filled(points: Tensor, at_least: int) -> Tensor:
    """Repeat points (B, N, 3) in order until there are `at_least`."""
    if points.shape[1] >= at_least:
        return points
    return points[:, torch.arange(at_least, device=points.device) % points.shape[1]]
