"""The collections that are judged on, cut so that nothing that tests a recipe can be trained on.

A cut is a packed dataset of its own: the shards are links, the table says anew which split a shape is in. Training
commands name splits, so shapes of the split "closed" cannot reach them. Two kinds of cut:

- "choice": fold k of the training families (five folds) becomes the split "held"; test families are closed.
- "final": the training families train, the split "test" is opened once per recipe (see `openings.py`).
"""

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from act3d.data.description import DESCRIPTION, TABLE, fingerprint_of, read_description, read_table, sealed
from act3d.files import write_text
from act3d.use.texts import label_text, texts_of

FOLDS = 5
NAME_GROUPS = 4
TENTHS = 5  # draws of a tenth of the labels: one a seed
CLOSED = "closed"


class Collection(NamedTuple):
    """A collection: the columns that make its families, and the columns of parts that are left out of segmentation."""

    name: str
    family: tuple[str, ...]
    leave_out: str = ""


# Furniture has no families of its own: models of one title by one author are the nearest thing to it.
COLLECTIONS = (
    Collection("furniture", ("title", "creator")),
    Collection("kicad", ("family",), leave_out="spacer+crystal_can+marking"),
    Collection("ldraw", ("family",)),
)
MORE = ("contributed",)  # collections that some rows are trained on as well; nothing of them is judged
Table = dict[str, list[str]]


def cut_all(pool: Path, out: Path, mode: str, seed: int) -> dict[str, Path]:
    """Return the cut datasets of all collections by name, after writing those that are missing."""
    name = f"choice-{seed % FOLDS}" if mode == "choice" else "final"
    cuts = {each.name: out / name / each.name for each in COLLECTIONS}
    tables = {each.name: read_table(pool / each.name / TABLE) for each in COLLECTIONS}
    if all((folder / DESCRIPTION).is_file() for folder in cuts.values()):
        return cuts
    hidden = [_hidden_words(tables, group) for group in range(NAME_GROUPS)]
    for each in COLLECTIONS:
        table = tables[each.name]
        if mode == "choice":
            table = {**table, "split": choice_splits(table, each.family, seed % FOLDS)}
        else:
            table = {**table, "split": final_splits(table)} | _tenths(table)
        table |= {f"names{group}": _named(tables[each.name], words) for group, words in enumerate(hidden)}
        write_cut(pool / each.name, cuts[each.name], table)
    return cuts


def cut_more(pool: Path, out: Path) -> list[Path]:
    """Return the cut datasets of the collections that are trained on only, under their own names."""
    tables = {each.name: read_table(pool / each.name / TABLE) for each in COLLECTIONS}
    hidden = [_hidden_words(tables, group) for group in range(NAME_GROUPS)]
    for name in MORE:
        if not (out / "more" / name / DESCRIPTION).is_file():
            table = read_table(pool / name / TABLE)
            columns = {f"names{group}": _named(table, words) for group, words in enumerate(hidden)}
            write_cut(pool / name, out / "more" / name, table | columns, name)
    return [out / "more" / name for name in MORE]


def choice_splits(table: Table, family: tuple[str, ...], fold: int) -> list[str]:
    """Return the split of every row where fold `fold` of the training families tests.

    "train" and "unlabeled": all shapes of the other families; "held": scored ones (`core`) of the fold's families.
    """
    families = family_of(table, family)
    held = {name for name, place in family_folds(table, family).items() if place == fold}
    splits = []
    for name, split, core in zip(families, table["split"], table["core"], strict=True):
        if split not in ("train", "unlabeled"):
            splits.append(CLOSED)
        elif name not in held:
            splits.append(split)
        else:
            splits.append("held" if split == "train" and core == "1" else CLOSED)
    return splits


def final_splits(table: Table) -> list[str]:
    """Return the split of every row for the final table: of the test families only `core` shapes are scored."""
    return [
        split if split in ("train", "unlabeled") or (split == "test" and core == "1") else CLOSED
        for split, core in zip(table["split"], table["core"], strict=True)
    ]


def family_of(table: Table, columns: tuple[str, ...]) -> list[str]:
    """Return the family of every row."""
    return ["|".join(values) for values in zip(*(table[name] for name in columns), strict=True)]


def family_folds(table: Table, columns: tuple[str, ...]) -> dict[str, int]:
    """Return the fold of every family with a scored training shape.

    Large families are placed first, each where its classes have the fewest shapes so far; nothing is random.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    rows = zip(family_of(table, columns), table["class"], table["split"], table["core"], strict=True)
    for family, cls, split, core in rows:
        if split == "train" and core == "1":
            counts[family][cls] += 1
    placed: list[Counter[str]] = [Counter() for _ in range(FOLDS)]
    folds = {}
    for family, classes in sorted(counts.items(), key=lambda item: (-item[1].total(), _mark(item[0]))):
        loads = [
            (sum(placed[fold][cls] * n for cls, n in classes.items()), placed[fold].total()) for fold in range(FOLDS)
        ]
        fold = min(range(FOLDS), key=lambda place: loads[place])
        placed[fold].update(classes)
        folds[family] = fold
    return folds


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def class_groups(classes: list[str]) -> list[list[str]]:
    """Return classes in four groups: every fourth in the order of their names."""
    return [sorted(classes)[group::NAME_GROUPS] for group in range(NAME_GROUPS)]


def _hidden_words(tables: dict[str, Table], group: int) -> list[tuple[set[str], str]]:
    """Return (words of the class, its name) for every class that is held out of the names in this group."""
    found = []
    for table in tables.values():
        classes = sorted({cls for cls in table["class"] if cls})
        found += [(set(label_text(cls).split()), cls) for cls in class_groups(classes)[group]]
    return found


def _named(table: Table, hidden: list[tuple[set[str], str]]) -> list[str]:
    """Return "1" for rows whose name may be learnt: neither of a class that is held out, nor with its words."""
    classes = {name for _, name in hidden}
    flags = []
    for text, cls in zip(texts_of(table), table["class"], strict=True):
        words = set(text.split())
        flags.append("0" if cls in classes or any(own <= words for own, _ in hidden) else "1")
    return flags


def _tenths(table: Table) -> Table:
    """Return columns `tenth0` ...: a tenth of every class's scored training shapes, one at least, and all test ones."""
    labels, splits, core = (np.array(table[name]) for name in ("class", "split", "core"))
    found: Table = {}
    for draw in range(TENTHS):
        rng = np.random.default_rng([draw, 0x74656E])
        flags = ((splits == "test") & (core == "1")).astype(int)
        for cls in sorted(set(labels) - {""}):
            rows = np.flatnonzero((labels == cls) & (splits == "train") & (core == "1"))
            if len(rows):
                flags[rng.permutation(rows)[: max(1, round(0.1 * len(rows)))]] = 1
        found[f"tenth{draw}"] = [str(flag) for flag in flags]
    return found


def write_cut(source: Path, out: Path, table: Table, name: str = "") -> None:
    """Write a dataset with the shards of another one and a table (and name) of its own; the description comes last."""
    info = read_description(source)
    out.mkdir(parents=True, exist_ok=True)
    kinds = ("points", "parts") if info["parts"] else ("points",)
    files = [shard[kind] for shard in info["shards"] for kind in kinds]
    for file in files:
        if not (out / file).exists():
            (out / file).symlink_to((source / file).resolve())
    text = io.StringIO(newline="")
    csv.writer(text).writerows([list(table), *zip(*table.values(), strict=True)])
    write_text(out / TABLE, text.getvalue())
    content = (out / TABLE).read_bytes()
    sums = {**info["checksums"], TABLE: hashlib.sha256(content).hexdigest()}
    mark = fingerprint_of(info["classes"], info["parts"], [sums[file] for file in files], content)
    cut = {
        **info,
        "name": name or info["name"],
        "checksums": sums,
        "fingerprint": mark,
        "splits": dict(sorted(Counter(table["split"]).items())),
    }
    write_text(out / DESCRIPTION, json.dumps(sealed(cut), indent=1) + "\n")
