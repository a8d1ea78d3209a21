"""Datasets and indexes that are replaced while something kills, competes or runs out of room."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from act3d.data import open_dataset
from tests.faults.children import Child, killed_at, moments, run, seconds_of
from tests.faults.interrupted import Stage, one_line, tmpfs
from tests.fixtures.small_models import write_box


def meshes(place: Path, count: int = 12) -> Path:
    """A folder of boxes, all different."""
    for i in range(count):
        write_box(place / ("rod" if i % 2 else "plate") / f"box{i:02d}.obj", 1 + i % 3, 2, 3 + i)
    return place


def killed_overwrites(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """`prepare --overwrite` killed at a random moment: there is a whole dataset afterwards, the old or the new one."""
    source, out = meshes(stage.place / "meshes"), stage.place / "prepared"
    words = ["prepare", str(source), "--out", str(out), "--points", "64", "--workers", "1", "--overwrite", "true"]
    marks = {}
    for seed in (0, 1):
        took = seconds_of([*words, "--seed", str(seed)])
        marks[open_dataset(out).fingerprint] = seed
    # Half of the kills fall into the last tenth, in which the folders are exchanged.
    even, late = moments(4, took, times - times // 2), moments(5, took / 4, times // 2)
    for i, moment in enumerate([*even, *(0.75 * took + more for more in late)]):
        if not killed_at([*words, "--seed", str(i % 2)], moment):
            continue
        try:
            whole = open_dataset(out)
            whole.fetch(list(range(len(whole))))
            checked = run(["check-data", str(out)])
        except Exception as error:
            yield f"no whole dataset: {error!r}"
            continue
        known = whole.fingerprint in marks and checked.code == 0
        yield "" if known else f"fingerprint {whole.fingerprint}: {checked.said[-300:]}"


def killed_indexes(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """An update of an index killed at a random moment: a shape looked up is still found as itself."""
    source, out = meshes(stage.place / "collection"), stage.place / "index"
    words = ["index", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(out)]
    took = seconds_of(words)
    for i, moment in enumerate(moments(6, took, times)):
        write_box(source / "new" / f"a{i:03d}.obj", 1, 1, 4 + i)  # new names come before the old ones
        (source / "rod" / f"box{(2 * i + 1) % 12:02d}.obj").unlink(missing_ok=True)
        if not killed_at(words, moment):
            continue
        kept = source / "plate" / f"box{2 * (i % 6):02d}.obj"
        ended = run(["search", str(kept), "--index", str(out), "--k", "1", "--json", str(stage.place / "answer.json")])
        if ended.code:
            yield f"search ends with {ended.code}: {ended.said[-300:]}"
            continue
        answers: dict[str, Any] = json.loads((stage.place / "answer.json").read_text())["answers"]
        hit = next(iter(answers.values()))[0]
        right = hit["name"].endswith(kept.name) and np.isclose(hit["similarity"], 1, atol=1e-3)
        yield "" if right else f"{kept.name} is answered by {hit['name']} ({hit['similarity']:.3f})"


def two_prepares(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """Two `prepare` of different seeds into one folder at once: one dataset, whole; the other ends in one line."""
    source = meshes(stage.place / "for-two")
    for i in range(times):
        out = stage.place / f"two-prepared-{i}"
        words = ["prepare", str(source), "--out", str(out), "--points", "64", "--workers", "1"]
        ended = [child.wait() for child in [Child([*words, "--seed", str(seed)]) for seed in (0, 1)]]
        refused = [one for one in ended if one.code]
        checked = run(["check-data", str(out)])
        fine = len(refused) == 1 and one_line(refused[0]) and checked.code == 0
        yield "" if fine else f"{[(one.code, one.said[-200:]) for one in ended]} {checked.said[-200:]}"


def full_prepares(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """A full disk under `prepare`: one line with the file's name, and nothing that looks like a dataset."""
    source = meshes(stage.place / "for-full")
    for i in range(times):
        with tmpfs(stage.place / f"prepare-disk-{i}", kib=4 * (1 + i)) as disk:
            words = ["prepare", str(source), "--out", str(disk / "data"), "--points", "2048", "--workers", "1"]
            ended = run(words)
            if ended.code and not (one_line(ended) and f"no space left: {disk}" in ended.said):
                yield f"{4 * (1 + i)} KiB: exit code {ended.code}: {ended.said[-300:]}"
            elif (
                ended.code
                and (disk / "data" / "dataset.json").exists()
                and run(["check-data", str(disk / "data")]).code
            ):
                yield "half a dataset"
            else:
                yield ""


def full_indexes(stage: Stage, kind: str, times: int) -> Iterator[str]:
    """A full disk under `index`: one line with the file's name; the index that was there still answers."""
    source = meshes(stage.place / "for-full-index")
    for i in range(times):
        with tmpfs(stage.place / f"index-disk-{i}", kib=4 * (1 + 3 * i)) as disk:
            words = ["index", str(source), "--checkpoint", str(stage.whole("pretrain")), "--out", str(disk / "index")]
            ended = run(words)
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            again = run(words)
            if ended.code and not (one_line(ended) and f"no space left: {disk}" in ended.said):
                yield f"{4 * (1 + 3 * i)} KiB: exit code {ended.code}: {ended.said[-300:]}"
            else:
                yield f"and with room: {again.said[-300:]}" if again.code else ""
