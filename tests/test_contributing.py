"""What CONTRIBUTING.md shows, done literally in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def snippets(heading: str) -> list[str]:
    """Return the blocks of code below a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```(?:python)?\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


class Copy:
    """A copy of the source that is changed as CONTRIBUTING.md says, and run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))

    def write(self, snippet: str) -> None:
        """Write a snippet that starts with the path of its file."""
        path, _, text = snippet.removeprefix("# ").partition("\n")
        assert not (self.folder / path).exists()
        (self.folder / path).write_text(text, encoding="utf-8")

    def insert(self, path: str, after: str, text: str) -> None:
        """Insert text after the only place where `after` stands."""
        file = self.folder / "src/act3d" / path
        source = file.read_text(encoding="utf-8")
        assert source.count(after) == 1, f"{path} has {after!r} {source.count(after)} times"
        file.write_text(source.replace(after, after + text), encoding="utf-8")

    def run(self, *words: str) -> str:
        """Run Python with the changed source and return what it prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src")}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_the_table_of_rooms_is_complete_and_in_the_order_of_the_import_rules() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    rooms = [room for row in rows for room in re.findall(r"`(\w+)/`", row)]
    folders = {path.parent.name for path in (ROOT / "src/act3d").glob("*/*.py")}
    assert set(rooms) == folders
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    ordered = [name.strip().removeprefix("act3d.") for layer in layers for name in layer.split("|")]
    assert [room for room in rooms if room in ordered] == ordered


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_new_layout_is_opened_and_checked(copy: Copy) -> None:
    whole, line = snippets("How to add a dataset layout")
    copy.write(whole)
    copy.insert("data/layouts.py", "from act3d.data import fewshot, modelnet40, ", "named_npy, ")
    copy.insert("data/layouts.py", "LAYOUTS: tuple[Layout, ...] = (\n", line)
    clouds = copy.folder / "mine" / "clouds"
    clouds.mkdir(parents=True)
    for name in ("train_cup_a", "train_jug_b", "test_cup_c"):
        np.save(clouds / f"{name}.npy", np.random.default_rng(0).normal(size=(32, 3)))
    shown = copy.run("-m", "act3d", "check-data", "mine")
    assert "named .npy" in shown
    assert "train: 2 clouds of 32 points, 2 classes" in shown
    script = "import act3d; d = act3d.open_dataset('mine', 'test', 8); print(d.names, d[0]['points'].shape)"
    assert copy.run("-c", script).strip() == "['test_cup_c'] torch.Size([8, 3])"


def test_a_new_loss_is_built_by_its_name(copy: Copy) -> None:
    whole, line = snippets("How to add a loss")
    file = copy.folder / "src/act3d/losses/distillation.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n\n" + whole, encoding="utf-8")
    copy.insert("losses/__init__.py", "from act3d.losses.distillation import BarlowTwinsLoss, ", "L1Loss, ")
    copy.insert("losses/__init__.py", "LOSSES: dict[str, type[nn.Module]] = {\n", line)
    copy.insert("settings/training.py", 'Literal["cosine", ', '"l1", ')
    script = """
import torch
from act3d.losses import build_loss
from act3d.settings.training import LossConfig
print(float(build_loss(LossConfig(kind="l1").kind)(torch.zeros(1, 2, 3), torch.full((1, 2, 3), -2.0))))
"""
    assert copy.run("-c", script).strip() == "2.0"


def test_a_new_command_has_options_help_and_a_function(copy: Copy) -> None:
    settings, function, entry = snippets("How to add a command")
    file = copy.folder / "src/act3d/settings/preparing.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n\n" + settings, encoding="utf-8")
    copy.write(function)
    copy.insert("cli/table.py", "COMMANDS: dict[str, Command] = {\n", entry)
    assert "Count the clouds of every class" in copy.run("-m", "act3d", "--help")
    assert "split whose clouds are counted" in copy.run("-m", "act3d", "count", "--help")
    assert "12 cap_axial" in copy.run("-m", "act3d", "count", "sample", "--split", "test")
    script = "from act3d.commands.count import count; print(count('sample', split='train')['qfn'])"
    assert copy.run("-c", script).splitlines()[-1] == "28"
