"""Every function refuses the same bad clouds, with the shapes in the message."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from act3d.errors import InputError
from act3d.geometry import chamfer, f_score, farthest_point_sample, interpolate, knn, patchify

good = torch.randn(2, 10, 3)
CALLS: dict[str, Callable[[Tensor], object]] = {
    "farthest_point_sample": lambda p: farthest_point_sample(p, 2),
    "knn query": lambda p: knn(p, good, 2),
    "knn points": lambda p: knn(good, p, 2),
    "patchify": lambda p: patchify(p, 2, 3),
    "interpolate query": lambda p: interpolate(p, good, torch.randn(2, 10, 4)),
    "interpolate centers": lambda p: interpolate(good, p, torch.randn(2, 10, 4)),
    "chamfer a": lambda p: chamfer(p, good),
    "chamfer b": lambda p: chamfer(good, p),
    "f_score a": lambda p: f_score(p, good),
    "f_score b": lambda p: f_score(good, p),
}


def _with(value: float) -> Tensor:
    points = good.clone()
    points[1, 4, 2] = value
    return points


BAD = {
    "NaN": (_with(float("nan")), "NaN or infinite"),
    "infinite": (_with(float("inf")), "NaN or infinite"),
    "minus infinite": (_with(-float("inf")), "NaN or infinite"),
    "no points": (torch.zeros(2, 0, 3), r"\(2, 0, 3\)"),
    "no clouds": (torch.zeros(0, 10, 3), r"\(0, 10, 3\)"),
    "two columns": (torch.zeros(2, 10, 2), r"\(2, 10, 2\)"),
    "no batch": (torch.zeros(10, 3), r"\(10, 3\)"),
    "integers": (torch.zeros(2, 10, 3, dtype=torch.long), "int64"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(("points", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_cloud_is_refused(call: Callable[[Tensor], object], points: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(points)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_good_cloud_is_not(call: Callable[[Tensor], object]) -> None:
    call(good)


def test_an_input_error_is_a_value_error_of_one_line() -> None:
    with pytest.raises(ValueError) as caught:
        patchify(torch.zeros(2, 0, 3), 2, 3)
    assert "\n" not in str(caught.value)
