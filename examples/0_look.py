# %% [markdown]
# # Look at shapes
#
# 640 electronic parts come with act3d. This tour opens them, looks at one cloud, and draws one shape of every class.
# It trains nothing.

# %%
from pathlib import Path

from PIL import Image

import act3d

shapes = act3d.open_dataset("sample", split="train", points=1024)
print(len(shapes), "training shapes of", len(shapes.classes), "classes")
print(*shapes.classes, sep=", ")

# %% [markdown]
# A shape is a cloud: points on its surface, y up, centred, the farthest point at distance 1. Every epoch sees another
# random choice of the stored points.

# %%
first = shapes[0]
print(first["points"].shape, shapes.classes[first["label"]])

# %% [markdown]
# `act3d.show` draws datasets and what models make of them; the suffix of `out` decides: `.html` (clouds that turn),
# `.png`, `.pdf` or `.svg`. The size below a picture is the median of the class: width, height, depth.

# %%
Path("runs").mkdir(exist_ok=True)
act3d.show("data", "sample", columns=8, out="runs/sample.png")
Image.open("runs/sample.png").resize((1050, 600))

# %% [markdown]
# For shapes of your own: `act3d.prepare("path/to/shapes", out="data/mine")`, then `data/mine` wherever `sample` stands
# here.
