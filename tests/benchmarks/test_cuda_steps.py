"""What is asked of steps on CUDA: the host never waits inside one, and bf16 learns as fp32 does."""

import pytest
import torch

from benchmarks import steps

pytestmark = pytest.mark.gpu
BUILDERS = ("stage1_ours", "stage2_ours", "stage2_visible_only", "classifier_ours")


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("bf16", [False, True])
def test_no_host_synchronisation_inside_a_step(builder: str, bf16: bool) -> None:
    step = getattr(steps, builder)(steps.Setting(torch.device("cuda"), 4, bf16=bf16))
    for _ in range(3):  # optimizer state, kernels, caches
        step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("builder", BUILDERS)
def test_steps_run_compiled_in_bf16(builder: str) -> None:
    step = getattr(steps, builder)(steps.Setting(torch.device("cuda"), 4, bf16=True, compiled=True))
    for _ in range(2):
        step()


@pytest.mark.slow
def test_500_steps_in_bf16_lose_as_in_fp32() -> None:
    curves = {}
    for name, bf16, seed in (("fp32", False, 0), ("again", False, 1), ("bf16", True, 0)):
        torch.manual_seed(seed)
        losses: list[torch.Tensor] = []
        step = steps.stage2_ours(steps.Setting(torch.device("cuda"), 16, bf16=bf16), losses=losses)
        for _ in range(500):
            step()
        curves[name] = torch.stack(losses).float().view(50, 10).mean(1)
    noise = (curves["fp32"] - curves["again"]).abs().max()
    assert (curves["fp32"] - curves["bf16"]).abs().max() <= 2 * noise + 0.01
