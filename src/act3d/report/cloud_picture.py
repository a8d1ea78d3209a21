"""Pictures of point clouds: small shaded spheres, seen from one side, on a transparent ground."""

import io

import numpy as np
from numpy.typing import ArrayLike, NDArray

from act3d.errors import InputError

# Deep violet to light green: even steps of lightness, readable on white and on black, and without red against green.
RAMP = np.array([[0.36, 0.22, 0.62], [0.23, 0.42, 0.78], [0.10, 0.64, 0.70], [0.45, 0.83, 0.55]])


def render_cloud(
    points: ArrayLike,
    colors: ArrayLike | None = None,
    size: int = 360,
    radius: float = 0.028,
    azimuth: float = 35.0,
    elevation: float = 25.0,
    bounds: tuple[ArrayLike, float] | None = None,
    few_colors: bool = False,
) -> bytes:
    """Return a picture of a cloud (y up) in parallel projection: every point is a small ball, near ones cover far ones.

    Args:
        points: Cloud with shape (N, 3).
        colors: RGB with shape (N, 3) in [0, 1]; by default the depth decides: near is light.
        size: Width and height of the picture in pixels.
        radius: Of a ball, in units of half the picture's width.
        azimuth, elevation: Direction from the cloud to the viewer, in degrees.
        bounds: Centre (3,) and half width of what is shown, as `view_bounds` gives; by default the cloud's own.
        few_colors: Round to 64 colours: a third of the bytes, for pages that hold many pictures.

    Returns:
        A PNG file with transparency.

    Raises:
        InputError: not (N, 3), empty, or not finite.
    """
    return _png(cloud_image(points, colors, size, radius, azimuth, elevation, bounds), few_colors)


def cloud_image(
    points: ArrayLike,
    colors: ArrayLike | None = None,
    size: int = 360,
    radius: float = 0.028,
    azimuth: float = 35.0,
    elevation: float = 25.0,
    bounds: tuple[ArrayLike, float] | None = None,
) -> NDArray[np.float64]:
    """Return what `render_cloud` draws as RGBA (size, size, 4) in [0, 1]; arguments and errors as there."""
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or not len(cloud) or not np.isfinite(cloud).all():
        raise InputError(f"a picture needs finite points with shape (N, 3), N > 0; got {cloud.shape}")
    center, half = view_bounds(cloud) if bounds is None else bounds
    seen = (cloud - np.asarray(center)) @ _camera(azimuth, elevation).T / max(half, 1e-12)
    depth = (seen[:, 2] - seen[:, 2].min()) / max(float(np.ptp(seen[:, 2])), 1e-12)
    rgb = depth_colors(depth) if colors is None else np.asarray(colors, dtype=np.float64)
    if rgb.shape != cloud.shape:
        raise InputError(f"colors must have the points' shape {cloud.shape}; got {rgb.shape}")
    # Rendered at twice the size, then averaged: smooth edges.
    return _halve(_splat(seen, rgb, 2 * size, radius))


def view_bounds(*clouds: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Centre (3,) and half width that show all of these clouds, from any side, with a little room around."""
    joined = np.concatenate([np.asarray(cloud, dtype=np.float64).reshape(-1, 3) for cloud in clouds])
    center = (joined.min(axis=0) + joined.max(axis=0)) / 2
    return center, 1.04 * float(np.linalg.norm(joined - center, axis=1).max())


def depth_colors(depth: ArrayLike) -> NDArray[np.float64]:
    """RGB (N, 3) for depth in [0, 1], 1 nearest: deep violet to light green, readable on white and on black."""
    return ramp_colors(depth)


def ramp_colors(share: ArrayLike, stops: NDArray[np.float64] = RAMP) -> NDArray[np.float64]:
    """RGB (N, 3) of shares (N,) in [0, 1] of the way along evenly spaced stops (K, 3)."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(np.asarray(share), at, stops[:, i]) for i in range(3)], axis=-1)


def _camera(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """Rotation (3, 3): rows are the picture's right, up, and the direction towards the eye."""
    a, e = np.radians(azimuth), np.radians(elevation)
    eye = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    return np.stack([right, np.cross(eye, right), eye])


def _splat(seen: NDArray[np.float64], rgb: NDArray[np.float64], size: int, radius: float) -> NDArray[np.float64]:
    """RGBA (size, size, 4) with a depth buffer: each point stamps a lit half ball."""
    reach = max(int(np.ceil(radius * size / 2)), 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] / reach
    bulge = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    inside = bulge > 0
    # Light from the upper left behind the eye; the floor keeps the dark side readable.
    light = 0.55 + 0.5 * np.clip((-0.45 * x - 0.55 * y + 0.7 * bulge), 0, None)
    # A margin of one ball around the picture, cut off at the end, so that no stamp has to be clipped.
    image = np.zeros((size + 2 * reach, size + 2 * reach, 4))
    nearest = np.full(image.shape[:2], -np.inf)
    column = np.round((seen[:, 0] + 1) / 2 * (size - 1)).astype(int)
    row = np.round((1 - seen[:, 1]) / 2 * (size - 1)).astype(int)
    for point in np.flatnonzero((column >= 0) & (column < size) & (row >= 0) & (row < size)):
        r, c = row[point], column[point]
        here = (slice(r, r + 2 * reach + 1), slice(c, c + 2 * reach + 1))
        z = seen[point, 2] + radius * bulge
        wins = inside & (z > nearest[here])
        nearest[here][wins] = z[wins]
        image[here][wins, :3] = np.clip(rgb[point] * light[wins, None], 0, 1)
        image[here][wins, 3] = 1
    return image[reach:-reach, reach:-reach]


def _halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average 2x2 pixels; colours count by their opacity, so that edges do not darken."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    blocks = image.reshape(height, 2, width, 2, 4)
    alpha = blocks[..., 3:].mean(axis=(1, 3))
    color = (blocks[..., :3] * blocks[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-9)
    return np.concatenate([color, alpha], axis=-1)


def _png(image: NDArray[np.float64], few_colors: bool) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    picture = Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8), "RGBA")
    if few_colors:
        picture = picture.quantize(64, method=Image.Quantize.FASTOCTREE)
    about, buffer = PngInfo(), io.BytesIO()
    about.add_text("Software", "act3d")
    picture.save(buffer, "PNG", pnginfo=about, optimize=True)
    return buffer.getvalue()
