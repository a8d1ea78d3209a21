"""Draw the pictures of README and site from a quickstart: `python scripts/pictures.py runs/quickstart`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import act3d
from act3d.report.class_colors import class_colors
from act3d.report.cloud_picture import view_bounds
from act3d.report.figure import Figure, Panel, write_figure
from act3d.report.viewer import by_label, point_radius

OUT = Path(__file__).parents[1] / "docs/pictures"


def shrink(picture: Path) -> None:
    """Turn a picture for print into one for a page: a WebP of two thirds of its size."""
    drawn = Image.open(picture).convert("RGB")
    drawn.resize((drawn.width * 2 // 3, drawn.height * 2 // 3)).save(picture.with_suffix(".webp"), quality=80)
    picture.unlink()


def draw_patches(run: Path) -> None:
    """Draw a cloud, the patches that it is cut into, and those that the student sees."""
    student = act3d.load(str(run / "stage2-seed0"))
    cloud = act3d.open_dataset("sample", "test", points=1024)[0]["points"]
    centers = student.model.patchify(cloud[None]).centers[0]
    owner = torch.cdist(cloud, centers).argmin(dim=1).numpy()
    palette = class_colors([str(i) for i in range(len(centers))])
    hidden = np.random.default_rng(0).permutation(len(centers))[: int(0.7 * len(centers))]
    seen = ~np.isin(owner, hidden)
    bounds, colors = view_bounds(cloud), by_label(owner, palette)
    row = [
        Panel(cloud.numpy(), "1024 points", bounds=bounds),
        Panel(centers.numpy(), f"{len(centers)} centers", bounds=bounds, radius=0.05),
        Panel(cloud.numpy(), f"{len(centers)} patches", coloring=colors, bounds=bounds),
        Panel(
            cloud.numpy()[seen],
            f"visible: {len(centers) - len(hidden)} of {len(centers)}",
            coloring=by_label(owner[seen], palette),
            bounds=bounds,
            radius=point_radius(len(cloud)),
        ),
    ]
    write_figure(OUT / "patches.png", Figure("Patches", [row]))


def main(run: Path) -> None:
    """Draw all."""
    OUT.mkdir(parents=True, exist_ok=True)
    draw_patches(run)
    first, second = str(run / "stage1-seed0"), str(run / "stage2-seed0")
    act3d.show("reconstruct", "sample", checkpoint=[first], split="test", rows=2, out=str(OUT / "stage1.png"))
    act3d.show("masks", "sample", checkpoint=[second], split="test", rows=2, out=str(OUT / "stage2.png"))
    nearest: dict[str, Any] = {"rows": 3, "columns": 5, "out": str(OUT / "nearest.webp")}
    act3d.show("neighbors", "sample-furniture", checkpoint=["act3d-small"], split="test", **nearest)
    for name in ("patches", "stage1", "stage2"):
        shrink(OUT / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
