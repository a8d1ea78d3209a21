# %% [markdown]
# # Scan rooms
#
# Label the points of whole rooms. Your scans are npy, ply, las or laz files whose points have labels; here six plain
# rooms are made up: a floor, walls and a table, with noise.

# %%
from pathlib import Path

import numpy as np

import act3d

random = np.random.default_rng(0)
scans = Path("runs/scans")
scans.mkdir(parents=True, exist_ok=True)
Path("runs/classes.txt").write_text("floor\nwall\ntable\n")
for room in range(6):
    width, length = random.uniform(2, 3, 2)
    at = random.uniform(0.5, 1.0, 2)
    floor = random.uniform(0, 1, (3000, 3)) * [width, length, 0]
    wall = random.uniform(0, 1, (3000, 3)) * [width, 0, 2.5]
    table = random.uniform(0, 1, (1500, 3)) * [1.2, 0.8, 0] + [*at, 0.75]
    points = np.concatenate([floor, wall, table]) + random.normal(0, 0.01, (7500, 3))
    labels = np.repeat([0, 1, 2], [3000, 3000, 1500])
    np.save(scans / f"room{room}.npy", np.column_stack([points, labels]))

# %% [markdown]
# `prepare` reads them, turns them z up, and keeps a fifth for testing. Points whose label is no class stay unlabelled.

# %%
act3d.prepare("runs/scans", format="scenes", classes="runs/classes.txt", workers=1, out="runs/rooms")
act3d.segment(
    config="small/scenes",
    data={"root": "runs/rooms", "points": 256},
    segmenter={"patches": 16, "patch_size": 16, "head_widths": [64, 64, 32, 32]},
    scenes={"votes": 1, "write": 1},
    trainer={"epochs": 3},
    out="runs/scenes",
)

# %% [markdown]
# A new scan needs no labels. It is cut into blocks of 1 m, every block is labelled several times, and each point gets
# the class with most votes.

# %%
scan = np.load("runs/scans/room0.npy")
model = act3d.load("runs/scenes")
found = np.asarray(model.segment_scan(scan[:, :3]))
for number, name in enumerate(model.names):
    print(name, (found == number).sum(), "points, truth", (scan[:, 3] == number).sum())

# %% [markdown]
# `act3d predict scan.las --checkpoint runs/scenes --out scan_labelled.ply` does the same for files. S3DIS as released,
# and furnished rooms with scanner noise made from Sweet Home 3D's models, are in the guide on segmentation.
