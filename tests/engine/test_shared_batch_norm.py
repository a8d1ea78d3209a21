"""Batch norm over processes is batch norm of all their rows."""

from pathlib import Path

import pytest
import torch
from torch import nn

from act3d.engine.shared_batch_norm import SharedBatchNorm, share_batch_norms
from tests.engine.test_processes import run_both

# Two processes with 5 and 3 rows; the loss of each depends on its own rows, the gradients of a row on all rows.
TWO = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from act3d.engine.shared_batch_norm import SharedBatchNorm

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
for shape, momentum in (((8, 4), 0.1), ((8, 4, 6), None)):
    torch.manual_seed(0)
    rows, weights = torch.randn(shape, dtype=torch.float64) * 3 + 1, torch.randn(shape, dtype=torch.float64)
    norm = nn.BatchNorm1d(4, momentum=momentum).double()
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    shared = SharedBatchNorm.of(norm)
    shared.weight, shared.bias = nn.Parameter(norm.weight.detach().clone()), nn.Parameter(norm.bias.detach().clone())
    shared.running_mean, shared.running_var = norm.running_mean.clone(), norm.running_var.clone()
    shared.num_batches_tracked = norm.num_batches_tracked.clone()
    mine = slice(0, 5) if rank == 0 else slice(5, 8)
    whole, part = rows.clone().requires_grad_(), rows[mine].clone().requires_grad_()
    for _ in range(2):
        expected, found = norm(whole), shared(part)
    (expected * weights).sum().backward()
    (found * weights[mine]).sum().backward()
    dist.all_reduce(shared.weight.grad), dist.all_reduce(shared.bias.grad)
    for one, other in (
        (expected[mine], found), (whole.grad[mine], part.grad), (norm.weight.grad, shared.weight.grad),
        (norm.bias.grad, shared.bias.grad), (norm.running_mean, shared.running_mean),
        (norm.running_var, shared.running_var), (norm.num_batches_tracked, shared.num_batches_tracked),
    ):
        torch.testing.assert_close(other, one)
    shared.eval(), norm.eval()
    torch.testing.assert_close(shared(rows), norm(rows))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_statistics_and_gradients_of_one(tmp_path: Path) -> None:
    run_both(TWO, tmp_path)


def test_all_batch_norms_of_a_model_are_shared_with_their_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), nn.BatchNorm1d(4).eval())
    before = {name: value.data_ptr() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    share_batch_norms(model, torch.device("cpu"))
    assert [type(module).__name__ for module in model.modules()].count("SharedBatchNorm") == 2
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == before
    assert [module.training for module in model.modules()] == modes


def test_one_process_has_torchs_batch_norm() -> None:
    rows, norm = torch.randn(8, 4), nn.BatchNorm1d(4)
    assert torch.equal(SharedBatchNorm.of(norm)(rows), norm(rows))
