import math
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.fields import FieldInfo

from act3d.cli.table import COMMANDS, settings_of
from act3d.errors import ConfigError
from act3d.presets import find_config, preset_names, run_command
from act3d.settings.alignment import AlignConfig
from act3d.settings.command import command
from act3d.settings.data import DataConfig, FoldData, ProbeData
from act3d.settings.layers import fields, resolve
from act3d.settings.messages import describe, nearest
from act3d.settings.model import Section, Settings, option, sections, to_dict
from act3d.settings.preparing import PrepareSettings
from act3d.settings.pretraining import AutoencodeSettings, PointBertConfig, PretrainSettings
from act3d.settings.segmentation import SceneConfig, SegmenterConfig, SegmentSettings
from act3d.settings.tasks import (
    ClassifierConfig,
    DrawFoldsSettings,
    FewShotConfig,
    FewshotSettings,
    FinetuneSettings,
    FoldsConfig,
)
from act3d.settings.training import (
    AutoencoderConfig,
    BackboneConfig,
    MaskConfig,
    OptimConfig,
    StudentConfig,
    TrainerConfig,
)
from tests.command_line import settings_of_words


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_are_allowed_and_every_field_explains_itself(name: str) -> None:
    model = settings_of(name)
    for key, field in fields(model).items():
        assert isinstance(field, FieldInfo)
        assert len(describe(field)) > 10, key
    for kind in sections(model).values():
        assert kind(**dict(kind())) == kind()  # defaults are not checked when they are left alone


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (OptimConfig, {"lr": -1.0}, "optim.lr: -1.0 is out of bounds; it must be > 0, <= 10"),
        (OptimConfig, {"lr": math.nan}, "optim.lr: nan is out of bounds"),
        (OptimConfig, {"clip": math.inf}, "optim.clip: inf is out of bounds"),
        (OptimConfig, {"lrr": 1.0}, "there is no setting 'optim.lrr'; did you mean optim.lr?"),
        (DataConfig, {"points": 8}, "data.points: 8 is out of bounds; it must be >= 32"),
        (DataConfig, {"points": 64.0}, "data.points: 64.0 is not allowed; it must be a whole number"),
        (DataConfig, {"points": "64"}, "data.points: '64' is not allowed; it must be a whole number"),
        (DataConfig, {"root": 3}, "data.root: 3 is not allowed; it must be text"),
        (DataConfig, {"batch_size": True}, "data.batch_size: True is not allowed; it must be a whole number"),
        (MaskConfig, {"ratio": 1.0}, "mask.ratio: 1.0 is out of bounds; it must be >= 0, < 1"),
        (MaskConfig, {"kind": "blok"}, "mask.kind: 'blok' is not allowed; it must be one of random, block"),
        (TrainerConfig, {"compile": 1}, "trainer.compile: 1 is not allowed; it must be true or false"),
        (FoldsConfig, {"ways": [5, 1]}, "tasks.ways: 1 is out of bounds; it must be >= 2"),
        (FoldsConfig, {"ways": 3}, "tasks.ways: 3 is not allowed; it must be a list, each item a whole number"),
        (
            AutoencoderConfig,
            {"patch_size": 30},
            "autoencoder.patch_size: 30 is not allowed; it must be a multiple of 4",
        ),
        (AutoencoderConfig, {"graph_width": 100}, "graph_width: 100 is not allowed; it must be a multiple of 32"),
        (BackboneConfig, {"prompts": 0}, "teacher.prompts: 0 needs teacher.deep_prompts=false"),
        (StudentConfig, {"heads": 5}, "student.heads: 5 must divide student.width (384)"),
        (StudentConfig, {"decoder_heads": 7}, "student.decoder_heads: 7 must divide student.width (384)"),
        (ClassifierConfig, {"heads": 7}, "classifier.heads: 7 must divide classifier.width (384)"),
        (SegmenterConfig, {"heads": 5}, "segmenter.heads: 5 must divide segmenter.width (384)"),
        (AlignConfig, {"heads": 5}, "align.heads: 5 must divide align.width (384)"),
        (SegmenterConfig, {"head_widths": [8, 8, 8]}, "segmenter.head_widths: [8, 8, 8] must be four widths"),
        (SceneConfig, {"stride": 2.0}, "scenes.stride: 2 must be <= scenes.block (1)"),
        (PointBertConfig, {"mask_low": 0.5}, "point_bert.mask_low: 0.5 must be <= point_bert.mask_high (0.45)"),
        (
            AutoencodeSettings,
            {"autoencoder": {"patches": 128}, "data": {"points": 64}},
            "autoencoder.patches: 128 must be <= data.points (64)",
        ),
        (
            PretrainSettings,
            {"student": {"depth": 4}, "loss": {"cls_loss": True}},
            "student.shallow_block: 10 must be <= student.depth (4)",
        ),
        (
            PretrainSettings,
            {"mask": MaskConfig(ratio=0), "loss": {"cls_loss": True}},
            "loss.cls_loss: true needs a decoder",
        ),
        (
            PretrainSettings,
            {"method": "point_mae", "point_mae": {"patches": 64}, "data": {"points": 32}},
            "point_mae.patches: 64 must be <= data.points (32)",
        ),
        (AutoencodeSettings, {"trainer": {"epochs": 3}}, "optim.warmup_epochs: 10 must be <= trainer.epochs (3)"),
        (AutoencodeSettings, {"optim": {"min_lr": 1.0}}, "optim.min_lr: 1 must be <= optim.lr (0.0005)"),
        (AutoencodeSettings, {"data": 3}, "data: 3 is not allowed; it must be a PoolConfig"),
        (AutoencodeSettings, {"mask": {"ratio": 0.5}}, "there is no setting 'mask'"),
        (FinetuneSettings, {"test_split": "train"}, "test_split: train is in data.split (train) as well"),
        (FinetuneSettings, {"classifier": {"patches": 2048}}, "classifier.patches: 2048 must be <= data.points (1024)"),
        (
            FinetuneSettings,
            {"trainer": {"fit_start": 8}},
            "trainer.fit_start: only act3d autoencode and act3d pretrain",
        ),
        (FewshotSettings, {"data": {"split": "a+test"}}, "test_split: test is in data.split (a+test) as well"),
        (SegmentSettings, {"data": {"batch_size": 1}}, "data.batch_size: 1 is too few"),
        (SegmentSettings, {"evaluate": True}, "there is no setting 'evaluate'"),
        (DrawFoldsSettings, {"data": {"test_split": "train"}}, "data.test_split: train is in data.split (train)"),
        (FoldData, {"split": "a+b", "test_split": "b"}, "data.test_split: b is in data.split (a+b) as well"),
        (ProbeData, {"test_split": "train"}, "data.test_split: train is in data.split (train) as well"),
        (PrepareSettings, {"source": "a", "out": "b", "scale": 0.0}, "scale: 0.0 is out of bounds; it must be > 0"),
        (PrepareSettings, {"source": "a"}, "out is missing"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_and_a_changed_copy_is_checked() -> None:
    optim = OptimConfig()
    with pytest.raises(Exception, match="frozen"):
        optim.lr = 1.0  # type: ignore[misc]
    assert optim.model_copy(update={"lr": 0.5}).lr == 0.5
    with pytest.raises(ConfigError, match=r"optim.lr: 11.0 is out of bounds"):
        optim.model_copy(update={"lr": 11.0})


@pytest.mark.parametrize("given", [{"width": 384}, StudentConfig(width=384)])
def test_it_is_known_which_values_were_named(given: Any) -> None:
    settings = PretrainSettings(data={"root": "here"}, student=given)
    assert settings.student.model_fields_set == {"width"}
    copied = settings.model_copy(update={"student": settings.student.model_copy(update={"depth": 12})})
    assert copied.student.model_fields_set == {"width", "depth"}


def test_a_folder_may_be_a_path_of_pathlib() -> None:
    assert ProbeData(root=Path("data/mine")).root == "data/mine"  # type: ignore[arg-type]


def test_settings_are_written_without_what_counts_for_one_call() -> None:
    plain = to_dict(PretrainSettings(resume=True, out="here", data={"root": "x"}))  # type: ignore[arg-type]
    assert "resume" not in plain
    assert (plain["out"], plain["data"]["root"], plain["data"]["batch_size"]) == ("here", "x", 128)
    assert PretrainSettings(**plain) == PretrainSettings(out="here", data={"root": "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "found"),
    [("optim.lrr", "optim.lr"), ("lr", "optim.lr"), ("epochs", "trainer.epochs"), ("mask.rato", "mask.ratio")],
)
def test_the_nearest_name_is_suggested(name: str, found: str) -> None:
    known = ["optim.lr", "trainer.epochs", "mask.ratio", "data.root", "probe.root"]
    assert nearest(name, known) == f"; did you mean {found}?"


def test_nothing_is_suggested_for_nonsense() -> None:
    assert nearest("xyzzy", ["optim.lr", "data.root"]) == ""


def test_settings_need_pydantic_only() -> None:
    heavy = "{'torch', 'numpy', 'yaml', 'cyclopts', 'rich'}"
    code = (
        "import sys; from act3d.cli.table import COMMANDS, settings_of; "
        f"[settings_of(name) for name in COMMANDS]; print(sorted({heavy} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# ---------------------------------------------------------------------- called from Python


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders need not be there."""
    for model in (PretrainSettings, PrepareSettings):
        monkeypatch.setattr(model, "check_places", lambda _: None)


@command
def pretend(settings: PretrainSettings) -> PretrainSettings:
    """Return what it was given.

    Returns:
        The settings.
    """
    return settings


@pytest.mark.usefixtures("anywhere")
def test_a_command_takes_whole_settings_or_parts_of_them() -> None:
    whole = PretrainSettings(seed=3)
    assert pretend(whole) is whole
    parts = pretend(data={"root": "mine"}, optim=OptimConfig(lr=0.5), seed=3)
    assert (parts.data.root, parts.data.batch_size, parts.data.augment) == ("mine", 128, "scale_shift")
    assert (parts.optim.lr, parts.optim.warmup_epochs, parts.seed) == (0.5, 10, 3)
    with pytest.raises(TypeError, match="not both"):
        pretend(whole, seed=3)


@pytest.mark.usefixtures("anywhere")
def test_a_command_takes_presets_and_what_is_given_wins(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("optim: {lr: 2e-3}\ndata: {batch_size: 5, root: there}")
    preset = pretend(config="small/pretrain", data={"root": "here"})
    assert (preset.student.width, preset.optim.lr, preset.data.batch_size, preset.data.root) == (192, 5e-4, 16, "here")
    layered = pretend(config=["small/pretrain", mine], data={"points": 64})
    assert (layered.student.width, layered.optim.lr) == (192, 2e-3)
    assert (layered.data.batch_size, layered.data.root, layered.data.points) == (5, "there", 64)
    whole = pretend(config=mine, data=DataConfig(points=64))  # a section's model replaces the section
    assert (whole.data.batch_size, whole.data.root) == (64, "sample")
    mine.write_text("optim: {lr: 20}")
    with pytest.raises(ConfigError, match=r"^[^\n]*mine.yaml: optim.lr: 20 is out of bounds"):
        pretend(config=mine)


@pytest.mark.usefixtures("anywhere")
def test_a_command_takes_what_it_needs_by_position() -> None:
    @command
    def make(settings: PrepareSettings) -> PrepareSettings:
        """Make."""
        return settings

    made = make(Path("in"), "out", points=8)
    assert (made.source, made.out, made.points) == ("in", "out", 8)
    with pytest.raises(ConfigError, match=r"^out is missing$"):
        make("in")
    with pytest.raises(TypeError, match="only source, out can be given without a name"):
        make("in", "out", "auto")


@pytest.mark.usefixtures("anywhere")
def test_a_resumed_run_is_the_base_of_python_callers_too(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 5\nout: elsewhere\ndata: {batch_size: 7, root: there}")
    resumed = pretend(out=tmp_path, resume=True, data={"root": "here"})
    assert (resumed.seed, resumed.out, resumed.data.batch_size) == (5, str(tmp_path), 7)
    assert (resumed.data.root, resumed.data.augment) == ("here", "scale_shift")
    with pytest.raises(ConfigError, match=r"^resume: .* holds no run"):
        pretend(out=tmp_path / "none", resume=True)


def test_a_command_documents_its_settings() -> None:
    text = pretend.__doc__ or ""
    assert text.startswith("Return what it was given.")
    assert "    student: the 3D Transformer that is pretrained." in text
    assert text.index("Args:") < text.index("Returns:")


class _Old(Section, section="tuning"):
    rate: float = option(1.0, "a rate", gt=0)


class _Older(Settings, command="pretend"):
    retired: ClassVar[frozenset[str]] = frozenset({"tuning.gone", "lost"})
    tuning: _Old = option(_Old(), "what is left")


def test_files_that_hold_settings_of_older_versions_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lost: true\ntuning: {gone: 3, rate: 2.0}")
    assert resolve(_Older, {}, [path]).tuning.rate == 2.0
    path.write_text("lots: true")
    with pytest.raises(ConfigError, match="there is no setting 'lots' in act3d pretend"):
        resolve(_Older, {}, [path])


class _Newer(Settings, command="pretend"):
    earlier: ClassVar[dict[str, Any]] = {"tuning.rate": 3.0}
    tuning: _Old = option(_Old(), "its rate came later: runs of before had 3")
    out: str = option("runs", "where")
    resume: bool = option(False, "go on")


def test_a_run_of_an_older_version_stays_as_it_was(tmp_path: Path) -> None:
    path, header = tmp_path / "config.yaml", "# All settings of this run. Again: act3d pretend --config THIS_FILE\n"
    path.write_text("out: here")
    assert resolve(_Newer, {}, [path]).tuning.rate == 1.0, "a file of the user's own: today's default"
    assert resolve(_Newer, {"out": str(tmp_path), "resume": True}).tuning.rate == 3.0
    path.write_text(header + "out: here")
    assert resolve(_Newer, {}, [path]).tuning.rate == 3.0
    assert resolve(_Newer, {"tuning": {"rate": 7.0}}, [path]).tuning.rate == 7.0
    path.write_text(header + "tuning: {rate: 5.0}")
    assert resolve(_Newer, {"out": str(tmp_path), "resume": True}).tuning.rate == 5.0


def test_no_preset_is_taken_for_a_run() -> None:
    assert [name for name in preset_names() if run_command(find_config(name))] == []


def test_a_number_of_folds_counts_them(tmp_path: Path) -> None:
    def folds(*words: str) -> list[int]:
        found: list[int] = settings_of_words("fewshot", "--out", str(tmp_path / "run"), *words).tasks.folds
        return found

    assert folds("--tasks.folds", "2") == [0, 1]
    assert folds("--tasks.folds", "0,3") == [0, 3]
    assert folds("--tasks.folds", "[2]") == [2]
    with pytest.raises(ConfigError, match=r"tasks\.folds: 0 is not allowed; it must be how many, >= 1"):
        folds("--tasks.folds", "0")
    assert FewShotConfig(folds=3).folds == [0, 1, 2]
    assert FewShotConfig(folds=[4]).folds == [4]
