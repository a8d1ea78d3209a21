"""Pictures of what the shipped encoder gets right and wrong: `python -m benchmarks.examples`.

Ten shapes that it names by words alone and ten searches by shape, among the furniture that comes with act3d, into
docs/pictures. A rule chooses them, five good and five bad, each of another class; see docs/results/examples.md.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.evaluation.features import embed
from act3d.evaluation.frozen_encoder import embedding_of
from act3d.evaluation.retrieval import measure_scaling
from act3d.known_models import SHIPPED
from act3d.report.figure import Figure, Panel, figure_image
from act3d.samples import FURNITURE
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.figures.shapes import short
from act3d.use.load import load
from benchmarks.evidence.tasks import DOCUMENTS, class_words

PICTURES = DOCUMENTS.parent / "pictures"
EACH, NEAREST = 5, 5
DPI = 140  # about 1000 pixels


def pick(order: Iterable[int], classes: NDArray[np.int64], allowed: NDArray[np.bool_]) -> list[int]:
    """Return the first allowed shapes in this order that are of different classes, `EACH` of them."""
    chosen: dict[int, int] = {}
    for place in order:
        if allowed[place]:
            chosen.setdefault(int(classes[place]), int(place))
    return list(chosen.values())[:EACH]


def panel(shapes: CloudDataset, place: int, note: str, right: bool | None = None) -> Panel:
    """Return the panel of a shape."""
    points = shapes.fetch([place], 0)["points"][0].numpy()
    return Panel(points, short(shapes.names[place]), note, mark="" if right is None else "right" if right else "wrong")


@torch.no_grad()
def named(model: AlignedPredictor, shapes: CloudDataset, words: list[str]) -> Figure:
    """Return test shapes with the three likeliest of their collection's words."""
    ranked = model.rank_vectors(torch.from_numpy(embed(model.embed_shape, shapes).x), words)
    right = np.array([row[0][0] == words[label] for row, label in zip(ranked, shapes.labels, strict=True)])
    print(f"named rightly: {100 * right.mean():.1f} % of {len(right)}")
    order = np.argsort([-row[0][1] for row in ranked], kind="stable")
    rows = []
    for good in (True, False):
        row = []
        for place in pick(order, shapes.labels, right == good):
            note = "\n".join(f"{word} {probability:.2f}" for word, probability in ranked[place][:3])
            row.append(panel(shapes, place, f"is: {words[shapes.labels[place]]}\n{note}", good))
        rows.append(row)
    return Figure("Named by words alone", rows, ["the surest right answers", "the surest wrong answers"])


@torch.no_grad()
def found(model: AlignedPredictor, asked: CloudDataset, among: CloudDataset) -> Figure:
    """Return test shapes with the nearest others of the whole collection."""
    vectors = embed(embedding_of(model.model), among).x
    scaled = measure_scaling(vectors)(vectors)
    place_of = {name: place for place, name in enumerate(among.names)}
    own = np.array([place_of[name] for name in asked.names])
    similarity = scaled[own] @ scaled.T
    similarity[np.arange(len(own)), own] = -np.inf
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :NEAREST]
    hits = among.labels[nearest] == asked.labels[:, None]
    share, closest = hits.mean(axis=1), similarity.max(axis=1)
    rows, names = [], []
    for good in (True, False):
        order = np.lexsort((-closest, -share if good else share))
        for query in pick(order, asked.labels, np.ones(len(own), dtype=bool)):
            label = asked.classes[asked.labels[query]]
            row = [panel(asked, query, label)]
            for place in nearest[query]:
                note = f"{among.classes[among.labels[place]]}\n{similarity[query, place]:.2f}"
                row.append(panel(among, place, note, bool(among.labels[place] == asked.labels[query])))
            rows.append(row)
            names.append(f"{'good' if good else 'bad'}: nearest to {short(asked.names[query])}")
    return Figure("Nearest shapes", rows, names)


def main() -> None:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.examples", description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures")
    options = parser.parse_args()
    model = load(SHIPPED, expect=AlignedPredictor)
    test, every = (open_dataset(FURNITURE, split, model.points) for split in ("test", "train+test"))
    words = [class_words()["furniture"][name] for name in test.classes]
    for name, figure in (("named", named(model, test, words)), ("found", found(model, test, every))):
        path = options.out / f"{name}.webp"
        Image.fromarray(figure_image(figure, dpi=DPI)).save(path, quality=80)
        print(path)


if __name__ == "__main__":
    main()
