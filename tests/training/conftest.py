from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from act3d.commands.autoencode import autoencode
from act3d.commands.pretrain import pretrain
from act3d.config import (
    AutoencoderConfig,
    BackboneConfig,
    DataConfig,
    OptimConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
    TrainerConfig,
)
from act3d.training.run_folder import RunResult
from tests.training.packed import write_dataset

Stage = Callable[..., RunResult]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def stage1(dataset: Path) -> Stage:
    """Run a tiny stage I: 14 training clouds in batches of 4, the last short one dropped: 3 batches an epoch."""

    def run(
        out: Path, resume: bool = False, teacher: str = "none", resident: Any = "auto", **trainer: Any
    ) -> RunResult:
        plan = {"epochs": 3, "log_every": 1, "save_every_minutes": 0.0} | trainer
        return autoencode(
            data=DataConfig(root=str(dataset), points=64, batch_size=4, val_fraction=0.2, resident=resident),
            autoencoder=AutoencoderConfig(
                patches=8, patch_size=8, width=16, codes=16, graph_width=32, folding_width=16
            ),
            teacher=BackboneConfig(name=teacher, prompts=2),
            schedule=ScheduleConfig(temperature_steps=6, kl_delay=2, kl_steps=4),
            optim=OptimConfig(lr=1e-3, warmup_epochs=1),
            trainer=TrainerConfig(**plan),
            out=str(out),
            resume=resume,
        )

    return run


@pytest.fixture(scope="session")
def teacher_run(stage1: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage1(tmp_path_factory.mktemp("runs") / "teacher", epochs=1).out


@pytest.fixture(scope="session")
def stage2(dataset: Path, teacher_run: Path) -> Stage:
    """Run a tiny stage II on the same clouds."""

    def run(out: Path, resume: bool = False, mode: Any = "eval", **trainer: Any) -> RunResult:
        plan = {"epochs": 3, "log_every": 1, "save_every_minutes": 0.0, "validate_every": 2} | trainer
        return pretrain(
            data=DataConfig(root=str(dataset), points=64, batch_size=4, val_fraction=0.2, augment="scale_shift"),
            teacher=TeacherConfig(checkpoint="" if resume else str(teacher_run), mode=mode),
            student=StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2),
            optim=OptimConfig(lr=1e-3, warmup_epochs=1),
            trainer=TrainerConfig(**plan),
            out=str(out),
            resume=resume,
        )

    return run
