"""How well an index is searched by words: mAP and precision@10 of class words, and of phrases that do not name them.

    act3d index data/furniture --checkpoint runs/align --out index
    python -m benchmarks.words index furniture --where "split = 'test'"

The words of a class are in `docs/results/class_words.json`; the 60 paraphrases in `docs/results/paraphrases.json` were
written on 26 November 2026, before any result of a search by words was seen. Classes that an encoder was taught no
names of are judged by --classes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from act3d.tables import Table
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.embed_shapes import facts_of
from act3d.use.embeddings import check_model
from act3d.use.index import Index, open_index
from act3d.use.index_table import matrix, read_columns
from act3d.use.load import load
from act3d.use.search_shapes import check_texts

RESULTS = Path(__file__).parents[1] / "docs" / "results"


class Found(NamedTuple):
    """A phrase: its class, AP and precision@10 in percent, shapes of the class, and the class that is ranked first."""

    phrase: str
    label: str
    ap: float
    at_10: float
    shapes: int
    first: str


def measure(vectors: NDArray[np.float32], labels: Sequence[str], asked: NDArray[np.float32], wanted: str) -> Found:
    """Rank shapes (S, D) by their cosine with a phrase (D,); all are unit vectors."""
    order = np.argsort(-(vectors @ asked), kind="stable")
    right = np.array([labels[i] == wanted for i in order])
    ranks = np.flatnonzero(right) + 1
    precision = np.arange(1, len(ranks) + 1) / ranks
    return Found("", wanted, 100 * precision.mean(), 100 * right[:10].mean(), len(ranks), labels[order[0]])


def measure_index(index: Index, phrases: Sequence[tuple[str, str]], where: str = "") -> list[Found]:
    """Measure (class, phrase) pairs over the labelled shapes of an index; a class without shapes is left out."""
    check_texts(index)
    model = load(index.checkpoint(), "cpu", expect=AlignedPredictor)
    check_model(index.place, index.model, facts_of(model))
    rows = read_columns(index.table, ["class", "text_vector"], " and ".join(filter(None, ["class != ''", where])))
    labels = rows["class"].to_pylist()
    vectors = matrix(rows["text_vector"], rows["text_vector"].type.list_size)
    chosen = [(label, phrase) for label, phrase in phrases if label in set(labels)]
    asked = model.embed_text([phrase for _, phrase in chosen]).numpy()
    return [
        measure(vectors, labels, vector, label)._replace(phrase=phrase)
        for (label, phrase), vector in zip(chosen, asked, strict=True)
    ]


def main() -> None:
    """Print a table a kind of phrase, and its mean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.words", description=__doc__)
    parser.add_argument("index")
    parser.add_argument("collection", choices=("furniture", "kicad", "ldraw"))
    parser.add_argument("--where", default="", help="which shapes are searched, such as \"split = 'test'\"")
    parser.add_argument("--classes", default="", help="only phrases of these classes, separated by commas")
    asked = parser.parse_args()
    words = json.loads((RESULTS / "class_words.json").read_text())[asked.collection]
    others = json.loads((RESULTS / "paraphrases.json").read_text())[asked.collection]
    only = {name for name in asked.classes.split(",") if name}
    for kind, phrases in (("class words", list(words.items())), ("paraphrases", [tuple(pair) for pair in others])):
        chosen = [pair for pair in phrases if not only or pair[0] in only]
        found = measure_index(open_index(asked.index), chosen, asked.where)
        Table(["phrase", "class", "AP", "precision@10", "shapes", "first"], [list(f) for f in found], kind).print()
        means = [float(np.mean([getattr(f, name) for f in found])) for name in ("ap", "at_10")]
        print(f"{kind}: mAP {means[0]:.1f}, precision@10 {means[1]:.1f} percent, {len(found)} phrases")


if __name__ == "__main__":
    main()
