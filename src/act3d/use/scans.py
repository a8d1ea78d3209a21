"""Whole scans, by a segmenter of scenes: every point gets a label, by blocks and votes."""

import glob
from collections.abc import Mapping
from pathlib import Path

from act3d.channel_values import recast
from act3d.channels import missing_line
from act3d.errors import InputError
from act3d.files import printable, unique_names
from act3d.progress import Progress
from act3d.readers.by_suffix import READERS
from act3d.readers.find import find_files
from act3d.readers.guarded import Lost, limits_for, read_one
from act3d.readers.labelled import read_scan
from act3d.readers.up_axis import choose_up, up_note
from act3d.use.labelled_clouds import write_ply
from act3d.use.predictions import Predictions, ply_paths
from act3d.use.segmenter_predictor import SegmenterPredictor
from act3d.use.shapes import common_folder

SUFFIXES = (*READERS, ".las", ".laz")


def find_scans(source: str) -> dict[str, Path]:
    """The scans of an INPUT by name: a file, all readable files in a folder, or those of a pattern.

    Names are printable, no two alike, and hold the folders between the source and the file.

    Raises:
        InputError: nothing there.
    """
    path = Path(source)
    if path.is_file():
        return {printable(path.name): path}
    if path.is_dir():
        root, files = path, find_files(path, SUFFIXES).files
    else:
        places = map(Path, sorted(set(glob.glob(source, recursive=True))))
        files = [file for file in places if file.suffix.lower() in SUFFIXES and file.is_file()]
        root = common_folder(files) if files else path
    if not files:
        raise InputError(f"{source} is no scan, and no folder of scans ({', '.join(sorted(SUFFIXES))})")
    return dict(zip(unique_names(file.relative_to(root) for file in files), files, strict=True))


def label_scans(
    predictor: SegmenterPredictor, scans: Mapping[str, Path], up: str = "auto", batch_size: int = 16, out: str = ""
) -> Predictions:
    """Label whole scans and write them as PLY, in their own coordinates.

    Args:
        predictor: A segmenter of scenes.
        scans: By name; meshes' vertices and point clouds of any format act3d reads, and las, laz.
        up: The files' up axis; "auto" = as in the files that became the training rooms, else what a file says, else z.
        batch_size: Clouds at once.
        out: A .ply file, or a folder.

    Raises:
        ConfigError: `out` is missing.
    """
    report = Predictions()
    said: set[str] = {""}
    meta = {"source_up": "z", **{key: value for key, value in predictor.meta.items() if value is not None}}
    paths = ply_paths(list(scans), out)
    with Progress(len(scans), text="labelling", unit="scans") as progress:
        for (name, file), path in zip(scans.items(), paths, strict=True):
            scan = read_one(read_scan, file, limits_for(file))
            if isinstance(scan, Lost):
                report.fail(name, scan.reason)
            else:
                axis = choose_up(file.suffix, scan.up, meta, None if up == "auto" else up)
                notes = [up_note(axis, file.suffix), "of meshes the vertices are labelled" if scan.of_mesh else ""]
                notes.append(f"{file.suffix} files: {scan.note}" if scan.note else "")
                missing = [channel for channel in predictor.channels if channel not in scan.known]
                notes.append(missing_line(missing, file.name) if missing else "")
                for note in notes:
                    if note not in said:  # what is inferred is said once
                        said.add(note)
                        progress.say(f"act3d: {note}")
                beside = None if scan.beside is None else recast(scan.beside, scan.known, predictor.channels)
                labels = predictor.segment_scan(
                    scan.points * float(meta.get("scale") or 1.0), axis.axis, batch_size, beside
                )
                report.files.append(write_ply(path, scan.points, labels, predictor.names))
                report.labels[name] = labels
            progress.advance()
    return report
