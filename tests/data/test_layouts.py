"""The list of layouts, what all of them have in common, and damage to the files they are made of."""

from pathlib import Path

import numpy as np
import pytest

from act3d.data import layouts, open_dataset
from act3d.data.arrays import ArrayClouds
from act3d.data.layout import Found, Layout, Wanted, check_by_opening
from act3d.data.reading import open_npy
from act3d.errors import InputError
from act3d.samples import sample_root
from tests.data.helpers import write_packed
from tests.fixtures import released_layouts


class Toy(ArrayClouds):
    """One `.toy` file a split; every cloud is of class 0."""

    def __init__(self, base: Path, split: str | None) -> None:
        files = [base / f"{split}.toy"] if split else sorted(base.glob("*.toy"))
        stored = np.concatenate([np.loadtxt(file, dtype=np.float32).reshape(-1, 4, 3) for file in files])
        about = {"name": "toy", "fingerprint": "f"}
        super().__init__(stored, np.zeros(len(stored), dtype=np.int64), ["thing"], [f"{i}" for i in stored], about)
        self.split = [file.stem for file in files]


TOY = Layout(
    "toys",
    find=lambda root: root if any(root.glob("*.toy")) else None,
    open=lambda base, wanted: Toy(base, wanted.split),
    check=lambda base: [check_by_opening(Found("toys"), lambda split: Toy(base, split), ())],
)


def test_one_line_makes_a_layout_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, split in enumerate(("train", "test")):
        np.savetxt(tmp_path / f"{split}.toy", np.random.default_rng(number).random((4, 3)))
    with pytest.raises(InputError, match="nor a released layout that act3d knows"):
        open_dataset(tmp_path)
    monkeypatch.setattr(layouts, "LAYOUTS", (*layouts.LAYOUTS, TOY))
    assert len(open_dataset(tmp_path)) == 2
    (found,) = layouts.check_folder(tmp_path)
    assert {split: part.classes for split, part in found.parts.items()} == {"train": {"thing": 1}, "test": {"thing": 1}}
    with pytest.raises(InputError, match="toys has no subset 'core'"):
        open_dataset(tmp_path, subset="core")
    with pytest.raises(InputError, match=r"looked for: prepared dataset, ShapeNet-55, .*rooms, toys\)"):
        layouts.check_folder(tmp_path.parent)


def test_what_is_no_dataset_of_clouds_says_who_takes_it(tmp_path: Path) -> None:
    released_layouts.fewshot(tmp_path, folds=1)
    with pytest.raises(InputError, match="holds few-shot folds; run them by act3d fewshot"):
        open_dataset(tmp_path)


def test_a_dataset_says_what_it_is(tmp_path: Path) -> None:
    clouds = open_dataset(write_packed(tmp_path / "set"), "train", 16)
    assert repr(clouds) == (
        "<PackedDataset random, train: 15 clouds of 16 points, 3 classes, 2 parts, normalization unit_sphere, "
        f"fingerprint {clouds.fingerprint}>"
    )


def damaged_headers() -> list[bytes]:
    good = (sample_root() / "points-00000.npy").read_bytes()[:4000]
    texts = [
        b"{'descr': '<f2', 'fortran_order': False, 'shape': (9",
        b"(((((((((((",
        b"\xff\xfe" * 20,
        b"{}",
        b"1" * 300,
    ]
    shapes = [b"(99999999999999999999,)", b"(-1, 3)", b"(4611686018427387904, 8)", b"('a',)", b"(1e9,)"]
    texts += [b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b"}" for shape in shapes]
    texts += [b"{'descr': 'O', 'fortran_order': False, 'shape': (1,)}", b"{'descr': 'Q9', 'fortran_order': 3}"]
    return [b"", b"\x93NUMPY", good[:7], good] + [
        b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\x00" * 64 for text in texts
    ]


@pytest.mark.parametrize("content", damaged_headers())
def test_damaged_arrays_name_their_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy is damaged or cut off"):
        open_npy(tmp_path / "a.npy")


def test_a_layout_is_opened_by_what_is_wanted(tmp_path: Path) -> None:
    write_packed(tmp_path / "set")
    clouds = layouts.open_folder(tmp_path / "set", Wanted("test", 8, 3, "none", "core"))
    assert (clouds.points, clouds.seed, clouds.normalization, len(clouds)) == (8, 3, "none", 2)


def test_a_damaged_dataset_is_a_dataset_and_a_folder_of_meshes_is_none(tmp_path: Path) -> None:
    (write_packed(tmp_path / "set") / "dataset.json").write_text("{")
    (tmp_path / "meshes" / "chair").mkdir(parents=True)
    (tmp_path / "meshes" / "chair" / "a.obj").write_text("v 0 0 0\n")
    assert layouts.holds_dataset(tmp_path / "set")
    assert not layouts.holds_dataset(tmp_path / "meshes")
