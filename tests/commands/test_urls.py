"""Every command that takes a dataset takes its URL, or says in one line that it does not."""

from pathlib import Path

import numpy as np
import pytest

import act3d
from act3d import cli
from tests.data.helpers import write_packed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_packed(tmp_path_factory.mktemp("urls") / "set", clouds=40)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_embeddings_and_probes_are_those_of_the_folder(made: Path, student_file: Path, tmp_path: Path) -> None:
    tables = []
    for place in (str(made), made.as_uri()):
        out = tmp_path / f"{len(tables)}.npz"
        act3d.embed(place, str(student_file), str(out))
        tables.append(np.load(out))
    assert set(tables[0].files) == set(tables[1].files)
    for name in tables[0].files:
        np.testing.assert_array_equal(tables[0][name], tables[1][name])
    near, far = (act3d.probe(str(student_file), data={"root": root}) for root in (str(made), made.as_uri()))
    assert near.metrics == far.metrics


def test_check_data_says_what_it_says_of_the_folder(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["check-data", made.as_uri(), "--card", "card.md"]) == 0
    far = capsys.readouterr().out
    assert cli.main(["check-data", str(made), "--page", "none", "--card", "card2.md"]) == 0
    near = capsys.readouterr().out
    assert far.replace(made.as_uri(), str(made)).replace("card.md", "card2.md") == near
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "card.md", "card2.md"}  # no folder called file:


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepare", "meshes", "--out", "s3://b/x"], "out: s3://b/x is a URL; this takes a file or folder on this"),
        (["prepare", "s3://b/x", "--out", "x"], "source: s3://b/x is a URL; this takes a file or folder on this"),
        (["autoencode", "--out", "s3://b/x"], "out: s3://b/x is a URL; this takes a file or folder on this"),
        (["teach", "s3://b/x"], "source: s3://b/x is a URL; this takes a file or folder on this machine"),
        (["finetune", "--data.root", "ADDRESS,ADDRESS"], "are several datasets, and this takes one"),
        (["finetune", "--data.root", "what://b"], "data.root: what://b: no known kind of URL"),
        (["autoencode", "--data.root", "sample,what://b"], "data.root: what://b: no known kind of URL"),
        (["autoencode", "--data.root", "ADDRESSs"], "ADDRESSs is not a packed dataset: it has no dataset.json"),
        (["segment", "--data.root", "ADDRESSs"], "ADDRESSs is not a packed dataset: it has no dataset.json"),
        (["fewshot", "--data.root", "ADDRESSs"], "ADDRESSs is not a packed dataset: it has no dataset.json"),
        (["quickstart", "--root", "ADDRESSs"], "ADDRESSs is not a packed dataset: it has no dataset.json"),
    ],
)
def test_what_cannot_be_is_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], said: str
) -> None:
    (tmp_path / "meshes").mkdir()
    assert cli.main([word.replace("ADDRESS", made.as_uri()) for word in words]) != 0
    # On a busy machine a line before it says that libraries are loaded.
    (error,) = [line for line in capsys.readouterr().err.splitlines() if ": loading " not in line]
    assert said.replace("ADDRESS", made.as_uri()) in error
    assert not [path for path in tmp_path.iterdir() if ":" in path.name]
