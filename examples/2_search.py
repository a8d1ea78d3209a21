# %% [markdown]
# # Search a library
#
# An index of a collection answers: which shapes are like this one, and which are what I say? `act3d-small`, an encoder
# that comes with act3d, makes it; 403 pieces of furniture come with act3d too. Nothing is trained.

# %%
from PIL import Image

import act3d

act3d.index("sample-furniture", out="runs/furniture-index")

# %% [markdown]
# The index holds one vector a shape. A second call embeds only new and changed files. Where shapes have classes, the
# quality of search is printed, as above.
#
# By words, any words. Each search loads two models first, which takes most of its time; `act3d app` loads them once:

# %%
for text in ("office chair", "something to sleep on"):
    found = act3d.search(index="runs/furniture-index", text=text, k=3)

# %% [markdown]
# By a shape of the index, or by a file (obj, stl, glb, ply ...):

# %%
name = act3d.open_dataset("sample-furniture", split="test").names[0]
found = act3d.search(name, index="runs/furniture-index", k=5)
for hit in found.hits[name]:
    print(hit.rank, f"{hit.similarity:.2f}", hit.label)

# %%
act3d.show("neighbors", "sample-furniture", checkpoint=["act3d-small"], rows=3, columns=5, out="runs/nearest.png")
Image.open("runs/nearest.png").reduce(2)

# %% [markdown]
# `act3d.embed("path/to/shapes", out="shapes.npz")` writes the vectors alone. For shapes of your own, `act3d app
# path/to/shapes` searches them in the browser.
