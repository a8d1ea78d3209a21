"""`act3d predict` with a segmenter of scenes: every point of a scan gets a label, by blocks and votes."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from act3d.errors import Act3dError, ConfigError, InputError

if TYPE_CHECKING:
    from act3d.commands.predict import PredictReport
    from act3d.use.segmenter_predictor import SegmenterPredictor

VOTES = 3


def find_scans(source: str) -> list[Path]:
    """The scans that an INPUT stands for: a file, or all readable files in a folder.

    Raises:
        InputError: nothing there.
    """
    from act3d.readers.by_suffix import READERS

    path = Path(source)
    if path.is_file():
        return [path]
    suffixes = {*READERS, ".las", ".laz"}
    found = sorted(file for file in path.glob("**/*") if file.suffix.lower() in suffixes)
    if not found:
        raise InputError(f"{source} is no scan, and no folder of scans ({', '.join(sorted(suffixes))})")
    return found


def label_scans(
    predictor: "SegmenterPredictor", files: list[Path], up: str | None, batch_size: int, out: str
) -> "PredictReport":
    """Label whole scans and write them as PLY, in their own coordinates.

    Args:
        predictor: A segmenter of scenes; its `meta` knows how rooms were cut and counts in their unit.
        files: Meshes' vertices and point clouds of any format act3d reads, and las, laz.
        up: The files' up axis; z by default, as in the rooms that the model learned from.
        batch_size: Clouds at once.
        out: A .ply file, or a folder.

    Raises:
        ConfigError: `out` is missing.
    """
    from act3d.commands.predict import PredictReport
    from act3d.evaluation.whole_room import segment_room
    from act3d.prepare.user_scenes import read_scan, to_z_up
    from act3d.use.labelled_clouds import write_ply

    if not out:
        raise ConfigError("--out is missing: a .ply file, or a folder for several")
    model, meta = predictor.model, predictor.meta
    names = predictor.names
    report = PredictReport({}, [], [])
    for file in files:
        try:
            points = read_scan(file)
        except Act3dError as error:
            report.failures.append((file.name, str(error)))
            continue
        upright = to_z_up(points, up or "z")
        upright = (upright - upright.min(axis=0)).astype(np.float32)
        block, stride = float(meta.get("block", 1.0)), float(meta.get("stride", 0.5))
        labels = segment_room(
            model, upright, model.classes, int(meta.get("points") or 2048), batch_size, block, stride, VOTES
        )
        path = Path(out) if len(files) == 1 and out.endswith(".ply") else Path(out) / f"{file.stem}.ply"
        report.files.append(write_ply(path, points, labels, names))
        report.labels[file.name] = labels
        numbers, counts = np.unique(labels, return_counts=True)
        share = ", ".join(f"{names[i]} {100 * c / len(labels):.0f} %" for i, c in zip(numbers, counts, strict=True))
        print(f"{path}: {len(labels)} points: {share}")
    return report
