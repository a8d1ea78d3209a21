import dataclasses
import math
import subprocess
import sys
from typing import Any

import pytest

from act3d.errors import ConfigError
from act3d.settings import training as config
from act3d.settings.training import (
    AutoencoderConfig,
    BackboneConfig,
    DataConfig,
    LossConfig,
    MaskConfig,
    OptimConfig,
    StudentConfig,
    TrainerConfig,
    describe,
    fields,
    nearest,
    validate,
)

CLASSES = [item for item in vars(config).values() if isinstance(item, type) and dataclasses.is_dataclass(item)]


@pytest.mark.parametrize("kind", CLASSES)
def test_defaults_are_allowed_and_every_field_explains_itself(kind: type) -> None:
    validate({"it": kind()})
    for name, item, _ in fields(kind):
        assert len(describe(item)) > 10, name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": OptimConfig(lr=-1.0)}, "optim.lr: -1.0 is out of bounds; it must be > 0, <= 10"),
        ({"optim": OptimConfig(lr=math.nan)}, "optim.lr: nan is out of bounds"),
        ({"data": DataConfig(points=8)}, "data.points: 8 is out of bounds; it must be >= 32"),
        ({"data": DataConfig(points=64.0)}, "data.points: 64.0 is not allowed; it must be a whole number"),  # type: ignore[arg-type]
        ({"data": DataConfig(root=3)}, "data.root: 3 is not allowed; it must be text"),  # type: ignore[arg-type]
        ({"mask": MaskConfig(ratio=1.0)}, "mask.ratio: 1.0 is out of bounds; it must be >= 0, < 1"),
        ({"mask": MaskConfig(kind="blok")}, "mask.kind: 'blok' is not allowed; it must be one of random, block"),  # type: ignore[arg-type]
        ({"trainer": TrainerConfig(compile=1)}, "trainer.compile: 1 is not allowed; it must be true or false"),  # type: ignore[arg-type]
        (
            {"autoencoder": AutoencoderConfig(patch_size=30)},
            "autoencoder.patch_size: 30 is not allowed; it must be a multiple of 4",
        ),
        (
            {"autoencoder": AutoencoderConfig(patches=128), "data": DataConfig(points=64)},
            "autoencoder.patches: 128 must be <= data.points (64)",
        ),
        ({"teacher": BackboneConfig(prompts=0)}, "teacher.prompts: 0 needs teacher.deep_prompts=false"),
        ({"student": StudentConfig(heads=5)}, "student.heads: 5 must divide student.width (384)"),
        ({"student": StudentConfig(decoder_heads=7)}, "student.decoder_heads: 7 must divide student.width (384)"),
        (
            {"student": StudentConfig(depth=4), "loss": LossConfig(cls_loss=True)},
            "student.shallow_block: 10 must be <= student.depth (4)",
        ),
        (
            {"student": StudentConfig(), "mask": MaskConfig(ratio=0), "loss": LossConfig(cls_loss=True)},
            "loss.cls_loss: true needs a decoder",
        ),
        (
            {"optim": OptimConfig(), "trainer": TrainerConfig(epochs=3)},
            "optim.warmup_epochs: 10 must be <= trainer.epochs (3)",
        ),
        (
            {"optim": OptimConfig(min_lr=1.0), "trainer": TrainerConfig()},
            "optim.min_lr: 1 must be <= optim.lr (0.0005)",
        ),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [("optim.lrr", "optim.lr"), ("lr", "optim.lr"), ("epochs", "trainer.epochs"), ("mask.rato", "mask.ratio")],
)
def test_the_nearest_name_is_suggested(name: str, found: str) -> None:
    known = ["optim.lr", "trainer.epochs", "mask.ratio", "data.root", "probe.root"]
    assert nearest(name, known) == f"; did you mean {found}?"


def test_nothing_is_suggested_for_nonsense() -> None:
    assert nearest("xyzzy", ["optim.lr", "data.root"]) == ""


def test_configuration_needs_the_standard_library_only() -> None:
    heavy = "{'torch', 'numpy', 'yaml', 'jsonargparse'}"
    code = f"import sys, act3d.settings.training; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
