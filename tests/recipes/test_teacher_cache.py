"""The cache of the teacher's features: what it holds, what it belongs to, and what is left of an interrupted one."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from act3d import checkpoints
from act3d.commands.pretrain import pretrain
from act3d.data import open_dataset
from act3d.data.clouds import CloudDataset
from act3d.data.transforms import scale_shift
from act3d.engine.log import read_metrics
from act3d.engine.loop import train
from act3d.engine.run_folder import RunFolder
from act3d.engine.seeding import mix
from act3d.errors import ConfigError, InputError, OutOfSpace
from act3d.models.autoencoder import Autoencoder
from act3d.recipes import teacher_cache
from act3d.recipes.pretraining import build
from act3d.recipes.teacher_cache import TeacherCache, teacher_digest
from act3d.settings.data import DataConfig
from act3d.settings.pretraining import PretrainSettings
from act3d.settings.training import OptimConfig, StudentConfig, TeacherConfig, TrainerConfig

VIEWS = 3


@pytest.fixture
def teacher(teacher_run: Path) -> Autoencoder:
    return checkpoints.load(teacher_run, expect=Autoencoder).model.eval().requires_grad_(False)


@pytest.fixture
def clouds(dataset: Path) -> CloudDataset:
    return open_dataset(dataset, "train", 64)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "CHUNK", 4)


def cache_in(root: Path, teacher: Autoencoder, clouds: CloudDataset, **changes: Any) -> TeacherCache:
    facts: dict[str, Any] = {"views": VIEWS, "augment": "scale_shift", "seed": 7}
    return TeacherCache(root, teacher, clouds, **facts | changes)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def settings(dataset: Path, teacher_run: Path, out: Path, **teacher: Any) -> PretrainSettings:
    return PretrainSettings(
        data=DataConfig(root=str(dataset), points=64, batch_size=4, val_fraction=0.2, augment="scale_shift"),
        teacher=TeacherConfig(**{"checkpoint": str(teacher_run), "cache": True, "views": VIEWS} | teacher),
        student=StudentConfig(width=16, depth=2, heads=2, decoder_depth=1, decoder_heads=2),
        optim=OptimConfig(lr=1e-3, warmup_epochs=1),
        trainer=TrainerConfig(epochs=4, log_every=1, save_every_minutes=0.0, validate_every=2),
        out=str(out),
    )


def test_holds_exactly_what_the_teacher_gives_for_these_views(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path
) -> None:
    """Computed anew here from the definition: points of epoch v, augmented by a seed of their own, cut, rounded."""
    found = cache_in(tmp_path, teacher, clouds).open()
    assert found.views.targets.shape == (len(clouds), VIEWS, teacher.patches, teacher.teacher_width)
    for start in range(0, len(clouds), 4):
        rows = list(range(start, min(start + 4, len(clouds))))
        for view in range(VIEWS):
            points = clouds.fetch(rows, view)["points"]
            torch.manual_seed(mix(7, view, start))
            neighborhoods, centers = teacher.patchify(scale_shift(points))
            rounded = neighborhoods.half()
            features = teacher.features(type(teacher.patchify(points))(rounded.float(), centers))
            batch = found.fetch(rows, view + VIEWS)  # epochs use views in turn
            assert torch.equal(batch["points"], rounded)
            assert torch.equal(batch["centers"], centers)
            assert torch.equal(batch["targets"], features.half())
            assert torch.equal(batch["label"], torch.from_numpy(clouds.labels[rows]))
            assert (batch["points"].float() - neighborhoods).abs().max() < 1e-3


def test_a_step_with_the_cache_is_a_step_with_the_teacher(dataset: Path, teacher_run: Path, tmp_path: Path) -> None:
    recipe: Any = build(settings(dataset, teacher_run, tmp_path / "run"), RunFolder(tmp_path / "run"), False)
    batch = next(iter(recipe.loader(torch.device("cpu"))))
    patches = recipe._patches(batch["points"], batch)
    features = recipe.teacher.model.features(patches)

    def loss_of(targets: Tensor) -> Tensor:
        torch.manual_seed(3)
        loss: Tensor = recipe.losses(recipe.augment(batch["points"]), {**batch, "targets": targets}, 0)["loss"]
        return loss

    assert torch.equal(loss_of(batch["targets"]), loss_of(features.half()))
    assert torch.allclose(loss_of(batch["targets"]), loss_of(features), rtol=1e-3)


def test_random_numbers_of_the_caller_stay_as_they_are(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    cache_in(tmp_path, teacher, clouds).open()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_size_is_said_before_it_is_made(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_in(tmp_path, teacher, clouds)
    cache.open()
    headers = 3 * 128
    assert sum(path.stat().st_size for path in cache.folder.glob("*.npy")) == cache.bytes_needed + headers
    said = capsys.readouterr().err
    assert f"{VIEWS} views of {len(clouds)} clouds take {cache.bytes_needed / 1e6:.1f} MB in {cache.folder}" in said
    cache.open()
    assert capsys.readouterr().err == ""  # it is there


def test_goes_on_where_it_was_interrupted(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cache_in(tmp_path / "whole", teacher, clouds)
    whole.open()
    cache = cache_in(tmp_path / "cut", teacher, clouds)
    plain, seen = TeacherCache.view_of, []

    def stops(self: TeacherCache, rows: np.ndarray, view: int) -> Any:
        seen.append(int(rows[0]))
        if len(seen) == 2 * VIEWS + 2:  # in the middle of the third chunk
            raise KeyboardInterrupt
        return plain(self, rows, view)

    monkeypatch.setattr(TeacherCache, "view_of", stops)
    with pytest.raises(KeyboardInterrupt):
        cache.open()
    assert not cache.folder.exists()
    part = cache.folder.with_name(f".{cache.folder.name}.part")
    with (part / "targets.npy").open("ab") as file:
        file.write(b"half a cloud")  # as a kill in the middle of writing leaves it
    seen.clear()
    seen.extend([-1] * 1000)
    cache.open()
    assert min(row for row in seen if row >= 0) == 8  # the first two chunks are not computed again
    assert files_of(cache.folder) == files_of(whole.folder)
    assert not part.exists()


@pytest.mark.parametrize("change", ["cut", "foreign", "no description"])
def test_what_does_not_belong_is_made_anew(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_in(tmp_path, teacher, clouds)
    cache.open()
    wanted = files_of(cache.folder)
    if change == "cut":
        with (cache.folder / "targets.npy").open("rb+") as file:
            file.truncate(500)
    elif change == "foreign":
        other = cache_in(tmp_path, teacher, clouds, seed=8)
        other.open()
        shutil.rmtree(cache.folder)
        other.folder.rename(cache.folder)
    else:
        (cache.folder / "targets.json").unlink()
    capsys.readouterr()
    cache.open()
    assert files_of(cache.folder) == wanted
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("teacher.cache: ")
    assert first.endswith("; it is made anew")


def test_the_folder_is_named_by_all_that_targets_depend_on(
    teacher: Autoencoder, clouds: CloudDataset, dataset: Path, tmp_path: Path
) -> None:
    def changed() -> Iterator[TeacherCache]:
        yield cache_in(tmp_path, teacher, clouds)
        yield cache_in(tmp_path, teacher, clouds, views=2)
        yield cache_in(tmp_path, teacher, clouds, augment="rotate_y")
        yield cache_in(tmp_path, teacher, clouds, seed=8)
        yield cache_in(tmp_path, teacher, open_dataset(dataset, "train", 48))
        yield cache_in(tmp_path, teacher, open_dataset(dataset, "test", 64))
        yield cache_in(tmp_path, teacher, open_dataset(dataset, "train", 64, seed=1))
        yield cache_in(tmp_path, teacher, open_dataset(dataset, "train", 64, normalize="none"))
        teacher.codebook.data[0, 0] += 1e-3
        yield cache_in(tmp_path, teacher, clouds)
        next(buffer for buffer in teacher.buffers() if buffer.is_floating_point())[0] += 1e-3
        yield cache_in(tmp_path, teacher, clouds)

    names = [cache.folder.name for cache in changed()]
    assert len(set(names)) == len(names)
    assert cache_in(tmp_path, teacher, clouds).folder.name == names[-1]  # and by nothing else


def test_the_digest_tells_the_frozen_transformers_weights_apart() -> None:
    def made(seed: int) -> Autoencoder:
        torch.manual_seed(0)
        model = Autoencoder(8, 8, 16, 16, {"width": 16, "depth": 1, "heads": 2}, 2, graph_width=32, folding_width=16)
        generator = torch.Generator().manual_seed(seed)
        assert model.backbone is not None
        for parameter in model.backbone.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
        return model

    assert teacher_digest(made(1)) == teacher_digest(made(1)) != teacher_digest(made(2))


def test_features_beyond_float16_are_refused(teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path) -> None:
    teacher.feature_head.layer5[1].weight.data.fill_(1e6)
    with pytest.raises(InputError, match="not finite in float16; train without it"):
        cache_in(tmp_path, teacher, clouds).open()


def test_a_disk_that_is_too_small_is_named_before_anything_is_computed(
    teacher: Autoencoder, clouds: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    monkeypatch.setattr(TeacherCache, "view_of", None)
    with pytest.raises(OutOfSpace, match=r"no space left: .* needs"):
        cache_in(tmp_path, teacher, clouds).open()


def test_a_run_with_a_cache_resumes_exactly(dataset: Path, teacher_run: Path, tmp_path: Path) -> None:
    def run(out: Path, resume: bool = False, **trainer: Any) -> list[dict[str, str]]:
        made = settings(dataset, teacher_run, out)
        made = made.model_copy(update={"resume": resume, "trainer": made.trainer.model_copy(update=trainer)})
        pretrain(**dict(made))
        rows = read_metrics(out / "metrics.csv")
        return [{key: row[key] for key in ("step", "epoch", "loss", "lr")} for row in rows if row["loss"]]

    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", max_steps=5)
    assert run(tmp_path / "cut", resume=True, max_steps=0) == whole
    (folder,) = (tmp_path / "whole" / "targets").iterdir()
    assert files_of(folder) == files_of(next((tmp_path / "cut" / "targets").iterdir()))


def test_runs_share_a_cache_and_then_need_no_teacher(
    dataset: Path, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str) -> dict[str, Tensor]:
        made = settings(dataset, teacher_run, tmp_path / name, cache_dir=str(tmp_path / "shared"))
        folder = RunFolder(tmp_path / name)
        recipe = build(made, folder, False)
        train(recipe, folder)
        return dict(recipe.model.state_dict())

    first = trained("first")
    monkeypatch.setattr(Autoencoder, "features", None)
    second = trained("second")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_fast_dev_run_makes_only_what_its_steps_need(dataset: Path, teacher_run: Path, tmp_path: Path) -> None:
    made = settings(dataset, teacher_run, tmp_path / "run")
    pretrain(**dict(made.model_copy(update={"trainer": TrainerConfig(fast_dev_run=True)})))
    (folder,) = (tmp_path / "run" / "targets").iterdir()
    assert len(np.load(folder / "centers.npy")) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {"cache": True, "mode": "released"}}, "teacher.cache: true needs teacher.mode=eval"),
        ({"teacher": {"cache": True}, "method": "point_mae"}, "teacher.cache: true is for method act"),
        ({"teacher": {"cache": True}, "data": {"resident": "always"}}, "data.resident: always is not possible"),
        ({"teacher": {"cache": True, "views": 0}}, "teacher.views: 0"),
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainSettings(**changes)
