"""Figures of autoencoders: reconstructions, and the codes of their codebooks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from act3d.evaluation.reconstruction import scores_of
from act3d.report.cloud_picture import view_bounds
from act3d.report.figure import Figure, Panel
from act3d.report.viewer import by_label
from act3d.use.figures.shapes import (
    Source,
    array,
    list_shapes,
    nearest_patch,
    read_shapes,
    shapes_of,
    short,
    spread_places,
)
from act3d.use.shape_predictors import AutoencoderPredictor

CODE_ROWS = 5
LIT, OTHER = (0xD5, 0x5E, 0x00), (0x9A, 0xA3, 0xAB)  # points of patches with the row's code, and all others
USAGE_SHAPES = 256  # shapes whose patches are counted


@torch.no_grad()
def reconstructions(models: Sequence[AutoencoderPredictor], names: Sequence[str], source: Source, rows: int) -> Figure:
    """Return input | coarse and fine reconstruction by every autoencoder, with F-score and Chamfer distances below.

    Args:
        models: Autoencoders; each gets the shape as it was trained to see it.
        names: What to call them.
        source: The shapes.
        rows: How many are shown.
    """
    first = shapes_of(source, models[0], rows)
    grid: list[list[Panel]] = []
    for name, label, cloud in zip(first.names, first.labels, array(first.points[..., :3]), strict=True):
        grid.append([Panel(cloud, short(name), f"{label}\n{len(cloud)} points" if label else f"{len(cloud)} points")])
    for model, called in zip(models, names, strict=True):
        shown = first if model is models[0] else shapes_of(source, model, rows)
        rebuilt = model.model.reconstruct(model.model.patchify(shown.points))
        scores = scores_of(rebuilt, shown.points).tolist()
        coarse = (rebuilt.coarse + rebuilt.centers.unsqueeze(2)).flatten(1, 2)  # (B, G, M/4, 3) -> (B, G*M/4, 3)
        for place, row in enumerate(grid):
            f, l1, l2 = scores[place]
            few, whole = array(coarse[place]), array(rebuilt.points[place])
            row.append(Panel(few, f"{called}: coarse", f"{len(few)} points"))
            row.append(Panel(whole, f"{called}: fine", f"F {f:.3f}\nCD-L1 {l1:.1f}\nCD-L2 {l2:.2f}"))
    # All clouds of a row in one scale, and none cut off: a reconstruction may be larger than what it is of.
    bounds = [view_bounds(*(panel.points for panel in row)) for row in grid]
    grid = [[replace(panel, bounds=bound) for panel in row] for row, bound in zip(grid, bounds, strict=True)]
    return Figure(
        "Reconstructions",
        grid,
        note="Every patch becomes one code of the codebook, and is rebuilt from it. F: share of points that lie within "
        "0.01 of the other cloud, harmonic mean of both directions. CD: Chamfer distances × 1000. Colours show height.",
    )


@torch.no_grad()
def codes(model: AutoencoderPredictor, source: Source, columns: int) -> Figure:
    """Return how many codes live, their perplexity, and for the codes used most, shapes with the patches they have.

    Args:
        model: An autoencoder.
        source: The shapes: the first 256 of them, evenly spread over classes, are counted.
        columns: Shapes shown for a code.
    """
    shapes = list_shapes(source, model)
    shown = read_shapes(shapes, spread_places(shapes.items, USAGE_SHAPES), model, source.reading)
    tokens, owner = [], []
    for block in shown.points.split(32):
        patches = model.model.patchify(block)
        tokens.append(model.model.tokens(patches))
        owner.append(nearest_patch(block, patches))
    token, patch_of = torch.cat(tokens).cpu().numpy(), torch.cat(owner).cpu().numpy()  # (B, G), (B, N)
    usage = np.bincount(token.ravel(), minlength=model.model.codes) / token.size
    live, perplexity = code_usage(usage)
    order = np.argsort(-usage, kind="stable")[: min(CODE_ROWS, live)]
    grid, names = [], []
    for code in order:
        often = (token == code).sum(axis=1)
        row = []
        for place in np.argsort(-often, kind="stable")[:columns]:
            if often[place]:
                lit = (token[place] == code)[patch_of[place]]
                row.append(
                    Panel(
                        array(shown.points[place]),
                        short(shown.names[place]),
                        f"{often[place]} of {token.shape[1]} patches",
                        by_label(lit, [OTHER, LIT]),
                    )
                )
        grid.append(row)
        names.append(f"Code {code}: {100 * usage[code]:.1f} % of all patches")
    title = f"{live} of {model.model.codes} codes in use, perplexity {perplexity:.1f}"
    note = (
        f"{title}, on {len(token)} shapes with {token.shape[1]} patches each. Perplexity: how many codes there would "
        "be if all were used equally often. Below, the codes used most, and the shapes that use them most."
    )
    legend = [("patches with the row's code", f"#{bytes(LIT).hex()}"), ("all others", f"#{bytes(OTHER).hex()}")]
    return Figure("Codes of the codebook", grid, names, note, legend)


def code_usage(usage: np.ndarray) -> tuple[int, float]:
    """How many codes are used, and their perplexity exp(-sum p log p), from shares (K,) of all patches."""
    used = usage[usage > 0]
    return len(used), float(np.exp(-(used * np.log(used)).sum()))
