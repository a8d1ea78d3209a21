"""Checkpoints of a difference: small, exact, and never on another base."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import act3d
from act3d import checkpoints
from act3d.commands.convert import convert
from act3d.errors import CheckpointError
from act3d.models.classifier import Classifier
from act3d.models.student import Student

SIZE: dict[str, Any] = {"patches": 8, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "drop_path": 0.0}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return checkpoints.save(Student(**SIZE, decoder_heads=2), tmp_path / "base.safetensors", {"points": 40})


def tuned(base: Path, transfer: str) -> Classifier:
    """A classifier whose trained parameters have moved."""
    model = Classifier(3, **SIZE, transfer=transfer, lora_rank=2, adapter_width=4)
    model.start_from(checkpoints.load(base).model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("transfer", ["linear", "bitfit", "lora", "adapter"])
def test_only_the_difference_is_stored_and_the_model_is_the_same(transfer: str, base: Path, tmp_path: Path) -> None:
    model = tuned(base, transfer)
    whole = checkpoints.save(model, tmp_path / "whole.safetensors", {"points": 40})
    path, numbers = checkpoints.save_difference(
        model, tmp_path / "d.safetensors", {"points": 40}, base, checkpoints.load
    )
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert numbers == trained + sum(buffer.numel() for buffer in model.head.buffers())
    assert path.stat().st_size < whole.stat().st_size / 3
    found = act3d.load(path)
    assert all(torch.equal(value, found.model.state_dict()[key]) for key, value in model.state_dict().items())
    points = torch.rand(2, 40, 3)
    assert torch.equal(found(points), act3d.load(whole)(points))


def test_the_base_is_found_where_it_went_or_named(base: Path, tmp_path: Path) -> None:
    path, _ = checkpoints.save_difference(tuned(base, "lora"), tmp_path / "d.safetensors", {}, base, checkpoints.load)
    (tmp_path / "there").mkdir()
    shutil.move(path, tmp_path / "there" / "d.safetensors")
    shutil.move(base, tmp_path / "there" / "base.safetensors")
    checkpoints.load(tmp_path / "there" / "d.safetensors")  # both were moved: it lies beside
    shutil.move(tmp_path / "there" / "base.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"its base cannot be had: .*base\.safetensors: no such file"):
        checkpoints.load(tmp_path / "there" / "d.safetensors")
    act3d.load(tmp_path / "there" / "d.safetensors", base=tmp_path / "other.safetensors")


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    path, _ = checkpoints.save_difference(tuned(base, "lora"), tmp_path / "d.safetensors", {}, base, checkpoints.load)
    checkpoints.save(Student(**SIZE, decoder_heads=2), base)
    with pytest.raises(CheckpointError, match="is not its base: another encoder"):
        checkpoints.load(path)
    with pytest.raises(CheckpointError, match="a difference cannot be a base"):
        checkpoints.load(path, base=path)
    with pytest.raises(CheckpointError, match="is whole; it takes no base"):
        checkpoints.load(base, base=base)
    with pytest.raises(CheckpointError, match="no weights in common"):
        checkpoints.save_difference(Classifier(3, **SIZE), tmp_path / "e.safetensors", {}, base, checkpoints.load)
    assert not (tmp_path / "e.safetensors").exists()


def test_convert_makes_a_difference_and_a_whole_again(base: Path, tmp_path: Path) -> None:
    model = tuned(base, "lora")
    whole = checkpoints.save(model, tmp_path / "whole.safetensors", {"points": 40})
    convert(str(whole), out=str(tmp_path / "d.safetensors"), difference_from=str(base))
    convert(str(tmp_path / "d.safetensors"), out=str(tmp_path / "again.safetensors"))
    again = checkpoints.load(tmp_path / "again.safetensors").model  # merged: it needs no base, and has no updates
    assert again.config["transfer"] == "full"
    patches = model.patchify(torch.rand(2, 40, 3))
    torch.testing.assert_close(again(patches), model(patches))


def test_the_difference_at_the_released_size_is_below_a_megabyte(tmp_path: Path) -> None:
    base = checkpoints.save(Student(decoder_depth=1), tmp_path / "base.safetensors")
    model = Classifier(40, transfer="lora")
    model.start_from(checkpoints.load(base).model)
    path, _ = checkpoints.save_difference(model, tmp_path / "d.safetensors", {}, base, checkpoints.load)
    assert path.stat().st_size < 1_000_000
