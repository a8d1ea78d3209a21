"""A picture of several clouds side by side."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from act3d.report.cloud_picture import render_cloud

COLUMNS = 4
PIXELS = 220  # width and height of one cloud
POINTS = 1200  # shown of each cloud; more takes longer and shows no more at this size


def contact_sheet(
    clouds: Sequence[ArrayLike], titles: Sequence[str], colors: Sequence[ArrayLike] | None = None
) -> bytes:
    """Return a picture of clouds (y up) in rows of four, each with a title and scaled by itself.

    Args:
        clouds: One or more clouds with shape (N, 3).
        titles: One for each; brackets and dollars are shown as they are.
        colors: RGB with shape (N, 3) in [0, 1] for each; by default the depth decides.

    Returns:
        A PNG file on a white ground.

    Raises:
        InputError: A cloud is not (N, 3), empty, or not finite.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    rows = -(-len(clouds) // COLUMNS)
    dpi = 100
    figure = Figure(figsize=(COLUMNS * PIXELS / dpi, rows * (PIXELS + 24) / dpi), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    for place, (cloud, title) in enumerate(zip(clouds, titles, strict=True)):
        points = np.asarray(cloud)
        chosen = np.random.default_rng(0).permutation(len(points))[:POINTS]
        color = None if colors is None else np.asarray(colors[place])[chosen]
        image = imread(io.BytesIO(render_cloud(points[chosen], color, PIXELS, 0.035)), format="png")
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        axes.imshow(image)
        axes.set_title(title, fontsize=8, parse_math=False)
        axes.set_axis_off()
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.93, 0.02, 0.12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "act3d"})
    return buffer.getvalue()
