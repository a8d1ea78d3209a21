"""Folders for the Hugging Face Hub, their cards, and uploads up to the network."""

from pathlib import Path
from typing import Any

import pytest
import torch

import act3d
from act3d.errors import CheckpointError

pytest.importorskip("huggingface_hub")


def test_there_and_back(student_file: Path, tmp_path: Path) -> None:
    model = act3d.load(student_file)
    folder = act3d.save_pretrained(model, tmp_path / "hub", licence="CC-BY-4.0")
    found = act3d.from_pretrained(str(folder))
    points = torch.rand(1, 30, 3)
    assert torch.equal(found.embed(points), model.embed(points))
    assert found.meta["data"] == {"name": "boxes", "fingerprint": "f00"}
    card = (folder / "README.md").read_text()
    for text in ("license: cc-by-4.0", "boxes", "f00", "standard", "library_name: act3d", "from_pretrained"):
        assert text in card


def test_from_the_hub(student_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(name: str, file: str, **options: Any) -> str:
        asked.append((name, file, options))
        return str(student_file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert act3d.from_pretrained("someone/student", revision="v1").kind == "student"
    assert asked[0][:2] == ("someone/student", "model.safetensors")
    assert asked[0][2]["revision"] == "v1"
    assert act3d.load("hub:someone/student").kind == "student"
    assert asked[1] == ("someone/student", "model.safetensors", {})


def test_upload(student_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, RepoUrl

    sent: dict[str, Any] = {}

    def create(self: Any, repo_id: str, **options: Any) -> RepoUrl:
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload(self: Any, *, repo_id: str, folder_path: Any, **options: Any) -> str:
        sent.update({p.name: p.read_bytes() for p in Path(folder_path).iterdir()}, repository=repo_id)
        return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    act3d.push_to_hub(act3d.load(student_file), "someone/student", licence="MIT")
    assert sent["repository"] == "someone/student"
    assert b"license: mit" in sent["README.md"]
    assert len(sent["model.safetensors"]) > 1000


def test_no_such_folder_or_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError):
        act3d.from_pretrained(str(tmp_path / "nowhere"), local_files_only=True)
    with pytest.raises(CheckpointError, match="someone/student: cannot be had from the Hub"):
        act3d.load("hub:someone/student")


def test_the_card_of_a_run_has_its_results_in_the_form_of_the_hub(student_file: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    from act3d.files import write_json

    run = tmp_path / "run"
    weights = run / "checkpoints" / "best.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(student_file.read_bytes())
    counts = {"trained": 1200, "all": 340_000}
    write_json(
        run / "results.json", {"metrics": {"probe": 71.5, "epochs": 3, "confusion": [[1]]}, "parameters": counts}
    )
    folder = act3d.save_pretrained(act3d.load(run), tmp_path / "hub")
    (result,) = ModelCard.load(folder / "README.md").data.eval_results
    assert (result.metric_value, result.metric_type, result.dataset_name) == (71.5, "accuracy", "boxes")
    assert act3d.load(folder / "model.safetensors").meta["metrics"] == {"probe": 71.5}
    assert "| Trained | 1.2 k of 340 k parameters trained |" in (folder / "README.md").read_text()


def test_a_dataset_has_a_card() -> None:
    from huggingface_hub import DatasetCard

    from act3d.use.dataset_card import dataset_card

    card = DatasetCard(dataset_card("sample"))
    assert card.data.pretty_name == "sample"
    assert card.data.size_categories == ["n<1K"]
    assert "train 448" in card.text
