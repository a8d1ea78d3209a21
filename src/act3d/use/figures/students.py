"""Figures of encoders: what a masked student predicts, and what the class token looks at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from act3d.errors import InputError
from act3d.geometry import gather
from act3d.models.autoencoder import Autoencoder
from act3d.models.class_attention import class_attention
from act3d.models.encoder import EncoderModel
from act3d.models.masking import hidden_count, random_mask
from act3d.report.cloud_picture import view_bounds
from act3d.report.figure import Figure, Panel
from act3d.report.viewer import by_value, one_color
from act3d.use.figures.shapes import Source, array, nearest_patch, shapes_of, short
from act3d.use.shape_predictors import EncoderPredictor, StudentPredictor

PLAIN = one_color((0x9A, 0xA3, 0xAB))  # of panels that the ramp says nothing about


@torch.no_grad()
def masks(
    student: StudentPredictor, teacher: Autoencoder, source: Source, rows: int, ratio: float, seed: int
) -> Figure:
    """Return input | visible patches | what the student predicts at the hidden ones | the cosine of every hidden patch.

    Args:
        student: The student.
        teacher: Its frozen autoencoder, whose features it predicts and whose decoder shows them.
        source: The shapes.
        rows: How many are shown.
        ratio: Share of patches that is hidden.
        seed: Of the mask.
    """
    shown = shapes_of(source, student, rows)
    model, cut = student.model, teacher.patches  # as in training, where the student may be used at more
    patches = model.patchify(shown.points, cut)
    count = hidden_count(cut, ratio)
    if count == 0:
        raise InputError(f"mask_ratio {ratio} hides none of {cut} patches")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mask = random_mask(len(shown.points), cut, count).to(student.device)
    output = model(patches, mask, count)
    target = gather(teacher.features(patches), output.hidden)  # (B, G, D) -> (B, H, D)
    cosine = F.cosine_similarity(output.predicted.float(), target.float(), dim=2)
    whole = teacher.features(patches)
    # The loss knows directions only: features get the mean length of the teacher's before they are decoded.
    length = whole.norm(dim=2).mean(dim=1)[:, None, None]
    decoded = teacher.decode(F.normalize(output.predicted, dim=2) * length, gather(patches.centers, output.hidden))
    owner = nearest_patch(shown.points, patches)
    low = np.floor(20 * float(cosine.min())) / 20
    grid = []
    for place, cloud in enumerate(array(shown.points[..., :3])):
        bounds, hidden = view_bounds(cloud, array(decoded.points[place])), mask[place]
        seen = patches.neighborhoods[place][~hidden][..., :3] + patches.centers[place][~hidden][:, None]
        of_patch = torch.ones(cut, device=student.device).scatter(0, output.hidden[place], cosine[place])
        of_point, covered = of_patch[owner[place]], hidden[owner[place]].cpu().numpy()
        mean = float(cosine[place].mean())
        grid.append(
            [
                Panel(cloud, short(shown.names[place]), f"{len(cloud)} points", PLAIN, bounds),
                Panel(array(seen.flatten(0, 1)), "visible", f"{len(seen)} of {cut} patches", PLAIN, bounds),
                Panel(array(decoded.points[place]), "predicted", f"{count} hidden patches", PLAIN, bounds),
                Panel(
                    cloud[covered], "cosine by patch", f"mean {mean:.3f}, loss {1 - mean:.3f}",
                    by_value(array(of_point)[covered], low, 1), bounds,
                ),
            ]
        )  # fmt: skip
    return Figure(
        "What the student predicts",
        grid,
        note="The student sees the visible patches only. Its predictions of the teacher's features at hidden patches "
        "are decoded by the teacher. Right: the cosine of prediction and teacher for every hidden patch; 1 minus its "
        "mean is ACT's loss.",
        scale=(f"cosine {low:.2f}", "1"),
    )


@torch.no_grad()
def attention(
    model: EncoderPredictor[Any], source: Source, rows: int, blocks: Sequence[int], heads: Sequence[int]
) -> Figure:
    """Return how the class token attends to the patches, one panel a block and head.

    Args:
        model: An encoder with a class token.
        source: The shapes.
        rows: How many are shown.
        blocks: Their numbers from 1; empty = first, middle and last.
        heads: Their numbers from 1; empty = the mean over heads.

    Raises:
        InputError: No class token, or no such block or head.
    """
    shown = shapes_of(source, model, rows)
    encoder_model: EncoderModel = model.model
    patches = encoder_model.patchify(shown.points)
    weights = class_attention(encoder_model.encoder, patches)  # (blocks, B, heads, G)
    depth, _, count, _ = weights.shape
    chosen = list(blocks) or sorted({1, (depth + 1) // 2, depth})
    for what, wanted, most in (("block", chosen, depth), ("head", heads, count)):
        if wrong := [number for number in wanted if not 1 <= number <= most]:
            raise InputError(f"{what} {wrong[0]}: this encoder has {most}; allowed are 1 to {most}")
    owner = nearest_patch(shown.points, patches)
    grid = []
    for place, cloud in enumerate(array(shown.points[..., :3])):
        row = [Panel(cloud, short(shown.names[place]), shown.labels[place], PLAIN)]
        for block in chosen:
            for head in heads or [0]:
                of_block = weights[block - 1, place]
                of_patch = of_block[head - 1] if head else of_block.mean(dim=0)
                share, peak = float(of_patch.sum()), float(of_patch.max())
                title = f"block {block}, head {head}" if head else f"block {block}"
                note = f"{100 * share:.0f} % on patches\nmost on one {100 * peak:.1f} %"
                row.append(Panel(cloud, title, note, by_value(array(of_patch[owner[place]]), 0, peak)))
        grid.append(row)
    what = "one head each" if heads else "mean over heads"
    return Figure(
        "Attention of the class token",
        grid,
        note=f"The share of its attention that the class token gives to every patch ({what}); every panel runs from 0 "
        "to its own maximum, which stands below. What is not on patches is on the class token itself.",
        scale=("0", "the panel's maximum"),
    )
