"""Transforms of clouds between the disk and the model: turning upright, scaling, augmenting.

All functions take a batch of points with shape (B, N, 3) on any device. Inference uses the training preprocessing
(`prepare_cloud`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act3d.channels import WIDTHS
from act3d.data.frames import NORMALIZATIONS, UP_AXES, rotation_to_y_up
from act3d.errors import ConfigError, InputError

Augmentation = Callable[[Tensor], Tensor]


def unit_sphere_of(points: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (B, 1, 3) and scale (B, 1, 1) that carry `points` (B, N, 3) into the unit sphere.

    The centre is the mean of the points and the scale the largest distance from it, as ShapeNet-55 and ModelNet40 are
    treated. A cloud whose points all coincide gets scale 1.
    """
    center = points.mean(dim=1, keepdim=True)
    scale = (points - center).square().sum(dim=2, keepdim=True).amax(dim=1, keepdim=True).sqrt()
    return center, torch.where(scale > 0, scale, torch.ones_like(scale))


def normalize_unit_sphere(points: Tensor) -> Tensor:
    """Centre each cloud of `points` (B, N, 3) at its mean and scale it so that the farthest point has distance 1."""
    center, scale = unit_sphere_of(points)
    return (points - center) / scale


def normalize(points: Tensor, how: str) -> Tensor:
    """Apply the normalization named `how` ("unit_sphere" or "none") to `points` (B, N, 3); channels stay."""
    if points.shape[-1] > 3:
        return torch.cat([normalize(points[..., :3], how), points[..., 3:]], dim=-1)
    if how == "unit_sphere":
        return normalize_unit_sphere(points)
    if how == "none":
        return points
    raise InputError(f"normalization {how!r} is not known; allowed: {', '.join(NORMALIZATIONS)}")


def prepare_cloud(
    points: "np.ndarray | Tensor",
    meta: Mapping[str, Any],
    *,
    up: str | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Bring one raw cloud into the frame that a dataset's clouds were trained in.

    Args:
        points: Raw coordinates with shape (N, 3 or more); further columns are ignored.
        meta: What the dataset declared (`dataset.meta`, also kept in checkpoints): `source_up`, `scale`,
            `normalization`, `offset` (what was taken off its coordinates because they are far from zero), and `up`, the
            axis along which its own clouds stand: y, of rooms z.
        up: The raw cloud's up axis; by default the one that the dataset's source had.
        count: How many points to keep, chosen at random by `seed`; all by default.
        seed: Seed of that choice.

    Returns:
        Tensor with shape (count, 3), float32, upright and normalized as the dataset is.

    Raises:
        InputError: `points` has a wrong shape, too few points, or values that are not finite.
    """
    cloud = torch.as_tensor(points, dtype=torch.float64)
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        raise InputError(f"a cloud must have shape (N, 3 or more), got {tuple(cloud.shape)}")
    cloud = cloud[:, :3]
    if not bool(torch.isfinite(cloud).all()):
        raise InputError("the cloud holds coordinates that are not finite")
    if count is not None:
        if len(cloud) < count:
            raise InputError(f"the cloud has {len(cloud)} points, {count} are needed")
        cloud = cloud[torch.from_numpy(np.random.default_rng(seed).choice(len(cloud), count, replace=False))]
    # A checkpoint keeps None for what its dataset did not declare.
    upright = rotation_to_y_up(up if up is not None else meta.get("source_up") or "y")
    rotation = rotation_to_y_up(meta.get("up") or "y").T @ upright
    cloud = cloud @ torch.from_numpy(rotation).to(cloud.device).T * float(meta.get("scale") or 1.0)
    if meta.get("offset"):
        cloud = cloud - torch.tensor(meta["offset"], dtype=torch.float64, device=cloud.device)
    return normalize(cloud[None], meta.get("normalization") or "unit_sphere")[0].float()


def scale_shift(points: Tensor) -> Tensor:
    """Scale each axis of each cloud by U(2/3, 3/2) and shift it by U(-0.2, 0.2); `points` (B, N, 3)."""
    batch = len(points)
    scale = torch.rand(batch, 1, 3, device=points.device, dtype=points.dtype) * (3 / 2 - 2 / 3) + 2 / 3
    shift = torch.rand(batch, 1, 3, device=points.device, dtype=points.dtype) * 0.4 - 0.2
    return points * scale + shift


def rotate(points: Tensor, up: str = "y") -> Tensor:
    """Turn each cloud of `points` (B, N, 3) about the axis `up` by an angle U(0, 2 pi) of its own."""
    axis = UP_AXES.index(up)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    angle = torch.rand(len(points), 1, device=points.device, dtype=points.dtype) * (2 * math.pi)
    cosine, sine = angle.cos(), angle.sin()
    turned = points.clone()
    turned[..., first] = cosine * points[..., first] - sine * points[..., second]
    turned[..., second] = sine * points[..., first] + cosine * points[..., second]
    return turned


def rotate_x(points: Tensor) -> Tensor:
    """`rotate` about x."""
    return rotate(points, "x")


def rotate_y(points: Tensor) -> Tensor:
    """`rotate` about y, the up axis of every packed dataset."""
    return rotate(points, "y")


def rotate_z(points: Tensor) -> Tensor:
    """`rotate` about z."""
    return rotate(points, "z")


def _none(points: Tensor) -> Tensor:
    return points


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": _none,
    "scale_shift": scale_shift,
    "rotate_x": rotate_x,
    "rotate_y": rotate_y,
    "rotate_z": rotate_z,
}


def augmentation(name: str, channels: Sequence[str] = ()) -> Augmentation:
    """The augmentation called `name`; several in a row are joined by "+", as in "rotate_y+scale_shift".

    Points with channels are moved as those without; their normals turn with them.
    """
    unknown = [part for part in name.split("+") if part not in AUGMENTATIONS]
    if unknown:
        raise ConfigError(f"augmentation {unknown[0]!r} is not known; allowed: {', '.join(AUGMENTATIONS)}, joined by +")
    steps = [AUGMENTATIONS[part] for part in name.split("+")]

    def apply(points: Tensor) -> Tensor:
        for step in steps:
            points = step(points) if not channels else _moved(step, points, "normal" in channels)
        return points

    return apply


def _moved(step: Augmentation, points: Tensor, normals: bool) -> Tensor:
    """Move the coordinates of points (B, N, 3 + F); with `normals`, columns 3 to 5 are normals and turn too."""
    if not normals:
        return torch.cat([step(points[..., :3]), points[..., 3:]], dim=-1)
    # Where the origin and the axes go says what the step is: p -> p A + t. A normal n goes to n A^-T, of length 1.
    axes = torch.eye(4, 3, device=points.device, dtype=points.dtype).roll(1, 0).expand(len(points), 4, 3)
    moved = step(torch.cat([points[..., :3], axes], dim=1))
    linear = moved[:, -3:] - moved[:, -4:-3]
    turned = points[..., 3:6] @ torch.linalg.inv(linear).transpose(1, 2)
    turned = turned / turned.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.cat([moved[:, :-4], turned, points[..., 6:]], dim=-1)


def drop_channels(points: Tensor, channels: Sequence[str], rate: float) -> Tensor:
    """Points (B, N, 3 + F) with each channel of each cloud set to 0, not known, with probability `rate`."""
    kept = torch.rand(len(points), 1, len(channels), device=points.device) >= rate
    widths = torch.tensor([WIDTHS[name] for name in channels], device=points.device)
    return torch.cat([points[..., :3], points[..., 3:] * kept.repeat_interleave(widths, dim=2)], dim=-1)
