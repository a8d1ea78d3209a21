"""Whole scans, by a segmenter of scenes: every point gets a label, by blocks and votes."""

import glob
from pathlib import Path

from act3d.errors import InputError
from act3d.progress import Progress
from act3d.readers.by_suffix import READERS
from act3d.readers.find import find_files
from act3d.readers.guarded import Lost, limits_for, read_one
from act3d.readers.labelled import read_scan
from act3d.use.labelled_clouds import write_ply
from act3d.use.predictions import Predictions, ply_paths
from act3d.use.segmenter_predictor import SegmenterPredictor

SUFFIXES = (*READERS, ".las", ".laz")


def find_scans(source: str) -> list[Path]:
    """The scans of an INPUT: a file, all readable files in a folder, or those of a pattern.

    Raises:
        InputError: nothing there.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = find_files(path, SUFFIXES).files
    else:
        places = map(Path, sorted(set(glob.glob(source, recursive=True))))
        found = [file for file in places if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not found:
        raise InputError(f"{source} is no scan, and no folder of scans ({', '.join(sorted(SUFFIXES))})")
    return found


def label_scans(
    predictor: SegmenterPredictor, files: list[Path], up: str = "auto", batch_size: int = 16, out: str = ""
) -> Predictions:
    """Label whole scans and write them as PLY, in their own coordinates.

    Args:
        predictor: A segmenter of scenes.
        files: Meshes' vertices and point clouds of any format act3d reads, and las, laz.
        up: The files' up axis; "auto" = what a file says, else z, as in the rooms that the model learned from.
        batch_size: Clouds at once.
        out: A .ply file, or a folder.

    Raises:
        ConfigError: `out` is missing.
    """
    report = Predictions()
    silent: set[str] = set()
    paths = ply_paths([str(file.resolve()) for file in files], out)
    with Progress(len(files), text="labelling", unit="scans") as progress:
        for file, path in zip(files, paths, strict=True):
            scan = read_one(read_scan, file, limits_for(file))
            if isinstance(scan, Lost):
                report.fail(file.name, scan.reason)
            else:
                axis = (scan.up or "z") if up == "auto" else up
                if up == "auto" and not scan.up and file.suffix not in silent:  # what is inferred is said once
                    silent.add(file.suffix)
                    taken = "z is taken, as in rooms (else --up x, y or z)"
                    progress.say(f"act3d: {file.suffix} files do not say which axis is up: {taken}")
                labels = predictor.segment_scan(scan.points, axis, batch_size)
                report.files.append(write_ply(path, scan.points, labels, predictor.names))
                report.labels[str(file)] = labels
            progress.advance()
    return report
