"""The shapes that a figure shows."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d.errors import InputError
from act3d.files import printable
from act3d.geometry import Patches
from act3d.lines import say
from act3d.use.predictor import Predictor
from act3d.use.shapes import Item, Reading, Shapes, find_shapes


class Source(NamedTuple):
    """Where shapes come from: a file, folder, pattern or dataset, which split and part of it, and how it is read."""

    input: str
    split: str = ""
    subset: str = ""
    reading: Reading = Reading()


class Shown(NamedTuple):
    """Shapes as a model reads them: names and classes ("" = unknown), and points (B, N, 3) on the model's device."""

    names: list[str]
    labels: list[str]
    points: Tensor


def list_shapes(source: Source, predictor: Predictor[Any]) -> Shapes:
    """List the shapes of a source; of a dataset without a chosen split the test split, where it has one."""
    every = find_shapes(source.input, predictor, source.split, source.subset, source.reading)
    if not source.split and every.dataset is not None and "test" in {item.split for item in every.items}:
        return find_shapes(source.input, predictor, "test", source.subset, source.reading)
    return every


def spread_places(items: Sequence[Item], count: int) -> list[int]:
    """Places of `count` shapes: the first of each of so many classes, evenly spread; then the second of each, ...

    So a figure shows no choice of its own.
    """
    classes = sorted({item.label for item in items} - {""}) or [""]
    even = [
        classes[i] for i in np.unique(np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int))
    ]
    members = {name: [place for place, item in enumerate(items) if item.label == name] for name in even}
    turns = [(turn, rank, place) for rank, name in enumerate(even) for turn, place in enumerate(members[name])]
    return [place for _, _, place in sorted(turns)[:count]]


def read_shapes(
    shapes: Shapes, places: Sequence[int], predictor: Predictor[Any], reading: Reading, spare: Sequence[int] = ()
) -> Shown:
    """Read the shapes at these places as the model was trained on such; `spare` ones in place of those that cannot be.

    Raises:
        InputError: not one could be read.
    """
    names, labels, clouds = [], [], []
    wanted = list(places)
    while wanted:
        failed = 0
        for good, points, bad, _ in shapes.batches(wanted, predictor, reading):
            for place, reason in bad:
                say(f"act3d: not readable: {shapes.items[place].name}: {reason}", error=True)
            names += [shapes.items[place].name for place in good]
            labels += [shapes.items[place].label for place in good]
            clouds += [points] if len(points) else []
            failed += len(bad)
        wanted, spare = list(spare[:failed]), spare[failed:]
    if not clouds:
        raise InputError("not one shape could be read")
    return Shown(names, labels, torch.cat(clouds).to(predictor.device, predictor.dtype))


def shapes_of(source: Source, predictor: Predictor[Any], count: int) -> Shown:
    """Read `count` shapes of a source, as far as so many can be read."""
    shapes = list_shapes(source, predictor)
    chosen, every = spread_places(shapes.items, count), spread_places(shapes.items, len(shapes.items))
    spare = [place for place in every if place not in set(chosen)]
    return read_shapes(shapes, chosen, predictor, source.reading, spare)


def short(name: str) -> str:
    """The last part of a name, without folders, nor the creator in "creator#model" (Sweet Home 3D's furniture)."""
    return printable(re.split(r"/|#(?=[^\W\d])", name)[-1])


def nearest_patch(points: Tensor, patches: Patches) -> Tensor:
    """The patch that each point belongs to: the one whose center is nearest; points (B, N, 3) -> (B, N)."""
    return torch.cdist(points[..., :3], patches.centers).argmin(dim=2)


def array(tensor: Tensor) -> Any:
    """A tensor as a float32 array on the host."""
    return tensor.detach().float().cpu().numpy()
