"""Figures of whole collections: maps of embeddings, nearest shapes, parts beside the truth, what a dataset holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from act3d.data import open_dataset
from act3d.data.opening import open_for_model
from act3d.data.views import PartClouds, Selection
from act3d.errors import InputError
from act3d.evaluation.features import flatten_map
from act3d.evaluation.parts import predict_parts
from act3d.evaluation.retrieval import measure_scaling
from act3d.evaluation.segmentation import PartScores
from act3d.report.class_colors import class_colors, hex_colors
from act3d.report.cloud_picture import view_bounds
from act3d.report.figure import Figure, Panel
from act3d.report.pieces import EmbeddingMap
from act3d.report.viewer import by_label
from act3d.use.dataset_page import page_of_shapes
from act3d.use.figures.shapes import Shown, Source, array, list_shapes, read_shapes, shapes_of, short, spread_places
from act3d.use.segmenter_predictor import SegmenterPredictor
from act3d.use.shape_predictors import EncoderPredictor

Encoder = EncoderPredictor[Any]


def embeddings_of(model: Encoder, shown: Shown) -> np.ndarray:
    """Embeddings (S, F) of shapes."""
    return np.concatenate([array(model.embed(block)) for block in shown.points.split(32)])


def embedding_map(model: Encoder, source: Source, limit: int, method: str, seed: int) -> Figure:
    """Return a map of the embeddings of a source's shapes; a dot shows its shape.

    Args:
        model: Any encoder.
        source: The shapes; with a dataset, all of its splits unless one is chosen: test shapes are opaque.
        limit: At most so many, evenly spread over classes.
        method: "tsne" or "umap".
        seed: Of the map.
    """
    from act3d.use.shapes import find_shapes

    shapes = find_shapes(source.input, model, source.split, source.subset, source.reading)
    shown = read_shapes(shapes, spread_places(shapes.items, limit), model, source.reading)
    classes = sorted(set(shown.labels) - {""})
    splits = {(item.name, item.label): item.split for item in shapes.items}
    test = np.array([splits.get(key) == "test" for key in zip(shown.names, shown.labels, strict=True)])
    labels = np.array([classes.index(label) if label else -1 for label in shown.labels])
    xy = flatten_map(embeddings_of(model, shown), seed, method)
    note = f"Embeddings of {len(labels)} shapes"
    if len(shapes.items) > len(labels):
        note += f" of {len(shapes.items)}"
    opaque = test if test.any() and not test.all() else np.ones(len(labels), dtype=bool)
    note += ", test shapes opaque" if not opaque.all() else ""
    how = {"tsne": "t-SNE", "umap": "UMAP"}[method]
    return Figure(
        "Map of embeddings",
        note=f"{note}, by {how}: neighbours are similar, distances between groups mean little.",
        map=EmbeddingMap(xy, labels, [short(name) for name in shown.names], opaque, list(array(shown.points[..., :3]))),
        classes=classes,
    )


def neighbors(
    models: Sequence[Encoder], names: Sequence[str], source: Source, among: Source, rows: int, count: int
) -> Figure:
    """Return the shapes of a collection nearest to some shapes, one row an encoder, as `act3d search` finds them.

    Args:
        models, names: Encoders, and what to call them.
        source: The queries.
        among: The collection; a query's own entry is left out.
        rows: How many queries.
        count: Shapes found for a query.
    """
    found: list[tuple[Shown, Shown, np.ndarray]] = []
    for model in models:
        asked = shapes_of(source, model, rows)
        shapes = list_shapes(among, model)
        stored = read_shapes(shapes, range(len(shapes.items)), model, among.reading)
        vectors = embeddings_of(model, stored)
        scaling = measure_scaling(vectors)
        found.append((asked, stored, scaling(embeddings_of(model, asked)) @ scaling(vectors).T))
    grid, row_names = [], []
    for query in range(len(found[0][0].names)):
        for (asked, stored, similarity), called in zip(found, names, strict=True):
            name, label = asked.names[query], asked.labels[query]
            row = [Panel(array(asked.points[query][:, :3]), short(name), label)]
            others = [i for i in np.argsort(-similarity[query], kind="stable") if stored.names[i] != name]
            for i in others[:count]:
                mark = ("right" if stored.labels[i] == label else "wrong") if label and stored.labels[i] else ""
                note = (
                    f"{stored.labels[i]}\n{similarity[query, i]:.3f}"
                    if stored.labels[i]
                    else f"{similarity[query, i]:.3f}"
                )
                row.append(Panel(array(stored.points[i][:, :3]), short(stored.names[i]), note, mark=mark))
            grid.append(row)
            row_names.append(f"{called} finds, nearest to {short(name)}")
    return Figure(
        "Nearest shapes",
        grid,
        row_names,
        note=f"Left a query, then the nearest of {len(found[0][1].names)} shapes in {among.input}. The number is the "
        "cosine of scaled embeddings; ✓ marks the query's class.",
    )


@torch.no_grad()
def parts(model: SegmenterPredictor, source: Source, rows: int) -> Figure:
    """Return true parts | predicted parts of shapes, with the IoU of each.

    Args:
        model: A segmenter of parts.
        source: A dataset with part labels.
        rows: How many shapes.

    Raises:
        InputError: A segmenter of scenes, or no part labels.
    """
    if not model.model.categories:
        raise InputError(f"{model.path}: a segmenter of scenes; show parts needs one of parts")
    opened = open_for_model(model.meta, source.input, source.split or "test", 0, subset=source.subset)
    clouds = PartClouds(opened.clouds)
    order = spread_rows(clouds.labels, rows)
    some = Selection(clouds, order)
    some.class_parts = clouds.class_parts
    points = array(some.fetch(list(range(len(some))), 0)["points"][..., :3])
    palette, used = class_colors(clouds.parts), set()
    grid = []
    predicted = predict_parts(model.model, some, np.arange(len(some)), 16)
    for place, (found, truth, category) in enumerate(
        (f, t, c) for batch in predicted for f, t, c in zip(*batch, strict=True)
    ):
        scores = PartScores(clouds.classes, clouds.class_parts)
        scores.add(found[None], truth[None], category[None])
        result = scores.result()
        bounds, name = view_bounds(points[place]), clouds.classes[category]
        used |= set(found.tolist()) | set(truth.tolist())
        numbers = f"mIoU {result['instance_miou']:.1f}, accuracy {result['accuracy']:.1f}"
        grid.append(
            [
                Panel(points[place], short(some.names[place]), f"{name}: true parts", by_label(truth, palette), bounds),
                Panel(points[place], "predicted", numbers, by_label(found, palette), bounds),
            ]
        )
    # Two shapes a row: four panels use a page's width.
    grid = [grid[i] + (grid[i + 1] if i + 1 < len(grid) else []) for i in range(0, len(grid), 2)]
    colors = hex_colors(clouds.parts)
    return Figure(
        "Parts: truth and prediction",
        grid,
        note="Left of each pair the true parts, right of it the predicted ones. mIoU: mean over the parts of the "
        "shape's category; accuracy: share of its points; in percent.",
        legend=[(clouds.parts[part], colors[part]) for part in sorted(used - {-1})],
    )


def dataset(source: Source, columns: int) -> Figure:
    """Return one shape of every class with its number of clouds and median extents, then the odd ones out."""
    clouds = open_dataset(source.input, source.split or None, subset=source.subset or None)
    page = page_of_shapes(clouds)
    panels = []
    for row in page.classes:
        first = page.examples.get(row.name)
        if first:
            size = " × ".join(f"{x:.2f}" for x in row.extents)
            panels.append(Panel(first[0].points, row.name, f"{sum(row.counts.values())} clouds\n{size}"))
    odd = [Panel(shape.points, short(shape.name), "\n".join(shape.remark.split(": "))) for shape in page.odd]
    grid = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    names = ["Classes", *[""] * (len(grid) - 1)]
    if odd:
        more = [odd[i : i + columns] for i in range(0, len(odd), columns)]
        grid, names = grid + more, [*names, "Odd ones out", *[""] * (len(more) - 1)]
    return Figure(
        f"Dataset {page.name}",
        grid,
        names,
        note=f"{page.facts['Clouds']}. The first shape of every class, y up; the number of clouds and their median "
        "width × height × depth at radius 1.",
    )


def spread_rows(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` shapes, evenly spread over the classes of labels (S,), as `spread_places`."""
    from act3d.use.shapes import Item

    items = [Item("", f"{label:06d}" if label >= 0 else "", "", "", "") for label in labels.tolist()]
    return np.array(spread_places(items, count))
