# %% [markdown]
# # Search a library
#
# An index of a collection answers: which shapes are like this one? It needs an encoder; this one learns for seconds
# from the shapes themselves, without labels.

# %%
from pathlib import Path

from PIL import Image

import act3d

# Seconds of Point-MAE, unless an earlier example did it; leave out `trainer` and `points` for a useful encoder.
if not Path("runs/student").exists():
    act3d.pretrain(
        config=["small/pretrain", "small/pretrain-pointmae"],
        data={"root": "sample", "points": 512},
        trainer={"epochs": 1, "min_steps": 25},
        out="runs/student",
    )

# %% [markdown]
# The index holds one vector a shape. A second call embeds only new and changed files. Where shapes have classes, the
# quality of search is printed.

# %%
act3d.index("sample", checkpoint="runs/student", out="runs/index")

# %% [markdown]
# Which shapes are nearest to one of the index? A file (obj, stl, glb, ply ...) can be asked for as well.

# %%
name = act3d.open_dataset("sample", split="test").names[0]
found = act3d.search(name, index="runs/index", k=5)
for hit in found.hits[name]:
    print(hit.rank, f"{hit.similarity:.2f}", hit.label)

# %%
act3d.show("neighbors", "sample", checkpoint=["runs/student"], rows=2, columns=5, out="runs/nearest.png")
Image.open("runs/nearest.png").reduce(2)

# %% [markdown]
# `act3d.embed("sample", checkpoint="runs/student", out="shapes.npz")` writes the vectors alone. A page to look
# through: `act3d search SHAPE --index runs/index --page found.html`.
