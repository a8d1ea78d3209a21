# %% [markdown]
# # Reproduce ACT
#
# Both stages of ACT on the sample, cut down to seconds so that every step can be seen. The full recipes are the presets
# `act/autoencode` and `act/pretrain`; the last cell says how to run them.

# %%
from PIL import Image

import act3d

# %% [markdown]
# ## Stage I: a text Transformer becomes a teacher of 3D
# Patches of a shape become discrete codes, go through MiniLM's frozen blocks in place of words, and are decoded to
# points again. Only what is around MiniLM is trained.

# %%
cut = {"patches": 16, "patch_size": 32}
act3d.autoencode(
    config="small/autoencode",
    data={"root": "sample", "points": 512},
    autoencoder=cut,
    trainer={"epochs": 1, "min_steps": 50},
    out="runs/stage1",
)
teacher = act3d.load("runs/stage1")
shape = act3d.open_dataset("sample", split="test", points=512)[0]["points"]
print("codes of the patches:", teacher.tokenize(shape[None])[0].tolist())
print("features to be predicted:", tuple(teacher.teacher_features(shape[None]).shape))

# %%
act3d.show("reconstruct", "sample", checkpoint=["runs/stage1"], rows=2, out="runs/reconstructions.png")
Image.open("runs/reconstructions.png").reduce(2)

# %% [markdown]
# After 50 steps the shapes are still blurred: a patch is a smear of points. The preset takes 300 steps, the release
# 200 000.
#
# ## Stage II: a student predicts what the teacher sees in hidden patches

# %%
act3d.pretrain(
    config="small/pretrain",
    data={"root": "sample", "points": 512},
    teacher={"checkpoint": "runs/stage1"},
    trainer={"epochs": 1, "min_steps": 25},
    out="runs/stage2",
)
act3d.show("masks", "sample", checkpoint=["runs/stage2"], rows=2, out="runs/masks.png")
Image.open("runs/masks.png").reduce(2)

# %% [markdown]
# ## What it is worth
# A linear classifier on frozen features, beside the same encoder without pretraining and plain features. So short a
# training shows how to measure, not what ACT can do.

# %%
act3d.probe("runs/stage2", data={"root": "sample"})

# %% [markdown]
# The whole recipe, on ShapeNet-55 and a GPU:
#
#     act3d autoencode --config act/autoencode --data.root data/ShapeNet55 --out runs/act1
#     act3d pretrain --config act/pretrain --data.root data/ShapeNet55 --teacher.checkpoint runs/act1 --out runs/act2
