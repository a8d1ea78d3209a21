"""The sample that ships inside the package."""

from collections import Counter

import torch

from act3d.data import open_dataset
from act3d.data.packed import PackedDataset
from act3d.samples import sample_root


def rows(split: str) -> tuple[PackedDataset, list[dict[str, str]]]:
    data = open_dataset("sample", split)
    assert isinstance(data, PackedDataset)
    return data, [{key: column[row] for key, column in data.table.items()} for row in data.rows]


def test_counts() -> None:
    train, test = open_dataset("sample", "train"), open_dataset("sample", "test")
    assert (len(train.classes), train.points) == (16, 1024)
    assert Counter(train.labels.tolist()) == dict.fromkeys(range(16), 28)
    assert Counter(test.labels.tolist()) == dict.fromkeys(range(16), 12)
    assert len(set(train.names) | set(test.names)) == 640
    size = sum(path.stat().st_size for path in sample_root().iterdir())
    assert size < 5_000_000


def test_training_and_test_share_no_family() -> None:
    families = [{(row["class"], row["family"]) for row in rows(split)[1]} for split in ("train", "test")]
    assert families[0].isdisjoint(families[1])
    assert all(family != "" for _, family in families[0] | families[1])


def test_none_of_the_gpl_models_and_every_model_attributed() -> None:
    attribution = (sample_root() / "ATTRIBUTION.md").read_text()
    for split in ("train", "test"):
        data, table = rows(split)
        assert {row["licence"] for row in table} == {"CC-BY-SA-4.0"}
        for name in data.names:
            line = next(line for line in attribution.splitlines() if line.startswith(f"- {name}: "))
            assert "opyright" in line
    licence = (sample_root() / "LICENSE").read_text()
    assert "https://creativecommons.org/licenses/by-sa/4.0/legalcode" in licence
    assert "exception" in licence


def test_points_and_parts_are_sound() -> None:
    data = open_dataset("sample")
    batch = data.fetch(range(640))
    assert torch.isfinite(batch["points"]).all()
    assert torch.allclose(batch["points"].norm(dim=2).amax(dim=1), torch.ones(640), atol=1e-5)
    assert data.parts == ["body", "accent", "metal", "lens", "marking"]
    assert batch["parts"].max() < 5
    # Every class is made of body and metal at least; legs stand below bodies (y is up).
    header = data.classes.index("led_tht")
    chosen = batch["label"] == header
    points, parts = batch["points"][chosen], batch["parts"][chosen]
    assert points[parts == 2][:, 1].mean() < points[parts == 3][:, 1].mean() - 0.2
