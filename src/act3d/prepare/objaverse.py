"""Objaverse 1.0 as its package `objaverse` downloads it (https://objaverse.allenai.org): GLB files, classes, names.

Below one folder, `hf-objaverse-v1`, each model by its uid:

    glbs/000-023/UID.glb
    object-paths.json.gz        {UID: "glbs/000-023/UID.glb"}
    metadata/000-023.json.gz    {UID: {"name": ..., "license": ..., ...}} of the models of one folder
    lvis-annotations.json.gz    {class: [UID, ...]}
"""

import gzip
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from act3d.errors import InputError
from act3d.files import names_of
from act3d.prepare.copies import choose_test_shapes, copies_note, equal_files, joined
from act3d.prepare.items import UNLABELED, Item, Source
from act3d.readers.guarded import Lost, limits_for, read_all
from act3d.readers.limits import RATIO, SPARE, check_unpacked, read_regular

GLBS, METADATA = "glbs", "metadata"
PATHS, LVIS = "object-paths.json.gz", "lvis-annotations.json.gz"
LICENCE = "each model its own (column licence, as in Objaverse's metadata); the collection ODC-By 1.0"


class Listed(NamedTuple):
    """The models to read, by uid, and lines about those that are not here."""

    paths: dict[str, Path]
    notes: list[str]


def find_objaverse(root: Path) -> Path | None:
    """The folder with `glbs` and at least one of the tables beside it, at `root` or below it under its usual name."""
    for base in (root, root / "hf-objaverse-v1"):
        if (base / GLBS).is_dir() and any((base / name).exists() for name in (PATHS, LVIS, METADATA)):
            return base
    return None


def objaverse_source(root: Path, test_fraction: float, seed: int) -> Source:
    """List the models: classes from LVIS, captions from the names in the metadata; the rest is unlabelled.

    Raises:
        InputError: Not this layout, or a table that is damaged.
    """
    base = find_objaverse(root)
    if base is None:
        raise InputError(f"{root} holds no folder glbs with {PATHS}, {LVIS} or metadata beside it")
    listed = list_models(base)
    paths, notes = listed.paths, listed.notes
    of_uid, lines = _classes(base, paths)
    about, more = _about(base, paths)
    own = [of_uid.get(uid, "") for uid in paths]
    labels = names_of(own)
    copies = equal_files(list(paths.values()))
    shapes, uids = joined(copies, len(paths)), list(paths)
    tests = choose_test_shapes(uids, shapes, own, test_fraction, seed)
    classes = sorted(labels[name] for name in set(own) - {""})
    items = [
        Item(
            uid, path, labels[cls], UNLABELED if classes and not cls else "test" if uid in tests else "train",
            extra=about.get(uid, {"caption": "", "licence": ""}),
        )
        for (uid, path), cls in zip(paths.items(), own, strict=True)
    ]  # fmt: skip
    notes = [*notes, *lines, *more, *copies_note(uids, copies, [item.split for item in items], True)]
    return Source("objaverse", "objaverse", items, classes, [], "y", licence=LICENCE, notes=notes)


def list_models(base: Path) -> Listed:
    """List the models that are here, and those that `object-paths.json.gz` lists beside them.

    One that is not here becomes a failure when it is read. Where most of them are not here, somebody has downloaded a
    part on purpose: then a single line counts them.
    """
    here: dict[str, Path] = {}
    cut = 0
    for folder in sorted(entry.path for entry in os.scandir(base / GLBS) if entry.is_dir()):
        names = os.listdir(folder)
        cut += sum(name.endswith(".tmp") for name in names)
        here |= {name.removesuffix(".glb"): Path(folder, name) for name in names if name.endswith(".glb")}
    notes = [f"{cut} downloads were cut short (.tmp) and are not read"] if cut else []
    promised = _table(base / PATHS, _as_paths) if (base / PATHS).exists() else {}
    missing = {uid: base / path for uid, path in promised.items() if uid not in here}
    if missing and len(missing) > len(here):
        notes.append(f"{len(here)} of {len(here) + len(missing)} models are here: taken for a part chosen on purpose")
        missing = {}
    if missing:
        notes.append(f"{len(missing)} models that {PATHS} lists are not here")
    if not here:
        raise InputError(f"{base / GLBS} holds no .glb file; download some by the package objaverse")
    every = here | missing
    return Listed({uid: every[uid] for uid in sorted(every)}, notes)


def _classes(base: Path, paths: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """The LVIS class of every annotated model, and lines about it."""
    if not (base / LVIS).exists():
        return {}, [f"{LVIS} is not here: models have no class"]
    found: dict[str, str] = {}
    twice = set()
    for cls, uids in sorted(_table(base / LVIS, _as_classes).items()):
        for uid in uids:
            if uid in paths and found.setdefault(uid, cls) != cls:
                twice.add(uid)
    lines = [f"{len(found)} of {len(paths)} models have a class of LVIS"]
    if twice:
        lines.append(f"{len(twice)} models have several classes in {LVIS}: the first by name is taken")
    return found, lines


def _about(base: Path, paths: Mapping[str, Path]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Caption and licence of every model that the metadata know, and lines about the others."""
    folders = sorted({path.parent.name for path in paths.values()})
    files = [base / METADATA / f"{folder}.json.gz" for folder in folders]
    about: dict[str, dict[str, str]] = {}
    lines = []
    with closing(read_all(read_metadata, files, limits_for, os.cpu_count() or 1)) as results:
        for file, found in zip(files, results, strict=True):
            if isinstance(found, Lost):
                lines.append(f"{METADATA}/{file.name} {found.reason}: its models have no caption and licence")
            else:
                about |= {uid: row for uid, row in found.items() if uid in paths}
    unknown = len(paths) - len(about)
    return about, [*lines, *([f"{unknown} models are not in the metadata"] if unknown else [])]


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Caption and licence by uid; runs in a guarded process."""
    content = read_json_gz(path)
    if not isinstance(content, dict) or not all(isinstance(row, dict) for row in content.values()):
        raise InputError("is no object of objects by uid")
    return {
        uid: {"caption": " ".join(str(row.get("name") or "").split()), "licence": str(row.get("license") or "")}
        for uid, row in content.items()
    }


def read_json_gz(path: Path) -> Any:
    """The content of a packed JSON file; runs in a guarded process.

    Raises:
        InputError: Missing, damaged, or it unpacks to far more than its size explains.
    """
    packed = read_regular(path)
    most = SPARE + RATIO * len(packed)
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            content = file.read(most + 1)
        check_unpacked(len(content), len(packed), "it")
        return json.loads(content)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"is no packed JSON ({error})") from None


def _table(path: Path, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    with closing(read_all(read_json_gz, [path], limits_for)) as results:
        found = next(results)
    try:
        if isinstance(found, Lost):
            raise InputError(found.reason)
        return check(found)
    except InputError as error:
        raise InputError(f"{path} {error}") from None


def _as_paths(content: Any) -> dict[str, str]:
    if not isinstance(content, dict) or not all(isinstance(path, str) and _inside(path) for path in content.values()):
        raise InputError(f"is no object uid: {GLBS}/FOLDER/UID.glb")
    return content


def _inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) == 3 and parts[0] == GLBS and ".." not in parts


def _as_classes(content: Any) -> dict[str, Sequence[str]]:
    if not isinstance(content, dict) or not all(isinstance(uids, list) for uids in content.values()):
        raise InputError("is no object class: [uid, ...]")
    return content
