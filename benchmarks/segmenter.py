"""A training step of the segmenter at the released size, ours against the textbook form.

`python -m benchmarks.segmenter`: 2048 points, 128 patches of 32, 13 scene classes.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act3d.models.segmenter import Segmenter
from benchmarks.measure import Work, compare
from benchmarks.textbook.heads import Segmenter as TextbookSegmenter

CLASSES, POINTS = 13, 2048


def step(model: nn.Module, points: Tensor, labels: Tensor, plain: bool) -> Work:
    """Forward and backward of one batch."""
    model.train()

    def work() -> None:
        model.zero_grad(set_to_none=True)
        output = model(points).flatten(0, 1)
        (F.nll_loss if plain else F.cross_entropy)(output, labels.flatten()).backward()

    return work


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    points = torch.rand(options.batch, POINTS, 3, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(POINTS, device=device).expand(options.batch, -1) % CLASSES
    plain = step(TextbookSegmenter(CLASSES).to(device), points, labels, True)
    ours = step(Segmenter(CLASSES).to(device), points, labels, False)
    found = compare(plain, ours, options.repeats, device, options.clock)
    where = f"{device}, {torch.get_num_threads()} threads, {options.clock} time"
    print(
        f"segmenter, {options.batch} x {POINTS} points, {where}: textbook {found.textbook_s:.2f} s, "
        f"ours {found.ours_s:.2f} s, ratio {found.ratio:.2f} (spread {found.spread:.2f})"
    )


if __name__ == "__main__":
    main()
