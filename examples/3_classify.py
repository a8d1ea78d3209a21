# %% [markdown]
# # Classify
#
# A classifier from a pretrained encoder: here only a linear layer is trained, the encoder stays as it is.

# %%
from pathlib import Path

import act3d

# Seconds of Point-MAE, unless an earlier example did it; leave out `trainer` and `points` for a useful encoder.
if not Path("runs/student").exists():
    act3d.pretrain(
        config=["small/pretrain", "small/pretrain-pointmae"],
        data={"root": "sample", "points": 512},
        trainer={"epochs": 1, "min_steps": 25},
        out="runs/student",
    )

# %%
act3d.finetune(
    config=["small/finetune", "small/finetune-linear"],
    data={"root": "sample"},
    checkpoint="runs/student",
    trainer={"epochs": 2, "min_steps": 40},
    optim={"warmup_epochs": 0.5},
    out="runs/classifier",
)

# %% [markdown]
# Test it: overall accuracy, mean over classes, and a table by class. `runs/classifier-test` also gets the confusion
# matrix, as a picture and as a page that shows the shapes taken for something else.

# %%
act3d.evaluate("runs/classifier", data={"root": "sample"}, out="runs/classifier-test")

# %%
model = act3d.load("runs/classifier")
shapes = act3d.open_dataset("sample", split="test")
for name, probability in model.predict(shapes[0]["points"])[:3]:
    print(f"{name}: {100 * probability:.0f} %")
print("it is:", shapes.classes[shapes[0]["label"]])

# %% [markdown]
# `classifier.transfer` chooses what is trained: all (`full`), heads on the frozen encoder (`linear`, `mlp3`), `side`,
# `bitfit`. Test sets are looked at once; see the page on protocols.
