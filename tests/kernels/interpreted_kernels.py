"""The Triton kernels on the CPU, by Triton's interpreter. Run by `test_triton_geometry.py` in a process of its own."""

import pytest
import torch
from torch import Tensor

from act3d import geometry
from act3d.geometry import distances, neighbors, sampling
from act3d.kernels import fallback
from act3d.kernels import triton_geometry as kernels
from act3d.kernels.dispatch import run_triton


def gaussian(*shape: int) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(sum(shape)))


def grid(*shape: int) -> Tensor:
    """Integers: many exact ties."""
    return torch.randint(-1, 2, (*shape, 3), generator=torch.Generator().manual_seed(0)).float()


CLOUDS = pytest.mark.parametrize("make", [gaussian, grid])


@CLOUDS
@pytest.mark.parametrize(("number", "count", "start"), [(90, 20, 0), (40, 40, 7), (3, 3, 2), (1, 1, 0)])
def test_sampling_picks_the_same_points(make, number: int, count: int, start: int) -> None:
    points = make(2, number)
    expected = torch.from_numpy(sampling._sample_numpy(points.numpy(), count, start))
    assert torch.equal(kernels.farthest_point_sample(points, count, start), expected)


def test_sampling_in_more_than_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    points = gaussian(1, 50)
    monkeypatch.setattr(kernels.triton, "next_power_of_2", lambda n: 16)
    expected = torch.from_numpy(sampling._sample_numpy(points.numpy(), 12, 0))
    assert torch.equal(kernels.farthest_point_sample(points, 12, 0), expected)


@CLOUDS
@pytest.mark.parametrize(("queries", "number", "k"), [(5, 70, 9), (4, 12, 12), (1, 1, 1)])
def test_neighbors_are_the_same_and_gathered(make, queries: int, number: int, k: int) -> None:
    points = make(2, number)
    query = points[:, :queries]
    expected = neighbors._search(query, points, k)
    found, relative = kernels.knn(query, points, k, gather=True)
    assert torch.equal(found, expected)
    assert torch.equal(relative, geometry.gather(points, expected) - query.unsqueeze(2))


@CLOUDS
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("sizes", [(6, 6), (5, 9), (1, 3), (1, 1)])
def test_chamfer_and_its_gradient(make, norm: int, sizes: tuple[int, int]) -> None:
    a, b = make(3, sizes[0]).requires_grad_(), gaussian(3, sizes[1]).requires_grad_()
    given = torch.tensor([1.0, -2.0, 0.5])
    found = kernels.chamfer(a, b, norm)
    da, db = distances._to_nearest(a, b)
    if norm == 1:
        expected = (da.norm(dim=2).mean(1) + db.norm(dim=2).mean(1)) / 2
    else:
        expected = da.square().sum(2).mean(1) + db.square().sum(2).mean(1)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, (a, b), given)
    for mine, theirs in zip(torch.autograd.grad(found, (a, b), given), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_coinciding_points_have_no_gradient() -> None:
    a = gaussian(1, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(kernels.chamfer(a, a.detach().clone(), 1).sum(), a)
    assert torch.equal(gradient, torch.zeros_like(a))


@pytest.mark.parametrize("norm", [1, 2])
def test_a_gradient_kernel_that_does_not_run_is_replaced(norm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = gaussian(3, 6), gaussian(3, 9)
    b[0, :2] = a[0, :2]  # coinciding points have no gradient
    given, gradients = torch.tensor([1.0, -2.0, 0.5]), []

    def no_kernel(*_: object) -> None:
        raise RuntimeError("out of resource: registers")

    for fails in (False, True):
        moving = a.clone().requires_grad_(), b.clone().requires_grad_()
        found = kernels.chamfer(*moving, norm)
        if fails:
            monkeypatch.setattr(kernels, "_chamfer_gradient", no_kernel)
            monkeypatch.setattr(fallback, "_FAILED", set())
            with pytest.warns(RuntimeWarning, match="out of resource"):
                gradients.append(torch.autograd.grad(found, moving, given))
        else:
            gradients.append(torch.autograd.grad(found, moving, given))
    for expected, replaced in zip(*gradients, strict=True):
        torch.testing.assert_close(replaced, expected)


def test_the_public_functions_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for name in ("farthest_point_sample", "knn", "chamfer"):
        real = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, _n=name, _r=real, **k: (used.append(_n), _r(*a, **k))[1])
    points = gaussian(1, 20)
    geometry.patchify(points, 3, 4)
    geometry.chamfer(points[:, :4], points[:, 4:9])
    assert used == ["farthest_point_sample", "knn", "chamfer"]
    assert run_triton("farthest_point_sample", points.double(), 3, 0) is None
    assert geometry.farthest_point_sample(points.double(), 3).shape == (1, 3)


def test_they_are_operators_that_torch_can_reason_about() -> None:
    points, query = gaussian(2, 12), gaussian(2, 3)
    torch.library.opcheck(kernels.farthest_point_sample, (points, 4, 0))
    for gathered in (False, True):
        torch.library.opcheck(kernels.knn, (query, points, 5, gathered))
    a, b = gaussian(2, 6).requires_grad_(), gaussian(2, 4).requires_grad_()
    for norm in (1, 2):
        torch.library.opcheck(kernels._chamfer, (a, b, norm))


def test_compiled_code_keeps_them_in_one_graph() -> None:
    def patches_and_distance(points: Tensor) -> tuple[Tensor, Tensor]:
        neighborhoods, _ = geometry.patchify(points, 3, 4)
        return neighborhoods, geometry.chamfer(points[:, :4], points[:, 4:9])

    points = gaussian(2, 20)
    compiled = torch.compile(patches_and_distance, backend="aot_eager", fullgraph=True)
    for wanted, found in zip(patches_and_distance(points), compiled(points), strict=True):
        assert torch.equal(found, wanted)
    gradients = []
    for function in (patches_and_distance, compiled):
        moving = points.clone().requires_grad_()
        gradients.append(torch.autograd.grad(function(moving)[1], moving)[0])
    torch.testing.assert_close(gradients[1], gradients[0])
