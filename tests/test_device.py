"""Which device "auto" stands for, and what is asked of one that is not there."""

import subprocess
import sys

import pytest
import torch

from act3d.commands import doctor
from act3d.device import best_device, choose_device, let_mps_fall_back
from act3d.engine.machine import accelerator, check_machine
from act3d.errors import ConfigError, InputError
from act3d.settings.training import TrainerConfig


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(cuda: bool, mps: bool, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == best == accelerator(TrainerConfig())
    assert accelerator(TrainerConfig(accelerator="cpu")) == "cpu"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_mps_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accelerator: mps needs a Mac"):
        check_machine(TrainerConfig(accelerator="mps"))
    with pytest.raises(InputError, match="device: 'mps' cannot be used"):
        choose_device("mps")


def test_what_mps_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"trainer\.devices: 2 asked for; MPS has one device"):
        check_machine(TrainerConfig(accelerator="mps", devices=2))
    with pytest.raises(ConfigError, match="fp16 needs CUDA; on MPS use fp32"):
        check_machine(TrainerConfig(accelerator="mps", precision="fp16"))


def test_on_macs_the_cpu_does_what_mps_lacks() -> None:
    code = "import sys; sys.platform = 'darwin'; import act3d, os; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    let_mps_fall_back()  # and nothing anywhere else


def test_operators_that_a_device_lacks() -> None:
    used = doctor.operators()
    assert {"aten::addmm", "aten::native_layer_norm", "aten::topk"} & used
    assert any("backward" in name for name in used)
    assert doctor.lacking("CPU", used) == []
    # No kernel of this device takes part in any build of torch: all that is not made of other operators is missing.
    assert "aten::addmm" in doctor.lacking("FPGA", used)
    assert "aten::no_such_operator" not in used
