"""Every form that points can come in gives what the plain batch gives."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.errors import InputError
from act3d.models.segmenter import Segmenter
from act3d.use.points import as_groups, read_points
from act3d.use.segmenter_predictor import SegmenterPredictor
from tests.fixtures.small_models import write_box


@pytest.fixture(scope="module")
def clouds() -> torch.Tensor:
    return torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(1))


def test_forms_agree(student: Any, clouds: torch.Tensor) -> None:
    wanted = student.embed(clouds)
    forms = [clouds.numpy(), clouds.double(), [clouds[0], clouds[1].numpy()], clouds.tolist(), clouds.double().numpy()]
    for form in forms:
        assert torch.allclose(student.embed(form), wanted, atol=1e-5)
    for one in (clouds[0], clouds[0].numpy(), clouds[0].tolist()):
        assert torch.allclose(student.embed(one), wanted[:1], atol=1e-5)


def test_sizes_may_differ_and_order_is_kept(student: Any, clouds: torch.Tensor) -> None:
    mixed = [clouds[0], clouds[1, :31], clouds[1], clouds[0, :31]]
    found = student.patch_features(mixed)
    for i, cloud in enumerate(mixed):
        assert torch.allclose(found[i], student.patch_features(cloud)[0], atol=1e-5)


@pytest.mark.parametrize("points", [1, 3, 9, 15])
def test_few_points_are_repeated(student: Any, points: int) -> None:
    few = torch.rand(points, 3)
    whole = few.repeat(16, 1)[:16]
    assert torch.allclose(student.embed(few), student.embed(whole), atol=1e-6)
    assert torch.isfinite(student.embed(few)).all()


def test_whole_numbers_are_taken(student: Any) -> None:
    grid = np.random.default_rng(0).integers(0, 9, (40, 3))
    assert torch.allclose(student.embed(grid), student.embed(grid.astype(np.float32)))


def test_a_file_is_treated_as_in_training(student_file: Path, tmp_path: Path) -> None:
    write_box(tmp_path / "box.obj", 100, 300, 700)
    model = act3d.load(student_file)
    points = read_points(tmp_path / "box.obj", model.meta, 64)
    assert points.shape == (64, 3)
    assert points.norm(dim=1).max().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(model.embed(tmp_path / "box.obj"), model.embed(points), atol=1e-6)
    assert torch.allclose(model.embed([str(tmp_path / "box.obj"), points])[0], model.embed(points)[0], atol=1e-6)


def test_up_axis_turns_the_shape(tmp_path: Path) -> None:
    write_box(tmp_path / "box.obj", 1, 1, 9)
    assert np.ptp(read_points(tmp_path / "box.obj", {}, 200).numpy(), axis=0).argmax() == 2
    assert np.ptp(read_points(tmp_path / "box.obj", {"source_up": "z"}, 200).numpy(), axis=0).argmax() == 1
    assert np.ptp(read_points(tmp_path / "box.obj", {"source_up": "z"}, 200, up="y").numpy(), axis=0).argmax() == 2


def said(record: list[warnings.WarningMessage]) -> list[str]:
    return [str(each.message) for each in record]


def test_what_is_inferred_of_a_file_is_said(tmp_path: Path, student_file: Path) -> None:
    write_box(tmp_path / "box.obj", 1, 1, 9)
    up = '.obj files do not say which axis is up: {}{} (else up="x", "y" or "z")'
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("default")  # what Python itself does: once for a line of code
        for _ in range(3):
            read_points(tmp_path / "box.obj", {}, 20)
        read_points(tmp_path / "box.obj", {"source_up": "z"}, 20)
        read_points(tmp_path / "box.obj", {}, 20, up="z")
    assert said(record) == [up.format("y", " is taken"), up.format("z", ", as in the training files")]
    assert {each.filename for each in record} == {__file__}
    model = act3d.load(student_file)
    with pytest.warns(UserWarning, match=r"\.obj files do not say which axis is up: y"):
        model.embed(tmp_path / "box.obj")


@pytest.mark.parametrize(("suffix", "header"), [("xyz", ""), ("npy", ""), ("xyz", "id x y z\n"), ("xyz", "x;y;z;i\n")])
def test_columns_without_names_are_said(tmp_path: Path, suffix: str, header: str) -> None:
    rows = np.random.default_rng(0).random((50, 4))
    path = tmp_path / f"cloud.{suffix}"
    if suffix == "npy":
        np.save(path, rows)
    else:
        path.write_text(header + "\n".join(" ".join(map(str, row)) for row in rows))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        read_points(path, {}, 20, up="y")
    taken = f".{suffix} files: 4 columns without names: the first three are taken for x, y and z"
    assert said(record) == ([] if header else [taken])


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (np.zeros((5, 2)), "shape (5, 2)"),
        (np.zeros((2, 3, 4, 3)), "shape (2, 3, 4, 3)"),
        (np.full((20, 3), np.nan), "NaN"),
        (np.zeros((0, 3)), "empty"),
        ([], "empty list"),
        ([np.zeros((5, 3)), np.zeros((2, 5, 3))], "points[1]"),
        (np.array(["a"]), "no array of numbers"),
        ("nowhere.obj", "nowhere.obj"),
    ],
)
def test_bad_points_end_in_one_line(student: Any, points: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        student.embed(points)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gradient_flows_to_the_points(student: Any, clouds: torch.Tensor) -> None:
    moved = clouds.clone().requires_grad_()
    student(student.patchify(moved), torch.arange(16).expand(2, -1) < 4, 4).predicted.square().sum().backward()
    assert moved.grad is not None
    assert moved.grad.abs().sum() > 0


def test_mask_as_array(student: Any, clouds: torch.Tensor) -> None:
    mask = np.arange(16)[None].repeat(2, axis=0) < 5
    found = student.predict(clouds.numpy(), mask)
    assert found.shape == (2, 5, 48)
    assert torch.allclose(found, student.predict(clouds, torch.from_numpy(mask)), atol=1e-6)
    assert torch.allclose(student.predict(clouds[0], mask[0]), found[:1], atol=1e-5)


def test_segmenter_gives_every_point_its_logits(clouds: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = SegmenterPredictor(Segmenter(5, categories=2, patches=16, patch_size=8, width=64, depth=3, heads=1))
    wanted = model(clouds, torch.tensor([1, 0]))
    assert wanted.shape == (2, 50, 5)
    assert torch.allclose(model(clouds.double().numpy(), [1, 0]), wanted, atol=1e-5)
    few = model([clouds[0], clouds[1, :7]], np.array([1, 0]))
    assert [tuple(x.shape) for x in few] == [(50, 5), (7, 5)]
    assert torch.allclose(few[0], wanted[0], atol=1e-5)
    assert model(clouds[0], 1).shape == (1, 50, 5)
    for category in ([1], [1, 2], [0.5, 1.0]):
        with pytest.raises(InputError, match="category"):
            model(clouds, category)


def test_groups_of_equal_size(student: Any) -> None:
    groups = as_groups([torch.rand(4, 3), torch.rand(6, 3), torch.rand(4, 3)], student, at_least=5)
    assert [(g.places, tuple(g.points.shape)) for g in groups] == [([0, 2], (2, 5, 3)), ([1], (1, 6, 3))]
