"""The protocol in code: what a choice can reach, what is opened once, and the arithmetic of differences."""

import csv
import hashlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import act3d
from act3d.commands.check_data import check_data
from act3d.data import open_dataset
from act3d.data.description import TABLE, read_table
from act3d.errors import InputError
from act3d.settings.alignment import AlignSettings
from act3d.settings.layers import nest, resolve
from act3d.settings.model import Settings, to_dict
from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings
from act3d.tables import count_text
from benchmarks import ship
from benchmarks.evidence import __main__ as command
from benchmarks.evidence import cuts, differences, features, methods, openings, tables, tasks, training
from benchmarks.evidence.training import Place
from tests.data.helpers import write_packed

FAMILIES = 15
RULES = {each.name: each for each in cuts.COLLECTIONS}


def write_collection(root: Path, name: str, classes: str = "abc") -> Path:
    """A collection with families of two shapes, an unlabelled shape in some of them, and families that test."""
    from act3d.data.packing import Cloud, PackedWriter
    from tests.data.helpers import DECLARED

    rows = [(family, copy) for family in range(FAMILIES) for copy in range(2)]
    rows += [(family, 2) for family in range(0, 12, 3)]
    writer = PackedWriter(root / name, {"collection": name}, len(rows), 64, parts=["p", "q"] if name == "kicad" else [])
    for shard in writer.pending():
        made: list[Any] = []
        for i in writer.items_of(shard):
            family, copy = rows[i]
            cls = classes[family % len(classes)]
            cloud = np.random.default_rng([i, family]).normal(size=(64, 3)) * (1 + family % 3, 1, 1)
            cloud /= 1.01 * np.linalg.norm(cloud, axis=1).max()
            split = "test" if family >= 12 else "unlabeled" if copy == 2 else "train"
            extra = {"family": f"f{family}", "title": f"{cls}{cls} thing {family}", "creator": "me", "core": "1"}
            labels = (cloud[:, 0] > 0).astype(np.uint8) if name == "kicad" else None
            own = "" if copy == 2 else cls * 2
            made.append(Cloud(f"{name}{i}", cloud, np.zeros(3), 1.0, labels, own, split, extra))
        writer.write_shard(shard, made)
    writer.finish({**DECLARED, "name": name, "classes": [cls * 2 for cls in classes]})
    return root / name


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pool")
    for name in RULES:
        write_collection(root, name)
    return root


@pytest.fixture
def place(pool: Path, tmp_path: Path) -> Place:
    return Place(tmp_path / "out", pool, "choice", 1)


def test_no_shape_of_a_held_family_trains(pool: Path) -> None:
    for name, rule in RULES.items():
        table = read_table(pool / name / TABLE)
        families = np.array(cuts.family_of(table, rule.family))
        held_of: Counter[str] = Counter()
        for fold in range(cuts.FOLDS):
            splits = np.array(cuts.choice_splits(table, rule.family, fold))
            held = set(families[splits == "held"])
            held_of.update(held)
            assert held
            assert not held & set(families[np.isin(splits, ["train", "unlabeled"])])
            assert set(splits[np.array(table["split"]) == "test"]) == {cuts.CLOSED}
        # Every training family is held out once.
        assert set(held_of) == set(families[np.array(table["split"]) == "train"])
        assert set(held_of.values()) == {1}


def test_folds_have_their_share_of_every_class(pool: Path) -> None:
    table = read_table(pool / "kicad" / TABLE)
    sizes = []
    for fold in range(cuts.FOLDS):
        splits = cuts.choice_splits(table, ("family",), fold)
        sizes.append(sum(split == "held" for split in splits))
    assert sum(sizes) == 24
    assert max(sizes) - min(sizes) <= 2


def test_a_cut_is_a_whole_dataset_whose_test_families_cannot_be_named(place: Place) -> None:
    for name, folder in place.cuts().items():
        check_data(str(folder))
        with pytest.raises(InputError, match="has no split 'test'"):
            open_dataset(folder, "test")
        held, train = open_dataset(folder, "held"), open_dataset(folder, "train+unlabeled")
        original = open_dataset(place.pool / name)
        assert held.fingerprint != original.fingerprint
        row = original.names.index(held.names[0])
        cloud, same = held.fetch([0], 0)["points"][0], original.fetch([row], 0)["points"][0]
        assert np.allclose(cloud.sort(0)[0], same.sort(0)[0])
        assert not set(held.names) & set(train.names)


def test_seeds_hold_out_other_folds(pool: Path, tmp_path: Path) -> None:
    held = [set(open_dataset(Place(tmp_path, pool, "choice", seed).cuts()["ldraw"], "held").names) for seed in range(5)]
    assert sum(map(len, held)) == len(set.union(*held)) == 24


def test_the_final_cut_opens_test_shapes_and_draws_tenths(pool: Path, tmp_path: Path) -> None:
    folder = Place(tmp_path, pool, "final", 0).cuts()["ldraw"]
    assert len(open_dataset(folder, "test")) == 6
    few = open_dataset(folder, "train", subset="tenth2")
    assert Counter(few.labels.tolist()) == {0: 1, 1: 1, 2: 1}  # a tenth of eight, one at least
    assert len(open_dataset(folder, "test", subset="tenth2")) == 6


def test_more_is_trained_on_and_never_judged(pool: Path, tmp_path: Path) -> None:
    (name,) = cuts.MORE
    shutil.copytree(pool, tmp_path / "pool")
    write_collection(tmp_path / "pool", name)
    place = Place(tmp_path / "out", tmp_path / "pool", "final", 0)
    assert list(place.cuts()) == list(RULES)
    (folder,) = place.more()
    clouds = open_dataset(folder, "train+unlabeled")
    assert (clouds.name, len(clouds)) == (name, 28)
    assert set(read_table(folder / TABLE)["names0"]) == {"0", "1"}
    roots = {each.name: training._values(place, each)["data.root"].split(",") for each in methods.STAGES.values()}
    assert {each for each, found in roots.items() if str(folder) in found} == {
        "act3d-small@more.names",
        "act3d-small@more",
        "act3d-small@examples",
    }


def test_hidden_classes_are_in_no_name(place: Place) -> None:
    groups = cuts.class_groups(["aa", "bb", "cc"])
    assert sorted(name for group in groups for name in group) == ["aa", "bb", "cc"]
    for group, hidden in enumerate(groups):
        for folder in place.cuts().values():
            table = read_table(folder / TABLE)
            for flag, cls, title in zip(table[f"names{group}"], table["class"], table["title"], strict=True):
                shown = cls in hidden or any(name in title.split() for name in hidden)
                assert flag == ("0" if shown else "1")


def test_digests_follow_the_settings_of_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: methods.digest(name) for name in methods.STAGES}
    teacher = methods.STAGES["dvae.teacher"]
    changed = methods.Stage(teacher.name, teacher.command, teacher.presets, teacher.values | {"optim.lr": 1.0})
    monkeypatch.setitem(methods.STAGES, teacher.name, changed)
    after = {name: methods.digest(name) for name in methods.STAGES}
    assert {name for name in before if before[name] != after[name]} == {
        "dvae.teacher", "dvae", "dvae+names", "point_bert", "point_bert+names",
    }  # fmt: skip


def test_shorter_trainings_start_from_shorter_trainings() -> None:
    brief = {name: stage for name, stage in methods.STAGES.items() if name.startswith(methods.BRIEF)}
    assert {stage.values["trainer.epochs"] for stage in brief.values()} == {1, 2, 4}
    for name, stage in brief.items():
        assert not stage.after or stage.after in brief
        alike = methods.STAGES[name.removeprefix(methods.BRIEF)]
        assert {**stage.values, "trainer.epochs": 0} == {**alike.values, "trainer.epochs": 0}
    rows = [name for name in methods.METHODS if name.startswith(methods.BRIEF)]
    pairs = tables.claimed_pairs([*rows, "act_minilm", "point_mae", "plain"])
    assert ("brief:act_minilm", "brief:act_untrained_minilm") in pairs
    assert ("brief:act_imgfocus", "brief:act_minilm") in pairs
    assert ("brief:act_minilm+names", "brief:names_long") in pairs
    assert all(
        first.startswith("brief:") == second.startswith("brief:") for first, second in pairs if second != "plain"
    )


def test_no_default_changes_what_a_row_is_unseen() -> None:
    """A digest knows what a stage sets, not the defaults of the rest: a changed one made two rows unequal once."""
    models: dict[str, type[Settings]] = {
        "autoencode": AutoencodeSettings,
        "pretrain": PretrainSettings,
        "align": AlignSettings,
    }
    found = {}
    for name, stage in methods.STAGES.items():
        start = {"pretrain": "teacher.checkpoint", "align": "checkpoint"}.get(stage.command, "") if stage.after else ""
        values = stage.values | {"data.root": "a,b,c", "out": "run"} | ({start: stage.after} if start else {})
        found[name] = to_dict(resolve(models[stage.command], nest(values), stage.presets))
    assert all(each["align"]["memory"] == 0 for name, each in found.items() if name.endswith(("+names", "&names")))
    learn = {name: each["align"] for name, each in found.items() if "align" in each and each["align"].get("weight", 1)}
    told = {"act3d-small@texts", "act3d-small@more.names", "act3d-small@more", "act3d-small@examples"}
    assert {name for name, each in learn.items() if each["negatives"]} == told
    assert found["act3d-small@names"]["align"]["memory"] > 0
    assert {name for name, each in learn.items() if each["examples"]} == {"act3d-small@examples"}
    mark = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
    assert mark == "e7df07b8e837", "a default has changed: set its old value in methods.py; a setting is new: this mark"


def test_a_withdrawn_number_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = methods.recipe_digest(methods.METHODS["names"])
    numbers = {"kicad": {"zero_shot": 50.0, "nn1": 60.0}}
    entry = {"method": "names", "digest": digest, "seed": 0, "task": "unseen", "numbers": numbers}
    assert tables.current([entry]) == [entry]
    monkeypatch.setitem(tables.WITHDRAWN, digest, "zero_shot")
    assert tables.current([entry])[0]["numbers"] == {"kicad": {"nn1": 60.0}}


def test_a_row_at_other_patches_is_another_recipe_of_the_same_weights() -> None:
    trained, used = methods.METHODS["act3d-small"], methods.METHODS["act3d-small@128"]
    assert trained.stage == used.stage
    assert methods.recipe_digest(trained) == methods.digest(trained.stage) != methods.recipe_digest(used)
    assert {name for name, task in tasks.TASKS.items() if task.suits(used, "final")} == {
        "frozen", "zero_shot", "unseen",
    }  # fmt: skip
    assert features.with_patches(act3d.load("act3d-small").model, 96).patches == 96


def test_a_row_of_another_head_is_asked_its_fine_tuning_only() -> None:
    trained, words = methods.METHODS["act3d-small@names"], methods.METHODS["act3d-small@words"]
    assert trained.stage == words.stage
    assert methods.recipe_digest(trained) != methods.recipe_digest(words)
    assert {name for name, task in tasks.TASKS.items() if task.suits(words, "final")} == {"tenth", "full"}
    assert methods.METHODS["act3d-small@names128"].tuned == words.name
    pairs = tables.claimed_pairs(["scratch", trained.name, words.name, "recon", "point_mae"])
    assert {(words.name, "scratch"), (words.name, trained.name), ("recon", "point_mae")} <= set(pairs)


def test_a_card_has_the_numbers_of_rows_without_a_training_of_their_own() -> None:
    assert "fine-tuned, 10 % of the labels" in ship.numbers("scratch")
    assert "k-NN" in ship.numbers("plain")


def test_settings_of_all_stages_are_ones_that_the_commands_take() -> None:
    from act3d.settings.alignment import AlignSettings
    from act3d.settings.layers import nest
    from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings

    kinds: dict[str, Any] = {"autoencode": AutoencodeSettings, "pretrain": PretrainSettings, "align": AlignSettings}
    for stage in methods.STAGES.values():
        values = stage.settings() | ({"data.root": "a,b,c"} if "data.weights" in stage.values else {})
        made = kinds[stage.command](**nest(values))
        assert made.data.val_split == "none"
        assert "test" not in made.data.split
        assert (made.trainer.min_steps, made.trainer.step_ceiling) == (0, 0)


def test_a_recipe_is_opened_once(tmp_path: Path) -> None:
    log, asked = tmp_path / "openings.jsonl", []

    def work() -> dict[str, Any]:
        asked.append(1)
        return {"digest": "d", "seed": 3, "task": "frozen", "numbers": {"x": {"linear": 1.0}}}

    first = openings.open_once(log, "d", 3, "frozen", work)
    again = openings.open_once(log, "d", 3, "frozen", work)
    assert len(asked) == 1
    assert first["numbers"] == again["numbers"]
    assert "time" in again
    openings.open_once(log, "d", 4, "frozen", lambda: {**work(), "seed": 4})
    assert [json.loads(line)["seed"] for line in log.read_text().splitlines()] == [3, 4]


def test_paired_differences() -> None:
    found = differences.paired({0: 3.0, 1: 5.0, 2: 4.0, 7: 9.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half == pytest.approx(4.302653 / math.sqrt(3))  # t of 0.975 with two degrees; deviation 1
    assert found.holds_zero
    assert not differences.paired({0: 3.0, 1: 3.1}, {0: 1.0, 1: 1.1}).holds_zero
    single = differences.paired({0: 3.0}, {0: 1.0})
    assert single.mean == 2.0
    assert math.isnan(single.half)
    assert single.holds_zero


def test_the_bootstrap_covers_the_difference_and_shrinks_with_shapes() -> None:
    rng = np.random.default_rng(0)

    def right(shapes: int, share: float) -> dict[int, Any]:
        return {seed: rng.random(shapes) < share for seed in range(3)}

    wide = differences.bootstrap(right(60, 0.8), right(60, 0.6))
    narrow = differences.bootstrap(right(2000, 0.8), right(2000, 0.6))
    assert narrow[0] < 20 < narrow[1]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
    same = right(50, 0.5)
    assert differences.bootstrap(same, same) == (0.0, 0.0)


def test_the_rule_names_the_best_candidate_and_what_equals_it() -> None:
    score = {
        "align:base": {0: 60.0, 1: 62.0, 2: 61.0},
        "align:batch64": {0: 62.0, 1: 61.5, 2: 61.5},
        "align:rate2e-3": {0: 50.0, 1: 52.0, 2: 51.0},
        "align:text_raw": {0: 99.0},  # not all seeds
        "plain": {0: 99.0, 1: 99.0, 2: 99.0},  # no candidate
    }
    assert tables.verdict(score) == (
        "Best by the rule, of 3 candidates with 3 seeds: align:batch64; within one paired standard error: align:base."
    )
    assert "needs two seeds" in tables.verdict({"align:base": {0: 1.0}})


def test_right_shapes_are_kept_as_bits() -> None:
    right = np.random.default_rng(0).random(13) < 0.5
    assert np.array_equal(features.right_of(features.bits_of(right)), right)


def test_words_are_there_for_every_class() -> None:
    words = tasks.class_words()
    assert set(words) == {*RULES, "homedecor"}
    with (tasks.DOCUMENTS / "homedecor_labels.csv").open(encoding="utf-8", newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(words["homedecor"])
    assert [len(words[name]) for name in RULES] == [18, 40, 35]


SMALL = {"point_mae.patches": 4, "point_mae.patch_size": 8, "student.width": 12, "student.depth": 1, "student.heads": 2}
SMALL |= {"student.decoder_depth": 1, "student.decoder_heads": 2, "data.points": 64, "trainer.fit_start": 0}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point-MAE and alignment after it, at a size that takes seconds."""
    short = {"trainer.epochs": 1, "optim.warmup_epochs": 0, "data.points": 64}
    mae, names = methods.STAGES["point_mae"], methods.STAGES["point_mae+names"]
    for stage, more in ((mae, SMALL | short | {"student.shallow_block": 1}), (names, short)):
        values = stage.values | more
        monkeypatch.setitem(
            methods.STAGES, stage.name, methods.Stage(stage.name, stage.command, stage.presets, values, stage.after)
        )
    for module in (features, tasks):
        monkeypatch.setattr(module, "POINTS", 64)
    words = {name: {"aa": "aa", "bb": "bb", "cc": "cc"} for name in (*RULES, "homedecor")}
    monkeypatch.setattr(tasks, "class_words", lambda: words)
    monkeypatch.setattr("os.nice", lambda _: 0)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["evidence", *arguments])
    command.main()


def test_a_choice_is_trained_once_judged_and_written(
    pool: Path, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    common = ["--out", str(out), "--pool", str(pool)]
    choose = [*common, "--choose", "--seeds", "1", "--only", "point_mae+names", "--only", "plain"]
    run(monkeypatch, *choose)
    for name in training.COMMANDS:  # nothing is trained twice
        monkeypatch.setitem(training.COMMANDS, name, None)
    run(monkeypatch, *choose)

    monkeypatch.setattr(tables, "DOCUMENTS", tmp_path)
    tables.write(out, tmp_path / "openings.jsonl", tmp_path)
    entries = tables.read_lines(tmp_path / "choice.jsonl")
    assert {(entry["method"], entry["task"]) for entry in entries} == {
        ("plain", "frozen"), ("point_mae+names", "frozen"), ("point_mae+names", "zero_shot"),
    }  # fmt: skip
    named = next(entry for entry in entries if entry["task"] == "zero_shot")
    assert 0 <= named["numbers"]["kicad"]["zero_shot"] <= 100
    assert named["cost"]["clouds"] > 0
    page = (tmp_path / "choice.md").read_text()
    assert "| plain | 1 |" in page
    assert "| point_mae+names | 1 |" in page
    tables.write(tmp_path / "elsewhere", tmp_path / "openings.jsonl", tmp_path)  # data of before is kept
    assert tables.read_lines(tmp_path / "choice.jsonl") == entries


def test_all_tasks_give_numbers(pool: Path, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    log, out = tmp_path / "openings.jsonl", tmp_path / "out"
    write_packed(out / "data" / "homedecor", clouds=9)
    write_labels(tmp_path / "homedecor_labels.csv", {f"cloud{i}": "abc"[i % 3] * 2 for i in range(9)})
    monkeypatch.setattr(tasks, "DOCUMENTS", tmp_path)
    without = tuple(each._replace(leave_out="aa" if each.leave_out else "") for each in cuts.COLLECTIONS)
    monkeypatch.setattr(tasks, "COLLECTIONS", without)
    monkeypatch.setattr(features, "SHOT", 4)
    monkeypatch.setattr(features, "WAY", 2)
    short = {"data.points": 64, "trainer.epochs": 1, "trainer.min_steps": 0, "optim.warmup_epochs": 0}
    cut = {"patches": 4, "patch_size": 8}
    monkeypatch.setattr(tasks, "FINETUNE", tasks.FINETUNE | short | {f"classifier.{k}": v for k, v in cut.items()})
    monkeypatch.setattr(tasks, "PARTS", tasks.PARTS | short | {f"segmenter.{k}": v for k, v in cut.items()})
    few = {"tasks.folds": 1, "tasks.ways": [2], "tasks.shots": [4]}
    few |= {f"classifier.{k}": v for k, v in cut.items()}
    monkeypatch.setattr(tasks, "FEWSHOT", tasks.FEWSHOT | {k: v for k, v in short.items() if "min" not in k} | few)
    rows = [word for name in ("point_mae+names", "scratch", "plain") for word in ("--only", name)]
    common = ["--out", str(out), "--pool", str(pool), "--log", str(log), "--seeds", "1", *rows]
    run(monkeypatch, *common, "--open-test")
    found = {(entry["method"], entry["task"]): entry["numbers"] for entry in map(json.loads, log.open())}
    assert {task for method, task in found if method == "point_mae+names"} == set(tasks.TASKS) - {"few_tuned"}
    assert {task for method, task in found if method == "scratch"} == {"tenth", "full", "parts", "few_tuned"}
    assert {task for method, task in found if method == "plain"} == {"frozen", "unseen"}
    named = {task: found["point_mae+names", task] for task in tasks.TASKS if task != "few_tuned"}
    values = [named["parts"]["kicad"]["instance_miou"], named["unseen"]["homedecor"]["nn1"]]
    values += [named["unseen"]["homedecor"]["zero_shot"], found["scratch", "few_tuned"]["ldraw"]["fewshot_tuned"]]
    values += [named[task][name][key] for name in RULES for task, key in (("tenth", "tenth"), ("full", "full"))]
    values += [named["hidden_names"][name]["zero_shot_hidden"] for name in RULES]
    assert all(0 <= value <= 100 for value in values)
    tables.write(out, log, tmp_path)
    page = (tmp_path / "evidence.md").read_text()
    assert "zero-shot, classes held out" in page
    assert "homedecor (nothing of it was seen)" in page
    counts = json.loads((tmp_path / "parameters.json").read_text())
    row = counts[methods.recipe_digest(methods.METHODS["point_mae+names"])]
    assert set(row) == {"pretraining", "parts kicad", *(f"full {name}" for name in RULES)}
    stage = training.train_stage(Place(out, pool, "final", 0), "point_mae+names")
    model = act3d.load(stage).model
    assert row["pretraining"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert page.count(count_text(row["pretraining"])) >= 1
    tables.write(tmp_path / "elsewhere", log, tmp_path)  # counts of before are kept
    assert (tmp_path / "evidence.md").read_text() == page


def write_labels(path: Path, labels: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "class"), *labels.items()])


def test_test_families_stay_closed_until_they_are_opened(
    pool: Path, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out = tmp_path / "openings.jsonl", tmp_path / "out"
    write_packed(out / "data" / "homedecor", clouds=8)  # prepared already
    common = ["--out", str(out), "--pool", str(pool), "--log", str(log), "--seeds", "1", "--only", "point_mae"]
    run(monkeypatch, *common)
    assert not log.exists()
    assert not (out / "final" / "methods").exists()
    monkeypatch.setattr(features, "SHOT", 4)
    monkeypatch.setattr(features, "WAY", 2)
    run(monkeypatch, *common, "--open-test", "--task", "frozen")
    first = log.read_text()
    (entry,) = map(json.loads, first.splitlines())
    assert (entry["method"], entry["task"]) == ("point_mae", "frozen")
    assert entry["digest"] == methods.recipe_digest(methods.METHODS["point_mae"])
    shutil.rmtree(out / "final")  # what was opened is not trained again, where its training is gone
    run(monkeypatch, *common, "--open-test", "--task", "frozen", "--seed", "0")
    assert log.read_text() == first
    assert not (out / "final").exists()
    tables.write(out, log, tmp_path)
    assert "| point_mae |" in (tmp_path / "evidence.md").read_text()
    assert (tmp_path / "evidence.png").stat().st_size > 1000
