"""A new method of pretraining, added as CONTRIBUTING.md says: four files, and every command takes it."""

import json
from pathlib import Path
from typing import get_args

from act3d.settings.pretraining import METHODS, Method
from tests.fixtures.packed import write_dataset
from tests.test_contributing import ROOT, Copy, snippets

SMALL = ["--data.points", "64", "--data.batch_size", "4", "--optim.warmup_epochs", "0", "--trainer.accelerator", "cpu"]
SIZE = ["--student.width", "16", "--student.depth", "2", "--student.heads", "2", "--student.decoder_heads", "2"]


def changed_files(copy: Copy) -> list[str]:
    here, there = ({p.relative_to(root): p.read_bytes() for p in root.rglob("*.py")} for root in (ROOT, copy.folder))
    return sorted(str(path) for path, text in there.items() if here.get(path) != text)


def test_every_method_has_a_recipe() -> None:
    assert set(METHODS) == set(get_args(Method))


def test_a_new_method_is_four_files(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    model, kind, recipe, section, line, field = snippets("How to add a method of pretraining")
    copy.write(model)
    copy.insert("models/__init__.py", "_KINDS = {\n", kind)
    copy.write(recipe)
    settings = "settings/pretraining.py"
    copy.insert(settings, "Method = Literal[", '"shaking", ')
    copy.insert(settings, "METHODS: dict[Method, MethodRecipe] = {\n", line)
    copy.insert(settings, 'option(PointMaeConfig(), "patches of Point-MAE")\n', field)
    file = copy.folder / "src/act3d" / settings
    text = file.read_text()
    place = text.index("class PretrainSettings(")
    file.write_text(f"{text[:place]}{section}\n\n{text[place:]}")
    assert changed_files(copy) == [
        f"src/act3d/{name}.py"
        for name in ("models/__init__", "models/shaking", "recipes/shaking", "settings/pretraining")
    ]
    assert sum(snippet.count("\n") for snippet in (model, recipe)) < 70  # about 40 without imports and docstrings

    write_dataset(tmp_path / "shapes", per_class=16)
    data = ["--data.root", "shapes", *SMALL]
    cut = ["--shaking.patches", "8", "--shaking.patch_size", "8", "--shaking.distance", "0.2"]
    pretrain = ["-m", "act3d", "pretrain", "--method", "shaking", *data, *SIZE, *cut, "--out", "run"]
    copy.run(*pretrain, "--trainer.epochs", "2", "--trainer.validate_every", "1")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"]["probe"] > 0
    copy.run("-m", "act3d", "pretrain", "--resume", "run", "--trainer.epochs", "3")
    classifier = ["--classifier.patches", "8", "--classifier.patch_size", "8", "--checkpoint", "run"]
    copy.run("-m", "act3d", "finetune", *data, *classifier, "--trainer.epochs", "1", "--out", "tuned")
    start = json.loads((tmp_path / "tuned" / "results.json").read_text())["start"]
    assert (start["kind"], start["encoder"]["width"]) == ("shaking", 16)
    copy.run("-m", "act3d", "probe", "run", "--data.root", "shapes", "--device", "cpu")
    script = "import act3d, torch; print(act3d.load('run').embed(torch.rand(2, 64, 3)).shape)"
    assert copy.run("-c", script).strip() == "torch.Size([2, 32])"
