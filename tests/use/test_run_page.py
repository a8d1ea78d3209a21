"""`act3d report`: the page of any finished runs."""

import json
import re

import pytest

from act3d.commands.report import report
from act3d.errors import ConfigError, InputError
from act3d.report.pieces import Retrieval
from act3d.report.run_page import retrieval_headline
from act3d.use.run_page import numbers_tables


@pytest.fixture(scope="module")
def runs(stage1, stage2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    return stage1(folder / "one", epochs=2).out, stage2(folder / "two", epochs=2).out


def test_a_page_of_both_stages_shows_shapes_numbers_and_curves(runs, capsys):
    one, two = runs
    page = report([str(one), str(two)]).read_text(encoding="utf-8")
    assert f"written: {one}/report.html" in capsys.readouterr().out
    titles = re.findall("<h2>([^<]*)", page)
    assert titles[0].startswith("Which shapes")
    assert titles[1].startswith("Reconstructions")
    assert titles[-1] == "How this was made"
    saved = json.loads((one / "results.json").read_text())
    assert f"<td>{saved['metrics']['val_cd_l1']:.4g}</td>" in page
    assert saved["data"]["fingerprint"] in page
    assert "autoencode: Chamfer L1 × 1000 on validation data" in page
    assert page.count("<polyline") >= 3
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_the_page_of_one_run_and_a_place_for_it(runs, tmp_path):
    page = report([str(runs[0])], out=str(tmp_path / "r.html")).read_text(encoding="utf-8")
    assert "Which shapes" not in page
    assert "Reconstructions" in page


def test_what_is_no_finished_run_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"holds no results\.json"):
        report([str(tmp_path)])
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="is not the result of an act3d run"):
        report([str(tmp_path)])
    whole = {"command": "quickstart", "metrics": {}, "seed": [0, 1], "per_seed": {"pretrained": [50.0, 51.0]}}
    (tmp_path / "results.json").write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match="give it alone"):
        report([str(runs[0]), str(tmp_path)])


def test_a_gain_is_claimed_only_where_there_is_one():
    ahead = retrieval_headline(Retrieval(9, [], {"a": [60.0], "b": [30.0], "Plain": [50.0]}, 20), "a")
    assert [number for number, _ in ahead] == ["60 %", "50 %", "30 %", "+10"]
    assert ahead[-1][1].startswith("points more than plain;")
    behind = retrieval_headline(Retrieval(9, [], {"a": [40.0], "b": [30.0], "Plain": [50.0]}, 20), "a")
    assert [number for number, _ in behind] == ["40 %", "50 %", "30 %"]


def test_numbers_of_runs_stand_under_their_names_by_command_and_say_where_names_taught():
    runs = {
        "x": {"command": "probe", "seed": 1, "metrics": {"oa": 50.123, "random_knn": 7, "per_class": {}, "epochs": 3}},
        "y": {"command": "autoencode", "supervision": "names", "metrics": {"val_cd_l1": 0.5, "flag": True}},
        "z": {"command": "probe", "seed": 2, "metrics": {"oa": 60.0, "new_number": 1}},
    }
    probes, stage1 = numbers_tables(runs)
    names = ["overall accuracy, %", "random initialization, k-NN accuracy, %", "new number"]
    assert probes.title == "act3d probe"
    assert probes.header == ["run", "seed", *names]
    assert probes.rows == [["x", "1", "50.12", "7", ""], ["z", "2", "60", "", "1"]]
    assert stage1.header == ["run", "seed", "Chamfer L1 × 1000 on validation data"]
    assert stage1.rows == [["y, name-supervised", "", "0.5"]]
