"""Commands and snippets in the documents are ones that act3d takes."""

import re
import shlex
from pathlib import Path

import pytest

from tests.command_line import settings_of_words

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/RESULTS.md",
    *sorted((ROOT / "docs").glob("*.md")),
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
