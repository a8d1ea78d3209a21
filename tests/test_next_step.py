import os
import shlex
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from act3d.cli import main
from act3d.cli.next_step import next_step
from act3d.cli.table import COMMANDS, settings_of
from act3d.engine import processes
from tests.command_line import settings_of_words

# What a command needs to be called at all.
GIVEN = {
    "teach": "shapes",
    "app": "shapes",
    "embed": "'my shapes' --checkpoint runs/p --out e.npz",
    "index": "shapes --checkpoint runs/p --out index",
    "search": "q.obj --index index",
    "predict": "q.obj --checkpoint runs/c",
    "export": "runs/p --out p.onnx",
    "convert": "ACT.pth --out act.safetensors",
    "probe": "runs/p",
    "evaluate": "runs/c",
    "compare": "runs/a runs/b",
    "inspect": "runs/p",
    "show": "map shapes --checkpoint runs/p,runs/q",
    "report": "runs/p",
    "prepare": "shapes --out data/mine",
    "check-data": "data/mine",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_next_step_is_a_command_that_act3d_takes(name: str) -> None:
    settings = settings_of_words(name, *shlex.split(GIVEN.get(name, "")))
    result = SimpleNamespace(kind="student", metrics={}, meta={})
    step = next_step(name, settings, result)
    if name in ("quickstart", "teach", "app", "check-data"):  # they print what follows themselves
        assert step == ""
        return
    act3d, follower, *words = shlex.split(step)
    assert act3d == "act3d"
    assert settings_of_words(follower, *words)


@pytest.mark.parametrize(
    ("name", "words", "result", "step"),
    [
        ("autoencode", "--out r/t --data.root d", None,
         "act3d pretrain --config act/pretrain --data.root d --teacher.checkpoint r/t"),
        ("autoencode", "--config small/autoencode --out r/t", None,
         "act3d pretrain --config small/pretrain --data.root sample --teacher.checkpoint r/t"),
        ("autoencode", "--config small/autoencode --out r/t --data.root a,b --data.weights 2,0.5", None,
         "act3d pretrain --config small/pretrain --data.root a,b --data.weights 2,0.5 --teacher.checkpoint r/t"),
        ("pretrain", "--out r/p --data.root a,b", None, "act3d probe r/p --data.root a"),
        ("prepare", "s --out d", SimpleNamespace(classes=["wall"]),
         "act3d segment --config small/scenes --data.root d"),
        ("show", "map s --checkpoint r/p,r/q", None, "act3d show map s --checkpoint r/p,r/q --out figure.pdf"),
        ("show", "data d --out d.pdf", None, "act3d check-data d"),
        ("draw-folds", "--out f --tasks.ways 2,3 --tasks.shots 4 --tasks.folds 2", None,
         "act3d fewshot --config small/fewshot --data.root f --tasks.ways 2,3 --tasks.shots 4 --tasks.folds 2"),
        ("draw-folds", "--out f --tasks.ways 2 --tasks.shots 4 --tasks.folds [3]", None,
         "act3d fewshot --config small/fewshot --data.root f --tasks.ways 2 --tasks.shots 4 --tasks.folds '[3]'"),
        ("inspect", "r/t", SimpleNamespace(kind="autoencoder", config={"width": 128}, meta={}),
         "act3d pretrain --config small/pretrain --data.root data/mine --teacher.checkpoint r/t"),
        ("inspect", "r/p", SimpleNamespace(kind="student", meta={"command": "pretrain"}), "act3d probe r/p"),
        ("inspect", "ACT.pth", SimpleNamespace(kind="student", meta={"released": True}),
         "act3d probe ACT.pth --data.root data/mine"),
        ("inspect", "r/c", SimpleNamespace(kind="segmenter", config={"categories": 0}, meta={"classes": ["wall"]}),
         "act3d predict my_scan.ply --checkpoint r/c --out labelled.ply"),
        ("inspect", "r/c", SimpleNamespace(kind="segmenter", config={"categories": 2}, meta={"classes": ["a b", "c"]}),
         "act3d predict my_shape.obj --checkpoint r/c --category 'a b' --out labelled.ply"),
        ("inspect", "r/c", SimpleNamespace(kind="segmenter", config={"categories": 16}, meta={}),
         "act3d predict my_shape.obj --checkpoint r/c --category 0 --out labelled.ply"),
        ("segment", "--out r/s --data.root d", SimpleNamespace(metrics={"categories": {"lamp": {}, "table": {}}}),
         "act3d predict my_shape.obj --checkpoint r/s --category lamp --out labelled.ply"),
        ("segment", "--out r/s --data.root d", SimpleNamespace(metrics={}),
         "act3d predict my_scan.ply --checkpoint r/s --out labelled.ply"),
        ("predict", "q --checkpoint r/c --out p.csv", None, "act3d evaluate r/c --data.root data/mine"),
        ("export", "r/p --out p.onnx --int8", None, "act3d inspect r/p"),
        ("evaluate", "r/c --data.root d --data.subset core", None,
         "act3d evaluate r/c --data.root d --data.subset core --out results"),
        ("embed", "s --checkpoint r/p --out e.npz --data.up z", None,
         "act3d index s --checkpoint r/p --data.up z --out index"),
        ("embed", "'my shapes' --checkpoint r/p --out e.npz", None,
         "act3d index 'my shapes' --checkpoint r/p --out index"),
        ("evaluate", "r/c --out r/c/test", None, "act3d compare r/c/test"),
        ("search", "q.obj --index i --page p.html", None, "act3d search my_shape.obj --index i"),
        ("compare", "a b --out t.md", None, "act3d report a b"),
        ("compare", "ours=a,b c --out t.md", None, "act3d report a b c"),
    ],
)  # fmt: skip
def test_it_takes_up_what_the_command_was_given(name: str, words: str, result: Any, step: str) -> None:
    assert next_step(name, settings_of_words(name, *shlex.split(words)), result) == step


def test_names_that_cannot_be_printed_are_written_as_a_shell_takes_them() -> None:
    name = "a\nb'\x1b[31m\\\udcff"
    step = next_step("pretrain", settings_of_words("pretrain", "--out", name), None)
    assert step.isprintable()
    word = step.removeprefix("act3d probe ")
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], stdout=subprocess.PIPE).stdout == os.fsencode(name)


def test_it_is_printed_beside_the_output_and_only_on_success(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_of("convert"), "check_places", lambda _: None)
    monkeypatch.setattr("act3d.cli.options.load", lambda _: lambda _: print("done"))
    words = ["convert", "ACT.pth", "--out", "a b.safetensors"]
    assert main(words) == 0
    assert capsys.readouterr() == ("done\n", "next: act3d inspect 'a b.safetensors'\n")
    monkeypatch.setenv("LOCAL_RANK", "1")  # a stray variable: this process is alone
    assert main(words) == 0
    assert "next:" in capsys.readouterr().err
    monkeypatch.setattr(processes, "rank", lambda: 1)  # a helper process
    assert main(words) == 0
    assert capsys.readouterr() == ("done\n", "")
    assert main(["convert", "ACT.pth"]) == 2
    assert "next:" not in capsys.readouterr().err
