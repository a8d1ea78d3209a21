"""Opening data for a model: as in its training, and nothing chosen in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act3d.data import open_dataset
from act3d.data.opening import check_class_count, check_class_names, choose_source, open_for_model
from act3d.data.views import Turned
from act3d.errors import CheckpointError, ConfigError, InputError
from tests.data.helpers import without_checksums, write_packed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("packed") / "set")


def trained_on(root: Path, **facts: Any) -> dict[str, Any]:
    """What a checkpoint says."""
    clouds = open_dataset(root)
    data = {"name": clouds.name, "fingerprint": clouds.fingerprint}
    settings = {"data": {"root": str(root), "subset": "core"}}
    return {"points": 16, "normalization": "none", "up": "y", "data": data, "settings": settings, **facts}


def test_a_model_gets_clouds_as_in_training(root: Path) -> None:
    opened = open_for_model(trained_on(root), str(root))
    assert (opened.points, opened.clouds.points, opened.clouds.normalization) == (16, 16, "none")
    assert len(opened.clouds) == 4
    assert opened.notes == opened.warnings == []
    given = {"points": 8, "normalize": "unit_sphere", "all_points": True}
    other = open_for_model(trained_on(root, data={"name": "random", "fingerprint": "old"}), str(root), **given)
    assert (other.points, other.clouds.points, other.clouds.normalization) == (8, 64, "unit_sphere")
    assert other.warnings == [
        "8 points a cloud; the model was trained with 16",
        "normalization 'unit_sphere'; the model was trained with 'none'",
        f"random has fingerprint {other.clouds.fingerprint}; the model was trained on old",
    ]


def test_without_a_checkpoint_the_dataset_decides(root: Path) -> None:
    opened = open_for_model({}, str(root), "train")
    assert (opened.points, opened.clouds.normalization) == (64, "unit_sphere")
    assert open_for_model({}, str(root), usual_points=32).points == 32
    with pytest.raises(InputError, match=r"data.points: 65 asked for; random stores 64"):
        open_for_model({}, str(root), points=65, all_points=True)


def test_the_models_own_data_is_the_default_and_said(root: Path) -> None:
    opened = open_for_model(trained_on(root))
    assert opened.clouds.names == ["cloud0", "cloud10"]  # of the subset that it was trained on
    assert opened.notes == [f"data: {root} (subset core), which the model was trained on; --data.root names another"]
    assert len(open_for_model(trained_on(root), str(root)).clouds) == 4


@pytest.mark.parametrize("meta", [{}, {"settings": None}, {"settings": {"data": "x"}}, {"settings": {"data": {}}}])
def test_no_data_is_made_up(meta: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"data\.root: missing; the checkpoint does not say"):
        choose_source(meta, "")


def test_data_that_is_gone_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.root: missing; /nowhere, .* is not there"):
        choose_source({"settings": {"data": {"root": "/nowhere"}}}, "")


def test_clouds_are_turned_to_stand_as_in_training(root: Path) -> None:
    plain = open_for_model(trained_on(root), str(root)).clouds.fetch([1])["points"]
    lying = open_for_model(trained_on(root), str(root), up="z").clouds
    # What stood along z stands along y now: y of the result is z of the source.
    assert torch.equal(lying.fetch([1])["points"][..., 1], plain[..., 2])
    whole = lying.read_whole(np.array([1]))[0]
    assert np.allclose(whole[..., 1], open_dataset(root, "test", normalize="none").read_whole(np.array([1]))[0][..., 2])
    back = Turned(lying, "y", "z").fetch([1])
    assert torch.allclose(back["points"], plain, atol=1e-6)
    assert "parts" in back
    # A model of z-up rooms gets y-up clouds turned.
    turned = open_for_model(trained_on(root, up="z"), str(root)).clouds
    assert turned.meta["up"] == "z"
    assert torch.equal(turned.fetch([1])["points"][..., 2], plain[..., 1])


def test_classes_are_compared_by_name_and_order() -> None:
    check_class_names(("a", "b"), ["a", "b"], "set")
    with pytest.raises(CheckpointError, match=r"in another order: number 1 is 'c' there and 'b' in the model"):
        check_class_names(["a", "b", "c"], ["a", "c", "b"], "set")
    with pytest.raises(CheckpointError, match=r"only in the model: b; only in the data: d; they are not the same"):
        check_class_names(["a", "b"], ["a", "d"], "set", "parts")
    with pytest.raises(CheckpointError, match=r"knows 2 classes, set has 3; only in the data: c; they are not"):
        check_class_names(["a", "b"], ["a", "b", "c"], "set")
    with pytest.raises(CheckpointError, match=r"knows 2 classes, set has 3 .* not the same"):
        check_class_count(2, ["a", "b", "c"], "set")


def test_labels_are_needed_where_they_are_asked_for(tmp_path: Path) -> None:
    root = without_checksums(write_packed(tmp_path / "set"))
    table = (root / "clouds.csv").read_text().replace(",a,test", ",,test").replace(",b,test", ",,test")
    (root / "clouds.csv").write_text(table.replace(",c,test", ",,test"))
    with pytest.raises(InputError, match="no class labels in split 'test'"):
        open_for_model({}, str(root), labelled=True)
