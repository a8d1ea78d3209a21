"""Predictions: outputs never meet, scans keep their coordinates, what cannot be read is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d.cli import main
from act3d.errors import InputError
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.segmenter import Segmenter
from act3d.readers.ply import read_ply
from act3d.readers.up_axis import rotation_to_y_up
from act3d.use.inspection import inspect_checkpoint
from act3d.use.load import predictor_for
from act3d.use.predictor import Predictor
from tests.fixtures.small_models import write_box
from tests.helpers import randomize

SMALL: dict[str, Any] = {"patches": 16, "patch_size": 8, "width": 64, "depth": 1, "heads": 1}


@pytest.fixture
def scene_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = randomize(Segmenter(3, **SMALL)).float()
    meta = {"points": 64, "classes": ["floor", "wall", "chair"], "block": 1.0, "stride": 0.5}
    return act3d.save(model, tmp_path / "scenes.safetensors", meta)


@pytest.fixture
def parts_file(tmp_path: Path) -> Path:
    model = randomize(Segmenter(3, categories=2, **SMALL)).float()
    return act3d.save(model, tmp_path / "parts.safetensors", {"points": 64, "classes": ["rod", "plate"]})


def test_outputs_of_equal_names_do_not_meet(scene_file: Path, parts_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for day in ("day1", "day2"):
        (tmp_path / "scans" / day).mkdir(parents=True)
        np.savetxt(tmp_path / "scans" / day / "scan.xyz", rng.random((70, 3)))
    out = str(tmp_path / "labelled")
    report = act3d.predict(str(tmp_path / "scans"), str(scene_file), out=out)
    assert sorted(str(path.relative_to(out)) for path in report.files) == ["day1/scan.ply", "day2/scan.ply"]
    for suffix in ("obj", "ply"):
        write_box(tmp_path / "shapes" / f"plain.{suffix}", 1, 2, 3)
    cloud = rng.random((80, 3))
    np.savetxt(tmp_path / "shapes" / "plain.xyz", cloud)
    (tmp_path / "shapes" / "plain.ply").unlink()
    report = act3d.predict(str(tmp_path / "shapes"), str(parts_file), out=out, category="rod")
    assert len({path.name for path in report.files}) == 2
    assert all(path.is_file() for path in report.files)


def test_a_link_far_away_does_not_move_the_outputs(scene_file: Path, tmp_path: Path, capsys: Any) -> None:
    """Outputs and failures go by the path below the source, also where a file there is a link to another place."""
    for day in ("day1", "day2"):
        (tmp_path / "scans" / day).mkdir(parents=True)
        np.savetxt(tmp_path / "scans" / day / "scan.xyz", np.random.default_rng(0).random((70, 3)))
        (tmp_path / "scans" / day / "bad.las").write_bytes(b"LASF")
    (tmp_path / "scans" / "day1" / "zero.xyz").symlink_to("/dev/zero")
    report = act3d.predict(str(tmp_path / "scans"), str(scene_file), out=str(tmp_path / "out"))
    assert [str(path.relative_to(tmp_path / "out")) for path in report.files] == ["day1/scan.ply", "day2/scan.ply"]
    assert list(report.labels) == ["day1/scan.xyz", "day2/scan.xyz"]
    assert [name for name, _ in report.failures] == ["day1/bad.las", "day1/zero.xyz", "day2/bad.las"]


def test_scans_are_read_as_the_files_that_became_the_rooms(scene_file: Path, tmp_path: Path, capsys: Any) -> None:
    """Up axis and unit of the training files count: the same room, in millimetres and y up, gets the same labels."""
    points = np.random.default_rng(0).random((90, 3)) * 2
    np.save(tmp_path / "metres.npy", points)
    np.save(tmp_path / "other.npy", 1000 * points @ rotation_to_y_up("z").T)
    model = act3d.load(str(scene_file))
    facts = {**model.meta, "scale": 0.001, "source_formats": {".npy": "y"}}
    act3d.save(model, tmp_path / "other.safetensors", facts)
    wanted = act3d.predict(str(tmp_path / "metres.npy"), str(scene_file), out=str(tmp_path / "a.ply"))
    assert ".npy files do not say which axis is up: z, as in the training files" in capsys.readouterr().err
    given = act3d.predict(str(tmp_path / "other.npy"), str(tmp_path / "other.safetensors"), out=str(tmp_path / "b.ply"))
    assert ".npy files do not say which axis is up: y, as in the training files" in capsys.readouterr().err
    assert np.array_equal(given.labels["other.npy"], wanted.labels["metres.npy"])
    assert np.allclose(read_ply(tmp_path / "b.ply").vertices, np.load(tmp_path / "other.npy"))
    # Points for the model itself stand along its own axis.
    upright = act3d.read_points(tmp_path / "other.npy", {**facts, "up": "z", "normalization": "none"}, 90)
    assert np.allclose(np.sort(upright.numpy(), axis=0), np.sort(points, axis=0), atol=1e-5)


def test_a_mesh_given_as_a_scan_is_said_to_be_one(scene_file: Path, tmp_path: Path, capsys: Any) -> None:
    write_box(tmp_path / "box.obj", 1, 2, 3)
    act3d.predict(str(tmp_path / "box.obj"), str(scene_file), out=str(tmp_path / "box.ply"))
    assert "act3d: of meshes the vertices are labelled\n" in capsys.readouterr().err


def test_scans_keep_coordinates_of_maps(scene_file: Path, tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((90, 3)) * 2 + [447000.0, 5411000.0, 300.0]
    np.savetxt(tmp_path / "utm.xyz", points, fmt="%.6f")
    report = act3d.predict(str(tmp_path / "utm.xyz"), str(scene_file), out=str(tmp_path / "utm.ply"))
    found = read_ply(report.files[0]).vertices
    assert np.abs(found - points).max() < 1e-5
    small = points - points.mean(axis=0)
    np.savetxt(tmp_path / "near.xyz", small)
    near = act3d.predict(str(tmp_path / "near.xyz"), str(scene_file), out=str(tmp_path / "near.ply"))
    assert b"property float x" in near.files[0].read_bytes()


def test_a_broken_scan_is_said_and_nothing_written_is_an_error(scene_file: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "bad.las").write_bytes(b"LASF" + b"\0" * 400)
    words = ["predict", str(tmp_path / "scans"), "--checkpoint", str(scene_file), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "not readable: bad.las" in said
    assert said.splitlines()[-1].count("bad.las") == 1
    np.savetxt(tmp_path / "scans" / "good.xyz", np.random.default_rng(0).random((70, 3)))
    assert main(words) == 0
    said = capsys.readouterr()
    assert "not readable: bad.las" in said.err
    assert "good.ply" in said.out


def test_with_out_only_a_summary_is_printed(meshes: Path, classifier_file: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["predict", str(meshes), "--checkpoint", str(classifier_file)]
    assert main(words) == 0
    assert "rod/rod1.obj" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "p.csv")]) == 0
    said = capsys.readouterr().out
    assert "rod/rod1.obj" not in said
    assert "6 shapes" in said


def test_a_released_classifier_of_scans_takes_clouds_as_stored(tmp_path: Path, capsys: Any) -> None:
    """ScanObjectNN's 15 classes: the release does not normalise, so size counts; and that is said."""
    from act3d.checkpoints.names import rename
    from act3d.checkpoints.released import _CLASSIFIER_NAMES

    model = Classifier(15, width=64, depth=1, heads=1).eval()
    back = tuple((new, old) for old, new in _CLASSIFIER_NAMES)
    state = {f"module.{name}": value for name, value in rename(model.state_dict(), back).items()}
    torch.save({"base_model": state}, tmp_path / "scan.pth")
    for name, size in (("small", 1), ("large", 9)):
        write_box(tmp_path / "boxes" / f"{name}.obj", size, 2 * size, 3 * size)
    given = act3d.predict(str(tmp_path / "boxes"), str(tmp_path / "scan.pth"))
    assert "as they are stored" in capsys.readouterr().err
    assert dict(given.classes["small.obj"]) != pytest.approx(dict(given.classes["large.obj"]), abs=1e-6)
    asked = act3d.predict(str(tmp_path / "boxes"), str(tmp_path / "scan.pth"), normalize="unit_sphere")
    said = capsys.readouterr().err
    assert "normalization 'unit_sphere', as asked; the model was trained with 'none'" in said
    assert "clouds are not normalised" not in said
    assert dict(asked.classes["small.obj"]) == pytest.approx(dict(asked.classes["large.obj"]), abs=1e-4)


def test_inspect_takes_every_kind(student_file: Path, scene_file: Path, parts_file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Autoencoder(8, 8, 16, 24, {"width": 64, "depth": 2, "heads": 1}, prompts=2)
    run = tmp_path / "run" / "checkpoints"
    for name in ("best", "last"):
        act3d.save(model, run / f"{name}.safetensors", {"points": 64})
    for path in (student_file, scene_file, parts_file, run.parent):
        report = inspect_checkpoint(str(path))
        assert report.flops > 1e5
    rows = dict(row[:2] for row in report.table().rows)
    assert rows["weights"] == "best.safetensors: the best by validation; last.safetensors is beside them"


def test_a_predictor_says_what_it_is_and_what_it_cannot(student: Any, classifier_file: Path, scene_file: Path) -> None:
    classifier: Predictor[Any] = act3d.load(classifier_file)
    assert "3 classes (box, rod, plate)" in repr(classifier)
    assert "16 patches of 8 points" in repr(classifier)
    assert classifier.to("cpu") is classifier
    with pytest.raises(InputError, match="device: 'warp:1' cannot be used"):
        classifier.to("warp:1")
    points = torch.rand(2, 40, 3)
    scenes = act3d.load(scene_file)
    for call in (student.tokenize, student.reconstruct, student.segment, student.segment_scan, student.rank):
        with pytest.raises(InputError, match=r"a model of kind 'student' .*; take a"):
            call(points)
    for call in (scenes.embed, scenes.rank, scenes.predict):
        with pytest.raises(InputError, match=r"a model of kind 'segmenter' .*; take a"):
            call(points)
    for call in (student.embed_shape, classifier.embed_text):
        with pytest.raises(InputError, match="learnt no names, so words mean nothing"):
            call(points)


def test_parts_by_name(parts_file: Path) -> None:
    predictor = act3d.load(parts_file)
    predictor.meta["class_parts"] = {"rod": [2], "plate": [0, 1]}
    points = torch.rand(2, 40, 3)
    assert (predictor.segment(points, "rod") == 2).all()
    found = predictor.segment([points[0], points[1, :9]], [1, 0])
    assert [tuple(labels.shape) for labels in found] == [(40,), (9,)]
    assert set(found[0].tolist()) <= {0, 1}
    assert set(found[1].tolist()) == {2}
    with pytest.raises(InputError, match=r"lamp.*allowed: rod, plate"):
        predictor.segment(points, "lamp")


def test_a_fresh_model_can_be_used_too() -> None:
    model = Classifier(3, **SMALL)
    assert predictor_for(model).names == [0, 1, 2]
    assert predictor_for(model, {"classes": ["a", "b", "c"]}).predict(torch.rand(1, 40, 3))[0][0] in "abc"
