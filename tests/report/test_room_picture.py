import io

import numpy as np
from matplotlib.image import imread

from act3d.report.class_colors import class_colors
from act3d.report.room_picture import render_room


def test_prediction_is_left_truth_is_right_and_the_colours_are_named():
    rng = np.random.default_rng(0)
    points = (rng.uniform(size=(4000, 3)) * [4, 4, 2]).astype(np.float32)
    predicted, truth = np.zeros(4000, dtype=np.int64), np.ones(4000, dtype=np.int64)
    image = imread(io.BytesIO(render_room(points, predicted, truth, ["wall", "chair"], "Area_1_office_1")))
    middle = image[image.shape[0] // 3 : image.shape[0] // 2]
    half = image.shape[1] // 2
    blue, orange = class_colors(["wall", "chair"]) / 255

    def nearer(part: np.ndarray) -> float:
        """Share of coloured pixels that look like the first class rather than the second."""
        pixels = part[..., :3].reshape(-1, 3)
        pixels = pixels[np.ptp(pixels, axis=1) > 0.2]
        unit = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
        return float(np.mean(unit @ (blue / np.linalg.norm(blue)) > unit @ (orange / np.linalg.norm(orange))))

    assert nearer(middle[:, :half]) > 0.95
    assert nearer(middle[:, half:]) < 0.05
    # Words above and below the room: dark pixels on white where no point is.
    assert (image[:40, :, :3].min(axis=2) < 0.3).any()
    assert (image[-45:, :, :3].min(axis=2) < 0.3).any()
    assert (image[..., 3] == 1).all()
