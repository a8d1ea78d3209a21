"""The released ShapeNet-55 layout."""

from pathlib import Path

import numpy as np
import pytest
import torch

from act3d.data import open_dataset
from act3d.errors import InputError

TRAIN = ["02691156-a1.npy", "03001627-b2.npy", "99999999-c3.npy"]
TEST = ["03001627-d4.npy"]


def write_layout(base: Path, folder: str = "shapenet_pc", columns: int = 3) -> Path:
    (base / "ShapeNet-55").mkdir(parents=True)
    (base / folder).mkdir()
    for name, files in (("train", TRAIN), ("test", TEST)):
        (base / "ShapeNet-55" / f"{name}.txt").write_text("\n".join(files) + "\n")
        for number, file in enumerate(files):
            cloud = np.random.default_rng(number).normal(size=(40, columns)).astype(np.float32)
            np.save(base / folder / file, cloud)
    return base


@pytest.mark.parametrize("folder", ["shapenet_pc", "shapenet_pc_masksurf_with_normal"])
@pytest.mark.parametrize("above", [False, True])
def test_both_spellings_are_read(tmp_path: Path, folder: str, above: bool) -> None:
    base = write_layout(tmp_path / "ShapeNet55-34", folder, columns=3 if folder == "shapenet_pc" else 6)
    data = open_dataset(tmp_path if above else base, "train", points=16)
    assert len(data) == 3
    assert data.classes == ["airplane", "chair", "99999999"]
    assert data.labels.tolist() == [0, 1, 2]
    assert data.names[0] == "02691156-a1"
    batch = data.fetch([0, 2])
    assert batch["points"].shape == (2, 16, 3)
    assert torch.allclose(batch["points"].norm(dim=2).amax(1), torch.ones(2))
    test = open_dataset(base, "test")
    assert (test.points, test.labels.tolist(), test.classes) == (40, [1], data.classes)
    assert len(open_dataset(base, "train+test")) == 4
    assert test.fingerprint == data.fingerprint  # of the dataset, not of a split
    raw = np.load(base / folder / TEST[0])[:, :3]
    whole = open_dataset(base, "test", normalize="none").fetch([0])["points"][0].numpy()
    assert np.array_equal(raw[np.lexsort(raw.T)], whole[np.lexsort(whole.T)])


def test_missing_clouds_are_named_in_one_line(tmp_path: Path) -> None:
    base = write_layout(tmp_path)
    (base / "shapenet_pc" / TRAIN[1]).unlink()
    with pytest.raises(InputError, match=rf"lacks {TRAIN[1]} of 3 listed"):
        open_dataset(base, "train")
    (base / "shapenet_pc" / TRAIN[2]).unlink()
    with pytest.raises(InputError, match=rf"lacks {TRAIN[1]} and 1 more of 3"):
        open_dataset(base, "train")
    for file in (base / "shapenet_pc").iterdir():
        file.unlink()
    (base / "shapenet_pc").rmdir()
    with pytest.raises(InputError, match="shapenet_pc is missing"):
        open_dataset(base, "train")


def test_missing_list_and_odd_line(tmp_path: Path) -> None:
    base = write_layout(tmp_path)
    (base / "ShapeNet-55" / "test.txt").unlink()
    assert len(open_dataset(base, "train")) == 3
    with pytest.raises(InputError, match=r"test\.txt is missing"):
        open_dataset(base, "test")
    (base / "ShapeNet-55" / "train.txt").write_text("../../etc-passwd.npy\n")
    with pytest.raises(InputError, match="not of the form"):
        open_dataset(base, "train")


def test_damaged_and_small_clouds(tmp_path: Path) -> None:
    base = write_layout(tmp_path)
    with pytest.raises(InputError, match="40 points, 41 are needed"):
        open_dataset(base, "train", points=41).fetch([0])
    path = base / "shapenet_pc" / TRAIN[1]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged or cut off"):
        open_dataset(base, "train", points=8).fetch([1])
    with pytest.raises(InputError, match="no split 'val'"):
        open_dataset(base, "val")
