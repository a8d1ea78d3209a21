"""Clouds that a reader of a page can turn: points as base64 integers beside a still picture, drawn by `viewer.js`."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError
from act3d.report.cloud_picture import RAMP, ramp_colors, render_cloud, view_bounds
from act3d.report.page import render

FINE = 12_000  # points from which one byte a number would show as steps


@dataclass(frozen=True)
class Coloring:
    """The colours of a cloud's points.

    Attributes:
        values: (N,) one byte a point; None = by height, or a single colour if the palette holds one.
        palette: RGB (K, 3) uint8; value v is row v, or, with `ramp`, lies v / 255 of the way from first to last row.
        ramp: See `palette`.
    """

    values: NDArray[np.uint8] | None
    palette: NDArray[np.uint8]
    ramp: bool = False

    def rgb(self, points: ArrayLike) -> NDArray[np.float64]:
        """RGB (N, 3) in [0, 1] of points (N, 3), as the viewer shows them."""
        height = np.asarray(points, dtype=np.float64)[:, 1]
        if self.values is None or self.ramp:
            share = (height - height.min()) / max(float(np.ptp(height)), 1e-12) if self.values is None else (
                self.values / 255
            )  # fmt: skip
            return ramp_colors(share, self.palette / 255)
        return self.palette[np.minimum(self.values, len(self.palette) - 1)] / 255


BY_HEIGHT = Coloring(None, (255 * RAMP).round().astype(np.uint8))


def by_label(labels: ArrayLike, colors: ArrayLike) -> Coloring:
    """Colour every point by its label (N,): row `label` of colours (K, 3) uint8, K at most 255; grey for -1."""
    ids, palette = np.asarray(labels, dtype=np.int64), np.asarray(colors, dtype=np.uint8)
    if len(palette) > 255 or (len(ids) and (ids.max() >= len(palette) or ids.min() < -1)):
        raise InputError(f"labels must lie in -1 to {len(palette) - 1}, and there can be 255 of them at most")
    return Coloring(
        np.where(ids < 0, len(palette), ids).astype(np.uint8),
        np.concatenate([palette, [[136, 136, 136]]]).astype(np.uint8),
    )


def by_value(values: ArrayLike, low: float, high: float) -> Coloring:
    """Colour every point by a number (N,), from dark violet at `low` to light green at `high`."""
    share = (np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12)
    return Coloring((255 * np.clip(share, 0, 1)).round().astype(np.uint8), BY_HEIGHT.palette, ramp=True)


def one_color(rgb: Sequence[int]) -> Coloring:
    """Give all points one colour (3,) uint8, such as that of the shape's class."""
    return Coloring(None, np.array([rgb], dtype=np.uint8))


def encode(points: ArrayLike, bounds: tuple[ArrayLike, float] | None = None) -> dict[str, str]:
    """Return a cloud's attributes for the viewer: "p", base64 of whole numbers, and "w", "1" where they have two bytes.

    Args:
        points: (N, 3), y up.
        bounds: Centre (3,) and half width of what is shown, as `view_bounds` gives; by default the cloud's own.

    Raises:
        InputError: not (N, 3), empty, or not finite.
    """
    whole = whole_numbers(points, bounds)
    text = base64.b64encode(whole.tobytes()).decode("ascii")
    return {"p": text} if whole.dtype == np.int8 else {"p": text, "w": "1"}


def whole_numbers(points: ArrayLike, bounds: tuple[ArrayLike, float] | None = None) -> NDArray[np.int8 | np.int16]:
    """Return a cloud (N, 3) as the viewer takes it: whole numbers of one byte, of two where one would show as steps.

    Arguments and errors as for `encode`.
    """
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not len(cloud) or not np.isfinite(cloud).all():
        raise InputError(f"a view needs finite points with shape (N, 3), N > 0; got {cloud.shape}")
    center, half = view_bounds(cloud) if bounds is None else bounds
    unit, kind = (32767, "<i2") if len(cloud) > FINE else (127, "i1")
    return np.clip(np.round((cloud - np.asarray(center)) / max(half, 1e-12) * unit), -unit, unit).astype(kind)


def point_radius(count: int) -> float:
    """Radius of a point that lets `count` points cover a shape, in units of half the picture's width."""
    return float(np.clip(0.028 * (1024 / count) ** 0.4, 0.006, 0.05))


def view(
    points: ArrayLike,
    label: str,
    coloring: Coloring = BY_HEIGHT,
    bounds: tuple[ArrayLike, float] | None = None,
    radius: float | None = None,
    still: int = 180,
) -> Markup:
    """Return a cloud that can be turned, with a still picture for print and for readers without scripts.

    Args:
        points: (N, 3), y up.
        label: What it shows, for the alternative text and the title of the enlarged view.
        coloring: Colours of the points; by default their height decides.
        bounds: As for `encode`.
        radius: Of a point, in units of half the picture's width; by default by the number of points.
        still: Width and height of the still picture in pixels.
    """
    cloud = np.asarray(points)
    data = encode(cloud, bounds)
    size = point_radius(len(cloud)) if radius is None else radius
    if coloring.values is not None:
        data |= {"v": base64.b64encode(coloring.values.astype(np.uint8).tobytes()).decode("ascii")}
    if coloring is not BY_HEIGHT and not (coloring.ramp and np.array_equal(coloring.palette, BY_HEIGHT.palette)):
        data |= {"k": coloring.palette.tobytes().hex()}
    if coloring.ramp:
        data |= {"m": "1"}
    picture = render_cloud(cloud, coloring.rgb(cloud), still, max(size, 0.02), bounds=bounds, few_colors=True)
    return render("view.html", label=label, data=data | {"r": f"{size:.3g}"}, picture=picture)


@dataclass(frozen=True)
class Card:
    """Views side by side that turn together, with what they are.

    Attributes:
        title, remark: Below the views.
        views: (caption, what `view` returned) each.
        mark: "right" or "wrong" where the shape answers a question, else "".
        place: File or other long name, cut short where there is no room.
    """

    title: str
    remark: str
    views: Sequence[tuple[str, Markup]]
    mark: str = ""
    place: str = ""

    @property
    def text(self) -> str:
        """What the filter box of a page looks through."""
        return f"{self.title} {self.remark} {self.place}"
