from pathlib import Path

import pytest
import torch
from torch import nn

from act3d.engine.state import Position, all_finite, read_state, write_state
from act3d.errors import CheckpointError


def test_state_comes_back(tmp_path: Path) -> None:
    position = Position(epoch=3, batch=2, pending=True, rows=17, best=0.5)
    write_state(tmp_path / "last.ckpt", {"model": {"w": torch.ones(2)}}, position)
    state, back = read_state(tmp_path / "last.ckpt")
    assert back == position
    assert torch.equal(state["model"]["w"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    write_state(path, {}, Position(epoch=1))

    def half(value: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        write_state(path, {}, Position(epoch=2))
    assert read_state(path)[1].epoch == 1
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_damaged_file_ends_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "last.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot be read|does not exist") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="not the state of an act3d run"):
        read_state(tmp_path / "last.ckpt")


def test_all_finite_looks_at_every_trainable_parameter() -> None:
    model = nn.Linear(2, 2)
    assert all_finite(model)
    with torch.no_grad():
        model.bias[1] = float("nan")
    assert not all_finite(model)


def flip(path: Path, place: float) -> None:
    """Change one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_is_found_and_the_state_before_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.ckpt"
    for epoch in (1, 2):
        write_state(path, {"model": {"w": torch.full((5000,), float(epoch))}}, Position(epoch=epoch))
    assert read_state(path)[1].epoch == 2
    flip(path, 0.5)  # in the middle of the weights
    state, position = read_state(path)
    assert position.epoch == 1
    assert bool((state["model"]["w"] == 1).all())
    assert "is damaged" in capsys.readouterr().err
    path.unlink()  # as when a process is killed between two renames
    assert read_state(path)[1].epoch == 1
    flip(tmp_path / "previous.ckpt", 0.5)
    with pytest.raises(CheckpointError, match=r"does not exist|is damaged"):
        read_state(path)
