import torch

from act3d.engine.seeding import mix, reseed


def test_mix_depends_on_every_number_and_their_order() -> None:
    values = {mix(seed, step, rank) for seed in range(4) for step in range(50) for rank in range(4)}
    assert len(values) == 800
    assert all(0 <= value < 2**63 for value in values)


def test_what_a_step_draws_does_not_depend_on_earlier_ones() -> None:
    reseed(1, 7, 0)
    first = torch.rand(5)
    torch.rand(100)
    reseed(1, 7, 0)
    assert torch.equal(first, torch.rand(5))
    reseed(1, 7, 1)
    assert not torch.equal(first, torch.rand(5))
