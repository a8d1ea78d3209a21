"""Steps on a device that has no values (torch's "meta"): nothing in them can read one back, as on CUDA nothing should.

What CUDA itself says of waiting is asked in `test_cuda_steps.py`, where there is a GPU.
"""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import steps

META = torch.device("meta")


class Crossings(TorchDispatchMode):
    """Remembers operations whose tensors lie on more than one device; a single number of the host may be among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        copies = "copy" in str(operation)
        if len({t.device for t in tensors if t.ndim or copies}) > 1:
            self.found.append(f"{operation} {[(*t.shape, str(t.device)) for t in tensors]}")
        return result


@pytest.fixture
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know this device; single precision needs none of it."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: torch.float32)


@pytest.mark.usefixtures("_no_autocast")
@pytest.mark.parametrize("builder", ["stage1_ours", "stage2_ours", "stage2_visible_only", "classifier_ours"])
def test_a_step_reads_no_value_and_stays_on_its_device(builder: str) -> None:
    step = getattr(steps, builder)(steps.Setting(META, 4))
    with Crossings() as crossings:
        step()
        step()  # with the optimizer's state
    assert crossings.found == []


def test_reading_and_crossing_are_noticed() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        torch.zeros(2, device=META)[0].item()
    with Crossings() as crossings:
        torch.zeros(2).to(META)
    assert len(crossings.found) == 1
