"""Files of torch-pointcloud: recognised by their content, in either format; same weights, same outputs."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import act3d
from act3d import checkpoints
from act3d.commands.convert import convert
from act3d.errors import CheckpointError
from act3d.geometry import Patches

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "parity" / "torch_pointcloud.npz"
KINDS = {
    "point_bert_classifier": "classifier",
    "point_bert": "point_bert",
    "dvae": "autoencoder",
    "point_mae_classifier": "classifier",
    "point_mae": "point_mae",
    "part_segmenter": "segmenter",
}


@pytest.fixture(scope="module")
def rule() -> Any:
    """The script that wrote the stored outputs: how weights and points are drawn."""
    spec = importlib.util.spec_from_file_location(
        "torch_pointcloud_parity", ROOT / "scripts/torch_pointcloud_parity.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def outputs(kind: str, model: Any, patches: Patches, points: torch.Tensor) -> dict[str, torch.Tensor]:
    if kind == "segmenter":
        return {"logits": model.label_points(points, patches, torch.tensor([2, 0]))}
    if kind == "classifier":
        return {"logits": model(patches)}
    if kind == "autoencoder":
        tokens = model.tokens(patches)
        decoded = model.decode(model.features(patches), patches.centers)
        return {"tokens": tokens, "coarse": decoded.coarse, "fine": decoded.points}
    encoded = model.encoder(patches)
    if kind == "point_mae":
        return {"patches": encoded.patches}
    return {"logits": model.code_head(encoded.patches), "class": model.contrast_head(encoded.cls[:, 0])}


@pytest.mark.parametrize("name", KINDS)
def test_same_weights_same_outputs(name: str, rule: Any, tmp_path: Path) -> None:
    with np.load(STORED) as stored:
        shapes = json.loads(str(stored[f"{name}.shapes"]))
        wanted = {k.partition(".")[2]: torch.from_numpy(stored[k]) for k in stored if k.startswith(f"{name}.")
                  and not k.endswith(".shapes")}  # fmt: skip
    save_file(rule.weights(shapes), tmp_path / "model.safetensors")
    loaded = checkpoints.load(tmp_path / "model.safetensors")
    assert loaded.model.kind == KINDS[name]
    assert loaded.left_over == []
    assert set(loaded.missing) <= {"encoder.cls_token", "encoder.cls_pos"}
    model, points = loaded.model, rule.cloud()
    model.patches = 16
    patches = model.patchify(points)
    found = outputs(model.kind, model, patches, points)
    if "tokens" in found:
        wanted["tokens"] = wanted.pop("logits").argmax(dim=2)
        fine = wanted.pop("fine")
        assert torch.equal(found.pop("tokens"), wanted.pop("tokens"))
        found["fine"] = found["fine"].view_as(fine) - patches.centers.unsqueeze(2)
        wanted["fine"] = fine
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=2e-4, atol=2e-4, msg=lambda text, key=key: f"{key}: {text}")


def test_a_prefix_of_all_names_and_the_other_format_change_nothing(rule: Any, tmp_path: Path) -> None:
    with np.load(STORED) as stored:
        state = rule.weights(json.loads(str(stored["point_mae_classifier.shapes"])))
    save_file({f"model.{k}": v for k, v in state.items()}, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "b.pth")
    first, second = (checkpoints.load(tmp_path / name).model for name in ("a.safetensors", "b.pth"))
    assert first.config == second.config
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


def test_other_safetensors_are_refused_by_what_they_hold(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: none of the released models .*'conv.weight'"):
        checkpoints.load(tmp_path / "x.safetensors")
    save_file({"encoder.local_mlp.lins.0.weight": torch.zeros(3)}, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match=r"y\.safetensors: "):
        checkpoints.load(tmp_path / "y.safetensors")


def test_names_of_the_table_are_fetched_at_their_revision_with_their_facts(
    rule: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    with np.load(STORED) as stored:
        save_file(rule.weights(json.loads(str(stored["point_mae_classifier.shapes"]))), tmp_path / "m.safetensors")
    asked: list[Any] = []

    def download(name: str, file: str, **options: Any) -> str:
        asked.append((name, file, options))
        return str(tmp_path / "m.safetensors")

    monkeypatch.setattr(hub, "hf_hub_download", download)
    row = next(model for model in act3d.list_models() if model.name == "point-mae-base.modelnet40-8k.yatian-pang")
    for name in (row.name, row.source):
        found = act3d.load(name)
        assert (found.kind, found.points, found.model.patches) == ("classifier", 8192, 512)
        assert (found.meta["licence"], found.meta["normalization"]) == ("MIT", "unit_sphere")
        convert(name, out=str(tmp_path / "native.safetensors"))  # commands take names too
    wanted = (row.source.removeprefix("hub:"), "model.safetensors", {"revision": row.revision})
    assert asked == [wanted] * 4
    assert act3d.load(tmp_path / "native.safetensors").model.patches == 512


def test_names_that_mean_nothing_are_answered_with_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"did you mean the model point-mae-base\.pretrain\.yatian-pang"):
        act3d.load("point-mae-base.pretrain.yatian-pan")
    with pytest.raises(CheckpointError, match=r"^checkpoint: nowhere: no such file .*list_models"):
        convert("nowhere", out="x.safetensors")
    with pytest.raises(CheckpointError, match="OWNER/NAME"):
        act3d.load("hub:someone")
