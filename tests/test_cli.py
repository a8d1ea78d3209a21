import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from act3d import cli
from act3d.cli.table import COMMANDS, GROUPS
from act3d.engine.run_folder import RunFolder
from act3d.errors import CheckpointError, ConfigError
from act3d.presets import preset_names, read_config
from act3d.settings.pretraining import AutoencodeSettings
from tests.command_line import settings_of_words


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def parse(*words: str, command: str = "pretrain") -> Any:
    return settings_of_words(command, *words)


def plain(out: str) -> str:
    """Return text without frames and line breaks."""
    return " ".join(word for word in out.split() if word != "│")


# ---------------------------------------------------------------------- help


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    text = plain(out)
    for name, command in COMMANDS.items():
        assert f" {name} {command.summary}" in text
    for name, about in GROUPS.items():
        assert f"─ {name} ─" in out
        assert about in text
        assert "act3d " in about  # an example
    assert [name for name in GROUPS if any(c.group == name for c in COMMANDS.values())] == list(GROUPS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from act3d.cli import main; main(['--help']); main(['pretrain', '--help']); "
        "main(['autoencode', '--help']); heavy = {'torch', 'numpy', 'lightning_fabric'} & set(sys.modules); "
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"Usage: act3d {name}" in out
    assert f"\n  act3d {name}" in out  # an example
    assert "--debug" in out


def test_pretrain_help_is_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "pretrain", "--help")
    text = plain(out)
    assert "--optim.lr NUMBER highest learning rate, reached after the warm-up [> 0, <= 10] [default: 0.001]" in text
    assert "--mask.kind random|block" in out
    assert "[clouds, >= 1] [default: 128]" in text  # pretrain's own default
    assert ", ".join(preset_names("pretrain")) in text
    assert "--resume [RUN]" in out
    assert "--config PRESET|FILE" in out


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pretain", "there is no command 'pretain'; did you mean pretrain?"),
        ("pretrain --optim.lrr 1", "there is no option --optim.lrr in act3d pretrain; did you mean --optim.lr?"),
        ("pretrain --lr 1", "did you mean --optim.lr?"),
        ("pretrain --optim.lr abc", "--optim.lr: 'abc' is not allowed; it must be a number"),
        ("pretrain --data.points 1e3", "--data.points: '1e3' is not allowed; it must be a whole number"),
        ("pretrain --optim.lr -1", "optim.lr: -1.0 is out of bounds; it must be > 0, <= 10"),
        ("pretrain --mask.kind blok", "--mask.kind: 'blok' is not allowed; it must be one of random, block"),
        ("pretrain --trainer.compile maybe", "it must be true or false"),
        ("pretrain --optim.lr", "--optim.lr: a value is missing"),
        ("pretrain foo", "'foo' is not expected here"),
        ("pretrain --config act/pretain", "neither a file nor a preset; presets: act/pretrain, "),
        ("pretrain", "teacher.checkpoint: missing"),
        ("autoencode --data.root /nowhere --out OUT", "/nowhere is not a folder"),
        ("prepare", "SOURCE is missing"),
        ("prepare SRC", "--out is missing"),
        ("prepare SRC --out OUT --workers many", "workers"),
        ("pretrain --resume OUT", "holds no run"),
        ("pretrain --resume OUT --out OTHER", "two folders"),
    ],
)
def test_a_mistake_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, message: str
) -> None:
    words = words.replace("OUT", str(tmp_path / "run")).replace("SRC", str(tmp_path))
    code, out, err = run(capsys, *words.split())
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("act3d: error: ")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("optim: {lrr: 1}", "there is no setting 'optim.lrr' in act3d pretrain; did you mean optim.lr?"),
        ("optim: {lr: fast}", "optim.lr: 'fast' is not allowed; it must be a number"),
        ("data: {points: 64.5}", "data.points: 64.5 is not allowed; it must be a whole number"),
        ("- 1", "must hold settings by name"),
        ("a: [", "is not valid YAML (line 1)"),
        ("[" * 3000, "is not valid YAML"),
        ("? [a, b]\n: 1", "is not valid YAML"),
        ("a: &a\n  b: *a", "its references never end"),
        ("data: &a [*a]", "its references never end"),
        (
            "l0: &l0 {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1}\n"
            + "".join(f"l{i}: &l{i} {{{', '.join(f'{c}: *l{i - 1}' for c in 'abcdefgh')}}}\n" for i in range(1, 30)),
            "its references never end, or stand for too many values",
        ),
    ],
)
def test_a_mistake_in_a_file_names_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    code, _, err = run(capsys, "pretrain", "--config", str(path))
    assert code == 2
    assert message in err
    assert "mine.yaml" in err
    assert len(err.splitlines()) == 1


def test_a_file_in_utf_16_and_references_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("optim: &a {lr: 0.25}\nseed: 3\n".encode("utf-16"))
    assert read_config(path) == {"optim": {"lr": 0.25}, "seed": 3}
    path.write_text("optim: &a {lr: 0.25}\nother: *a\n")
    assert read_config(path)["other"] == {"lr": 0.25}


def test_a_run_of_another_command_is_told_how_to_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    RunFolder(out).path.mkdir()
    RunFolder(out).begin(AutoencodeSettings(out=out), "autoencode")
    code, _, err = run(capsys, "finetune", "--resume", out)
    assert code == 2
    assert f"{out} is a run of act3d autoencode; act3d autoencode --resume goes on with it" in err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ConfigError):
        cli.main(["pretrain", "--optim.lr", "-1", "--debug"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(CheckpointError("torn\nfile"), 1), (RuntimeError("deep"), 1), (KeyboardInterrupt(), 130), (ConfigError("no"), 2)],
)
def test_errors_become_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    found, _, err = run(capsys, "anything")
    assert found == code
    assert len(err.splitlines()) == 1


# ---------------------------------------------------------------------- where settings come from


def test_options_win_over_files_and_later_files_over_earlier(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("optim: {lr: 1e-3, clip: 5}\ndata: {batch_size: 7}\nseed: 1")
    second.write_text("optim: {lr: 0.002}")
    settings = parse("--optim.clip=1", "--config", str(first), "--config", str(second), "--trainer.compile")
    assert (settings.optim.lr, settings.optim.clip, settings.optim.warmup_epochs) == (0.002, 1.0, 10)
    assert settings.data.batch_size == 7
    assert settings.data.augment == "scale_shift"  # pretrain's default stays where nothing is said
    assert settings.seed == 1
    assert settings.trainer.compile is True


def test_a_preset_resolves_without_a_path() -> None:
    assert parse("--config", "act/pretrain").data.split == "train+test"
    names = set(preset_names("pretrain"))
    assert {"act/pretrain", "small/pretrain"} <= names
    assert "act/autoencode" not in names


def test_resume_takes_the_runs_own_settings(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump({"out": "elsewhere", "seed": 5, "optim": {"lr": 0.25}}))
    named = parse("--resume", str(out), "--trainer.epochs", "17")
    assert (named.resume, named.out, named.seed, named.optim.lr) == (True, str(out), 5, 0.25)
    assert named.trainer.epochs == 17
    alone = parse("--out", str(out), "--resume")
    assert (alone.resume, alone.out, alone.seed) == (True, str(out), 5)
    reset = parse("--resume", str(out), "--optim.lr", "0.001")  # a default that is asked for counts
    assert reset.optim.lr == 0.001


def test_switches_take_a_value_or_none() -> None:
    assert parse("--trainer.compile", "--seed", "3").trainer.compile is True
    assert parse("--trainer.compile", "true").trainer.compile is True
    assert parse("--point_bert.mix", "false").point_bert.mix is False
    assert parse("--point_bert.mix=no").point_bert.mix is False
    inspect = parse("--json", "runs/x", command="inspect")
    assert (inspect.as_json, inspect.checkpoint) == (True, "runs/x")


def test_lists_are_joined_by_commas_and_last_positionals_take_all_words() -> None:
    assert parse("--tasks.ways", "5,10", "--tasks.folds=[0, 1]", command="fewshot").tasks.ways == [5, 10]
    compare = parse("runs/a", "best=runs/b,runs/c", "--metrics", "oa,knn", command="compare")
    assert (compare.runs, compare.metrics) == (["runs/a", "best=runs/b,runs/c"], ["oa", "knn"])


def test_the_last_of_an_option_that_comes_twice_counts() -> None:
    assert parse("--seed", "3", "--seed", "4", "--optim.lr=1", "--optim.lr", "2").seed == 4
    assert parse("a.obj", "--index", "i", "--json", "-", command="search").json_file == "-"


@pytest.mark.parametrize("option", ["-k", "--k"])
def test_search_takes_short_k(option: str) -> None:
    settings = parse("q.obj", "--index", "i", option, "3", command="search")
    assert (settings.shape, settings.index, settings.k) == ("q.obj", "i", 3)


def test_python_m_act3d_works() -> None:
    done = subprocess.run([sys.executable, "-m", "act3d", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("act3d ")


def test_help_is_quick() -> None:
    """What --help imports is what it costs: neither pydantic nor any command's settings."""
    code = (
        "import sys; from act3d.cli import main; main(['--help']); "
        "sys.exit(str([m for m in sys.modules if m.startswith(('act3d.commands.', 'act3d.settings', 'pydantic'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ("pretrain", "teacher.checkpoint: missing; give stage I's weights", 2),
        ("pretrain --teacher.checkpoint NO", "teacher.checkpoint: NO: no such file or run folder", 1),
        ("pretrain --teacher.checkpoint EMPTY", "teacher.checkpoint: EMPTY: holds no finished weights", 1),
        ("pretrain --method point_mae --data.root NO", "data.root: NO is not a folder", 2),
        ("autoencode --data.root NO", "data.root: NO is not a folder", 2),
        ("finetune --checkpoint NO", "checkpoint: NO: no such file or run folder", 1),
        ("finetune --resume NO", "--resume: NO holds no run", 2),
        ("evaluate NO", "checkpoint: NO: no such file or run folder", 1),
        ("evaluate EMPTY/checkpoints/last.ckpt", "give its run folder, EMPTY", 1),
        ("probe NO", "checkpoint: NO: no such file or run folder", 1),
        ("embed NO --checkpoint NO --out x.npz", "input: NO: no such file, folder or pattern", 2),
        ("embed EMPTY --checkpoint NO --out x.npz", "checkpoint: NO: no such file or run folder", 1),
        ("search EMPTY --index NO", "index: NO does not exist", 2),
        ("export NO --out x.onnx", "checkpoint: NO: no such file or run folder", 1),
        ("prepare NO --out OUT", "source: NO does not exist", 2),
    ],
)
def test_what_is_not_there_is_said_before_torch_is_imported(
    tmp_path: Path, words: str, message: str, code: int
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"NO": str(tmp_path / "nowhere"), "EMPTY": str(tmp_path / "empty"), "OUT": str(tmp_path / "out")}
    for short, path in places.items():
        words, message = words.replace(short, path), message.replace(short, path)
    program = (
        "import sys; from act3d.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy'} & set(sys.modules); print(sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert message in done.stderr
    assert done.returncode == code
    assert done.stdout.strip() == "[]"


def test_shells_complete_choices_presets_and_files(tmp_path: Path) -> None:
    script = tmp_path / "act3d"
    command = [sys.executable, "-m", "act3d", "--install-completion", "--shell", "bash", "--output", str(script)]
    home = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(command, capture_output=True, check=True, env=home)
    (tmp_path / "shapes").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "act3d").write_text(f'#!/bin/sh\nexec {sys.executable} -m act3d "$@"\n')
    (tmp_path / "bin" / "act3d").chmod(0o755)

    def complete(*words: str) -> list[str]:
        line = " ".join(["act3d", *words])
        program = (
            f"source {script}; COMP_WORDS=(act3d {' '.join(word or repr(word) for word in words)}); "
            f"COMP_CWORD={len(words)}; COMP_LINE='{line}'; COMP_POINT={len(line)}; _act3d; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**home, "PATH": path},
        )
        return done.stdout.split()

    assert complete("pretrain", "--mask.kind", "") == ["random", "block"]
    assert complete("pretrain", "--mask.") == ["--mask.ratio", "--mask.kind"]
    assert complete("pretrain", "--config", "") == preset_names("pretrain")
    assert "shapes" in complete("probe", "--data.root", "")
    assert "shapes" in complete("embed", "")
