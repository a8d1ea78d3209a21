"""Commands and snippets in the documents are ones that act3d takes."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import act3d
from act3d.settings.layers import resolve
from act3d.settings.pretraining import PretrainSettings
from tests.command_line import settings_of_words
from tests.fixtures.packed import write_dataset
from tests.fixtures.small_models import write_box

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/RESULTS.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def fenced(document, language):
    """Text of every fenced block of a language; "" = none is named."""
    return [text for _, name, text in FENCE.findall(document.read_text(encoding="utf-8")) if name == language]


def command_lines(document):
    """Lines that start with act3d, in blocks and between backticks; `[...]` gives two, with and without it."""
    found = []
    for block in fenced(document, ""):
        for name, value in re.findall(r'\b([A-Z]+)="([^"]*)"', block):
            block = block.replace(f"${name}", value)
        found += block.replace("\\\n", " ").splitlines()
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))
    found += [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]
    commands = [line for line in found if re.match(r"act3d [a-z]", line)]
    optional = re.compile(r"\[(--[^\]]*)\]")
    return [optional.sub(with_it, line) for line in commands for with_it in (r"\1", "")]


LINES = sorted({(document.name, line) for document in DOCUMENTS for line in command_lines(document)})


def test_there_are_commands_in_the_documents():
    assert len(LINES) > 40
    assert {name for name, _ in LINES} >= {
        "README.md",
        "training.md",
        "classification.md",
        "segmentation.md",
        "using.md",
    }


@pytest.mark.parametrize(("document", "line"), LINES)
def test_a_command_in_a_document_is_one_that_act3d_takes(document, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command, *words = shlex.split(line, comments=True)[1:]
    if "--resume" in words:  # the settings of the run are read
        run = tmp_path / words[words.index("--resume") + 1]
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("seed: 1\n")
    if not words:
        from act3d.cli.table import COMMANDS

        assert command in COMMANDS
    elif not set(words) & {"--help", "..."}:
        settings_of_words(command, *[re.sub(r"\bN\b|(?<=seed)N\b", "0", word) for word in words])


SNIPPETS = [
    (document.name, text)
    for document in DOCUMENTS
    for text in fenced(document, "python")
    if text.startswith("import act3d\n")
]


@pytest.fixture
def workspace(student_file, tmp_path, monkeypatch):
    """A folder with what the snippets name; training only checks its settings."""
    write_dataset(tmp_path / "data/mine", points=1024)
    write_box(tmp_path / "chair.obj", 1, 2, 1)
    weights = tmp_path / "runs/mine/stage2/checkpoints"
    weights.mkdir(parents=True)
    shutil.copy(student_file, weights / "last.safetensors")
    monkeypatch.chdir(tmp_path)
    trained = []

    def pretrain(config, **given):
        trained.append(resolve(PretrainSettings, given, [config]))

    monkeypatch.setattr(act3d, "pretrain", pretrain, raising=False)
    return trained


def test_there_are_snippets_in_the_documents():
    assert {name for name, _ in SNIPPETS} >= {"README.md", "training.md", "using.md", "data.md"}


@pytest.mark.parametrize(("document", "text"), SNIPPETS)
def test_a_snippet_in_a_document_runs(document, text, workspace):
    variables = {}
    exec(compile(text, document, "exec"), variables)
    for line in text.splitlines():
        # Shapes that remarks promise: the value of the line before the remark has them.
        if shape := re.search(r"#.*?\(([\d, C]+)\)", line):
            code = line.split("#")[0].strip()
            value = eval(code.split(" = ", 1)[-1], variables)
            assert list(value.shape) == [128 if size == "2C" else int(size) for size in shape[1].split(", ")]
    assert len(workspace) == text.count("act3d.pretrain(")
