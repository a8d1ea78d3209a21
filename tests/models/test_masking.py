"""Masks: a fixed count in every cloud, random or in one block."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from act3d.errors import InputError
from act3d.models.masking import block_mask, count_hidden, hidden_count, random_mask, split


@given(st.integers(1, 5), st.integers(1, 40), st.data())
def test_the_same_count_is_hidden_in_every_cloud(batch: int, patches: int, data: st.DataObject) -> None:
    hidden = data.draw(st.integers(0, patches))
    for mask in (random_mask(batch, patches, hidden), block_mask(torch.randn(batch, patches, 3), hidden)):
        assert mask.shape == (batch, patches)
        assert mask.dtype == torch.bool
        assert (mask.sum(dim=1) == hidden).all()


def test_random_masks_hide_every_patch_equally_often_and_differ_between_clouds() -> None:
    mask = random_mask(4000, 10, 8)
    assert float((mask.float().mean(dim=0) - 0.8).abs().max()) < 0.04
    assert len(mask.unique(dim=0)) == 45  # all choices of 8 in 10


def test_a_block_is_the_nearest_to_one_of_its_patches() -> None:
    centers = torch.randn(6, 20, 3)
    for mask, points in zip(block_mask(centers, 7), centers, strict=True):
        distance = torch.cdist(points, points)
        expected = [set(distance[seed].argsort()[:7].tolist()) for seed in range(20)]
        assert set(mask.nonzero().flatten().tolist()) in [e for seed, e in enumerate(expected) if mask[seed]]


def test_a_block_among_patches_in_one_place_has_its_count() -> None:
    assert block_mask(torch.zeros(3, 9, 3), 4).sum(dim=1).tolist() == [4, 4, 4]


@given(st.integers(1, 4), st.integers(2, 30), st.data())
def test_split_equals_boolean_indexing(batch: int, patches: int, data: st.DataObject) -> None:
    hidden = data.draw(st.integers(0, patches))
    mask = random_mask(batch, patches, hidden)
    visible_index, hidden_index = split(mask, hidden)
    values = torch.arange(patches).expand(batch, -1)
    assert torch.equal(visible_index, values[~mask].view(batch, -1))
    assert torch.equal(hidden_index, values[mask].view(batch, -1))


@pytest.mark.parametrize(("patches", "ratio", "expected"), [(64, 0.8, 51), (64, 0.0, 0), (10, 0.99, 9), (5, 0.6, 3)])
def test_hidden_count(patches: int, ratio: float, expected: int) -> None:
    assert hidden_count(patches, ratio) == expected


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_ratio_out_of_bounds_is_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="ratio"):
        hidden_count(64, ratio)


def test_counts_out_of_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="11"):
        random_mask(2, 10, 11)
    with pytest.raises(InputError, match="-1"):
        block_mask(torch.randn(2, 10, 3), -1)


def test_masks_that_no_student_can_use_are_refused() -> None:
    ragged = torch.zeros(2, 8, dtype=torch.bool)
    ragged[0, :3] = True
    centers = torch.randn(2, 8, 3)
    for mask in (ragged, torch.ones(2, 8, dtype=torch.bool), torch.ones(2, 8), torch.ones(8, dtype=torch.bool)):
        with pytest.raises(InputError, match="mask"):
            count_hidden(mask, centers)
    with pytest.raises(InputError, match=r"\(3, 8\).*\(2, 8\)"):
        count_hidden(random_mask(3, 8, 5), centers)
    assert count_hidden(random_mask(2, 8, 5), centers) == 5


@pytest.mark.gpu
def test_masks_on_the_device_do_not_wait_for_the_host() -> None:
    centers = torch.randn(4, 64, 3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for mask in (random_mask(4, 64, 51, "cuda"), block_mask(centers, 51)):
            split(mask, 51)
    finally:
        torch.cuda.set_sync_debug_mode("default")
