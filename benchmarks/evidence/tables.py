"""Results -> data in the repository, tables and a figure."""

import csv
import io
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from act3d.files import write_text
from benchmarks.evidence.counts import TUNED, Counts, collect_counts, count_of
from benchmarks.evidence.differences import Difference, bootstrap, paired, spread
from benchmarks.evidence.features import right_of
from benchmarks.evidence.methods import BRIEF, CHOICES, HEAD, METHODS, recipe_digest
from benchmarks.evidence.tasks import DOCUMENTS

NAMES = ("furniture", "kicad", "ldraw")
# Column of the tables: task, key in its numbers, heading.
COLUMNS = (
    ("frozen", "linear", "linear"),
    ("frozen", "knn", "k-NN"),
    ("frozen", "fewshot", "5-way 10-shot"),
    ("frozen", "map", "mAP"),
    ("few_tuned", "fewshot_tuned", "the same, fine-tuned"),
    ("zero_shot", "zero_shot", "zero-shot"),
    ("hidden_names", "zero_shot_hidden", "zero-shot, classes held out"),
    ("tenth", "tenth", "10 % labels"),
    ("full", "full", "100 % labels"),
    ("parts", "instance_miou", "parts mIoU"),
)
CHOICE_TEXT = """Made by `python -m benchmarks.evidence --write` from choice.jsonl; the rule is in protocol.md. Judged
on held-out *training* families, another fold for every seed; no test family was opened. Percent right, mean ± standard
deviation over seeds. Rows of alignment are name-supervised."""
FINAL_TEXT = """Made by `python -m benchmarks.evidence --write` from openings.jsonl, by protocol.md. Test families;
percent, mean ± standard deviation over seeds. \\* = learnt from names."""
# Recipe -> a number that is not shown: it was opened with a memory of the training texts, unlike the rows beside it.
WITHDRAWN = {"76f93ac97bc4": "zero_shot"}
PROBES = {"linear": "linear probe", "knn": "k-NN"}
Entry = dict[str, Any]


def write(out: Path, log: Path, documents: Path = DOCUMENTS) -> None:
    """Collect choices into choice.jsonl, and write choice.md, evidence.md and evidence.png from the data."""
    kept = documents / "choice.jsonl"
    merged = {_mark(entry): entry for entry in [*read_lines(kept), *_results(out / "choice" / "methods")]}
    entries = [merged[mark] for mark in sorted(merged)]
    if entries:
        write_text(kept, "".join(json.dumps(entry) + "\n" for entry in entries))
        write_text(documents / "choice.md", choice_page(entries))
    final = [entry for entry in read_lines(log) if entry["digest"]]
    if final:
        write_text(documents / "evidence.md", final_page(final, collect_counts(out, documents / "parameters.json")))
        draw(final, documents / "evidence.png")
        write_pairs(current(final), documents / "differences.csv")
    print(f"{len(entries)} results of choices, {len(final)} of openings, into {documents}")


def read_lines(path: Path) -> list[Entry]:
    """Return the entries of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _results(folder: Path) -> list[Entry]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/seed*/*.json"))]


def _mark(entry: Entry) -> tuple[str, str, int, str]:
    return entry["method"], entry["digest"], entry["seed"], entry["task"]


def current(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of recipes as they are now, without `WITHDRAWN`; all others stay in the data only."""
    digests = {method.name: recipe_digest(method) for method in [*METHODS.values(), *CHOICES.values()]}
    return [_shown(entry) for entry in entries if entry["digest"] == digests.get(entry["method"])]


def _shown(entry: Entry) -> Entry:
    left_out = WITHDRAWN.get(entry["digest"])
    numbers = {
        name: {key: value for key, value in found.items() if key != left_out}
        for name, found in entry["numbers"].items()
    }
    return {**entry, "numbers": numbers}


def by_seed(entries: Iterable[Entry], pick: Callable[[Entry], Any]) -> dict[str, dict[int, Any]]:
    """Return row -> seed -> what `pick` finds in its entry; entries in which it finds None are left out."""
    found: dict[str, dict[int, Any]] = defaultdict(dict)
    for entry in entries:
        value = pick(entry)
        if value is not None:
            found[entry["method"]][entry["seed"]] = value
    return found


def number(entries: Iterable[Entry], task: str, collection: str, key: str) -> dict[str, dict[int, float]]:
    """Return row -> seed -> one number; `key` may go into features of another kind, as "projected.knn"."""

    def pick(entry: Entry) -> float | None:
        value = entry["numbers"].get(collection) if entry["task"] == task else None
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return by_seed(entries, pick)


def mean_and_spread(values: dict[int, float] | None) -> str:
    """Return "71.3 ± 0.8", "71.3" for one seed, "" for none."""
    if not values:
        return ""
    numbers = list(values.values())
    return f"{np.mean(numbers):.1f}" + (f" ± {spread(numbers):.1f}" if len(numbers) > 1 else "")


def with_interval(gap: Difference) -> str:
    """Return "+1.3 ± 0.8", "+1.3" for one seed, "" for none."""
    if not gap.seeds:
        return ""
    return f"{gap.mean:+.1f}" + ("" if math.isnan(gap.half) else f" ± {gap.half:.1f}")


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def scores(entries: list[Entry], kind: str = "") -> dict[str, dict[int, float]]:
    """Return the protocol's score of a choice, row -> seed: linear probe and k-NN, a third each; zero-shot a third.

    Rows without names have no zero-shot accuracy: their score is the mean of the other two.
    """
    parts: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task, key in (("frozen", f"{kind}linear"), ("frozen", f"{kind}knn"), ("zero_shot", "zero_shot")):
        per = [number(entries, task, name, key) for name in NAMES]
        for row in per[0]:
            for seed in per[0][row]:
                if all(seed in each.get(row, {}) for each in per):
                    parts[row][seed].append(float(np.mean([each[row][seed] for each in per])))
    return {row: {seed: float(np.mean(values)) for seed, values in seeds.items()} for row, seeds in parts.items()}


def choice_page(entries: list[Entry]) -> str:
    """Return the page of choices."""
    entries = current(entries)
    score, other = scores(entries), scores(entries, "projected.")
    rows = sorted(score, key=lambda row: (row in CHOICES, -float(np.mean(list(score[row].values())))))
    base = score.get("align:base", {})
    body = []
    for row in rows:
        gap = paired(score[row], base)
        body.append(
            [
                row,
                str(len(score[row])),
                mean_and_spread(score[row]),
                with_interval(gap) if row in CHOICES and row != "align:base" else "",
                mean_and_spread(other.get(row)),
                *(
                    mean_and_spread(number(entries, task, name, key).get(row))
                    for name in NAMES
                    for task, key in (("frozen", "linear"), ("frozen", "knn"), ("zero_shot", "zero_shot"))
                ),
            ]
        )
    head = ["row", "seeds", "score", "- align:base (95 %)", "score of projected features"]
    head += [f"{name} {what}" for name in NAMES for what in ("linear", "k-NN", "zero-shot")]
    return f"# Choices\n\n{CHOICE_TEXT}\n\n{table(head, body)}\n{verdict(score)}\n"


def verdict(score: dict[str, dict[int, float]]) -> str:
    """Return what the protocol's rule says of the candidates of which every seed is there: best, and what equals it."""
    candidates = {row: seeds for row, seeds in score.items() if row in CHOICES}
    most = max(map(len, candidates.values()), default=0)
    if most < 2:
        return "The rule needs two seeds or more of the candidates."
    whole = {row: seeds for row, seeds in candidates.items() if len(seeds) == most}
    best = max(whole, key=lambda row: float(np.mean(list(whole[row].values()))))
    near = []
    for row in whole:
        gaps = [whole[best][seed] - whole[row][seed] for seed in whole[best]]
        if row != best and float(np.mean(gaps)) <= spread(gaps) / math.sqrt(most):
            near.append(row)
    equal = f"within one paired standard error: {', '.join(near)}" if near else "nothing is within one standard error"
    return f"Best by the rule, of {len(whole)} candidates with {most} seeds: {best}; {equal}."


def final_page(entries: list[Entry], counts: Counts) -> str:
    """Return the page of the final table; `counts` are trained parameters, see `counts.py`."""
    entries = current(entries)
    known = {entry["method"] for entry in entries}
    rows = [name for name in METHODS if name in known]
    pages = [f"# Evidence\n\n{FINAL_TEXT}\n"]
    for name in NAMES:
        values = {heading: number(entries, task, name, key) for task, key, heading in COLUMNS}
        used = [heading for heading, found in values.items() if found]
        body = [[_title(row), *(mean_and_spread(values[heading].get(row)) for heading in used)] for row in rows]
        for task, heading in TUNED.items():
            if heading in used:
                used.append(f"parameters trained ({heading})")
                body = [[*line, count_of(counts, row, f"{task} {name}")] for row, line in zip(rows, body, strict=True)]
        pages.append(f"## {name}\n\n" + table(["row", *used], body))
    unseen = {what: number(entries, "unseen", "homedecor", what) for what in ("nn1", "map", "zero_shot")}
    if unseen["nn1"]:
        body = [[_title(row), *(mean_and_spread(found.get(row)) for found in unseen.values())] for row in rows]
        pages.append("## homedecor (nothing of it was seen)\n\n" + table(["row", "1-NN", "mAP", "zero-shot"], body))
    head = ["collection", "number", "pair", "of the means", "paired by seed, 95 % (t)", "seeds"]
    head += ["bootstrap over test shapes, 95 %"]
    shown = table(head, difference_rows(entries, claimed_pairs(rows)))
    pages += [
        f"## Differences that the claims are about\n\nAll pairs: differences.csv.\n\n{shown}",
        cost_table(entries, rows, counts),
    ]
    return "\n".join(pages)


def _title(row: str) -> str:
    return row + (" \\*" if METHODS[row].names else "")


def write_pairs(entries: list[Entry], path: Path) -> None:
    """Write the differences of all pairs of rows as CSV."""
    known = {entry["method"] for entry in entries}
    pairs = [(b, a) for a, b in itertools.combinations([name for name in METHODS if name in known], 2)]
    text = io.StringIO(newline="")
    head = ["collection", "number", "pair", "of_means", "paired", "seeds", "bootstrap"]
    csv.writer(text).writerows([head, *difference_rows(entries, pairs)])
    write_text(path, text.getvalue())


def claimed_pairs(rows: list[str]) -> list[tuple[str, str]]:
    """Return the pairs that the protocol's claims are about, of those rows that there are."""
    starts = [name for name in rows if METHODS[name].kind == "encoder"]
    pairs = [(name, below) for name in starts for below in ("plain", "random", "data_dependent")]
    for length in ("", BRIEF):
        same = [name for name in starts if name.startswith(BRIEF) == bool(length)]
        pairs += [
            (f"{length}act_{name}{end}", f"{length}act_untrained_{name}{end}")
            for name in ("minilm", "imgfocus")
            for end in ("", "+names")
        ]
        pairs.append((f"{length}act_imgfocus", f"{length}act_minilm"))
        pairs += [
            (name, f"{length}point_mae")
            for name in same
            if name.startswith(tuple(length + kind for kind in ("act_", "dvae", "point_bert", "recon")))
            and not name.endswith("names")
        ]
        pairs += [(f"{name}+names", f"{length}names_long") for name in same]
    pairs += [(f"{name}+names", name) for name in starts]
    pairs += [(f"{name}&names", below) for name in starts for below in (name, f"{name}+names")]
    pairs += [
        (name, below) for name in starts if METHODS[name].head != HEAD for below in ("scratch", METHODS[name].stage)
    ]
    return [pair for pair in pairs if set(pair) <= set(rows)]


def difference_rows(entries: list[Entry], pairs: list[tuple[str, str]]) -> list[list[str]]:
    """Return, for every collection and number, each pair's difference of the means over all seeds that each has, its
    paired difference over the seeds that both have, and two intervals of that."""
    body = []
    for name in NAMES:
        for task, key, heading in COLUMNS:
            values = number(entries, task, name, key)
            right = by_seed(entries, partial(_right, task=task, collection=name, key=key))
            for first, second in pairs:
                gap = paired(values.get(first, {}), values.get(second, {}))
                if gap.seeds:
                    low, high = bootstrap(right.get(first, {}), right.get(second, {}))
                    drawn = "" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"
                    means = np.mean(list(values[first].values())) - np.mean(list(values[second].values()))
                    line = [f"{means:+.1f}", with_interval(gap), str(gap.seeds), drawn]
                    body.append([name, heading, f"{first} - {second}", *line])
    return body


def _right(entry: Entry, task: str, collection: str, key: str) -> Any:
    """Return which judged shapes were right, where an entry says so."""
    kept = entry["numbers"].get(collection, {}).get("right", {}) if entry["task"] == task else {}
    return right_of(kept[key]) if key in kept else None


def cost_table(entries: list[Entry], rows: list[str], counts: Counts) -> str:
    """Return processor minutes, clouds seen and parameters trained in pretraining, of every row."""
    spent = by_seed(entries, lambda entry: entry["cost"]["processor_s"] if entry["task"] == "frozen" else None)
    clouds = by_seed(entries, lambda entry: entry["cost"]["clouds"] if entry["task"] == "frozen" else None)
    body = []
    for row in (row for row in rows if row in clouds):
        minutes = mean_and_spread({seed: each / 60 for seed, each in spent[row].items()})
        seen = f"{np.mean(list(clouds[row].values())):.0f}"
        body.append([_title(row), METHODS[row].about, minutes, seen, count_of(counts, row, "pretraining")])
    head = ["row", "", "processor minutes", "clouds seen", "parameters trained"]
    return f"## What the rows are, and their cost\n\n{table(head, body)}"


def draw(entries: list[Entry], path: Path) -> None:
    """Draw linear probe and k-NN of every row, with a point for every seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = current(entries)
    known = {entry["method"] for entry in entries}
    rows = [name for name in METHODS if name in known][::-1]
    figure, axes = pyplot.subplots(1, len(NAMES), sharey=True, figsize=(12, 1 + 0.3 * len(rows)), squeeze=False)
    for axis, name in zip(axes[0], NAMES, strict=True):
        for key, mark in (("linear", "o"), ("knn", "x")):
            values = number(entries, "frozen", name, key)
            points = [(x, y) for y, row in enumerate(rows) for x in values.get(row, {}).values()]
            if points:
                axis.plot(*zip(*points, strict=True), mark, label=PROBES[key], alpha=0.6)
        axis.set(title=f"{name}, test families", xlabel="% right", yticks=range(len(rows)), yticklabels=rows)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
