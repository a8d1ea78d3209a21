# %% [markdown]
# # Label parts
#
# A segmenter gives every point a label. The sample's points carry the material of KiCad's models: pins, bodies,
# markings. The segmenter starts from `act3d-small`, an encoder that comes with act3d. For a useful one, leave out
# `points`, `segmenter` and `trainer`; it then takes minutes.

# %%
from PIL import Image

import act3d

act3d.segment(
    config="small/parts",
    data={"root": "sample", "points": 256},
    segmenter={"patches": 16, "head_widths": [128, 128, 64, 64]},
    checkpoint="act3d-small",
    trainer={"epochs": 2},
    out="runs/parts",
)

# %% [markdown]
# Truth on the left of each pair, prediction on the right. mIoU is the mean over the parts that a shape's class has.

# %%
act3d.show("parts", "sample", checkpoint=["runs/parts"], rows=4, out="runs/parts.png")
Image.open("runs/parts.png").reduce(2)

# %%
model = act3d.load("runs/parts")
shape = act3d.open_dataset("sample", split="test")[0]
labels = model.segment(shape["points"][None], category=int(shape["label"]))
print(labels.shape, sorted({model.names[i] for i in labels.unique().tolist()}))

# %% [markdown]
# Files: `act3d predict chair.obj --checkpoint runs/parts --category chair --out chair.ply` writes coloured points.
