# %% [markdown]
# # Classify
#
# `act3d-small`, an encoder that comes with act3d, has seen names of furniture, electronic parts and bricks. So it names
# shapes by words alone, before any training:

# %%
import act3d

shapes = act3d.open_dataset("sample-furniture", split="test", points=1024)
first = shapes[0]["points"]
named = act3d.load("act3d-small").classify(first, shapes.classes)
for name, probability in named[:3]:
    print(f"{name}: {100 * probability:.0f} %")
print("it is:", shapes.classes[shapes[0]["label"]])

# %% [markdown]
# With labels, a classifier does better. Here only a linear layer is trained, the encoder stays as it is.

# %%
act3d.finetune(
    config=["small/finetune", "small/finetune-linear"],
    data={"root": "sample-furniture"},
    checkpoint="act3d-small",
    trainer={"epochs": 5, "min_steps": 40},
    out="runs/classifier",
)

# %% [markdown]
# Test it: overall accuracy, mean over classes, and a table by class. `runs/classifier-test` also gets the confusion
# matrix, as a picture and as a page that shows the shapes taken for something else.

# %%
act3d.evaluate("runs/classifier", data={"root": "sample-furniture"}, out="runs/classifier-test")

# %%
for name, probability in act3d.load("runs/classifier").predict(first)[:3]:
    print(f"{name}: {100 * probability:.0f} %")

# %% [markdown]
# `classifier.transfer` chooses what is trained: all (`full`), heads on the frozen encoder (`linear`, `mlp3`), `side`,
# `bitfit`. Test sets are looked at once; see the page on protocols. Ten shapes of each class are enough to begin with:
# `act3d fewshot --config small/fewshot --data.root sample-furniture`.
