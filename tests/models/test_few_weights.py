"""Low-rank updates and adapters: nothing changes at the start, merging changes nothing, few parameters train."""

from typing import Any

import pytest
import torch

from act3d.errors import InputError
from act3d.models.classifier import Classifier
from act3d.models.few_weights import LORA_TARGETS, merge_lora, merged_state
from act3d.models.segmenter import Segmenter
from act3d.models.student import Student
from act3d.models.transfer import TRANSFERS, TransferModel

SMALL: dict[str, Any] = {"patches": 8, "patch_size": 8, "width": 16, "depth": 2, "heads": 2, "drop_path": 0.0}
LORA = {"transfer": "lora", "lora_rank": 2, "lora_targets": LORA_TARGETS}


def randomized(model: TransferModel) -> TransferModel:
    """All parameters at random, also those that are zero at the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5)
    return model


def logits(model: Any, points: torch.Tensor) -> torch.Tensor:
    if isinstance(model, Segmenter):
        return model(points, torch.zeros(len(points), dtype=torch.int64))
    return model(model.patchify(points))


def built(kind: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return Segmenter(5, 2, **SMALL, head_widths=(8, 8, 8, 8), **arguments) if kind == "segmenter" else Classifier(
        5, **SMALL, **arguments
    )  # fmt: skip


@pytest.mark.parametrize("transfer", ["lora", "adapter"])
def test_the_encoder_gives_at_the_start_what_the_pretrained_one_gives(transfer: str) -> None:
    student = Student(**SMALL, decoder_heads=2).eval()
    model = Classifier(5, **SMALL, transfer=transfer, lora_targets=LORA_TARGETS).eval()
    assert model.start_from(student) == []  # what was added is not missing in the source
    patches = model.patchify(torch.rand(2, 40, 3))
    assert torch.equal(model.embed(patches), student.embed(patches))


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_lora_is_the_product_of_two_small_matrices_added_to_the_weight(kind: str) -> None:
    model = randomized(built(kind, **LORA)).double().eval()
    plain = built(kind).double().eval() if kind == "segmenter" else built(kind, head="linear").double().eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "lora" not in k})
    with torch.no_grad():
        for name, layer in plain.named_modules():
            if name.endswith(LORA_TARGETS):
                updated = model.get_submodule(name)
                layer.weight += updated.lora_b @ updated.lora_a
    points = torch.rand(3, 40, 3, dtype=torch.float64)
    torch.testing.assert_close(logits(model, points), logits(plain, points))
    assert merged_state(model.encoder).keys() == plain.encoder.state_dict().keys()


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_merging_makes_a_plain_model_that_gives_the_same(kind: str) -> None:
    model = randomized(built(kind, **LORA)).double().eval()
    points = torch.rand(3, 40, 3, dtype=torch.float64)
    before = logits(model, points)
    merged = merge_lora(model)
    torch.testing.assert_close(logits(merged, points), before)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert merged.config.get("transfer", "full") == "full"
    again = type(merged)(**merged.config).double().eval()  # what a checkpoint of it builds
    again.load_state_dict(merged.state_dict())
    torch.testing.assert_close(logits(again, points), before)
    torch.testing.assert_close(logits(model, points), before)  # the model itself stays as it was


def test_a_model_without_updates_is_not_copied() -> None:
    model = built("classifier", transfer="adapter")
    assert merge_lora(model) is model


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_step_of_the_segmenter_moves_what_trains_and_nothing_else(transfer: str) -> None:
    model = built("segmenter", transfer=transfer, lora_rank=2, adapter_width=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # A moves only once B is no longer zero
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            logits(model, torch.rand(6, 40, 3)).flatten(0, 1), torch.arange(240) % 5
        ).backward()
        optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    encoder = {name for name in moved if name.startswith("encoder.")}
    expected = {
        "full": set(model.state_dict()) & encoder | {"encoder.blocks.0.attn.qkv.weight"},
        "bitfit": {n for n, _ in model.named_parameters() if n.startswith("encoder.") and n.endswith("bias")} & encoder,
        "lora": {n for n in before if "lora" in n},
        "adapter": {n for n in before if "adapter" in n},
    }
    assert encoder == expected.get(transfer, set())
    assert (transfer in ("mlp3", "linear", "side")) == (not encoder)
    assert ("side_alpha" in moved) == (transfer == "side")
    assert moved - encoder  # the head
    assert (transfer == "linear") == ("linear_cls.weight" in moved)


def test_a_linear_segmenter_is_one_layer_on_mixed_features() -> None:
    from act3d.geometry import interpolate

    model = built("segmenter", transfer="linear").double().eval()
    points, category = torch.rand(2, 40, 3, dtype=torch.float64), torch.tensor([0, 1])
    patches = model.patchify(points)
    levels = model.level_features(patches)
    whole = model.cloud_features(levels, category)[:, None].expand(-1, 40, -1)
    features = torch.cat([interpolate(points, patches.centers, levels, 3), whole], dim=2)
    plain = features @ model.linear_cls.weight[:, :, 0].T + model.linear_cls.bias
    torch.testing.assert_close(model(points, category), plain)


def test_a_lora_encoder_is_taken_over_with_its_updates() -> None:
    source = randomized(Classifier(5, **SMALL, **LORA)).double().eval()
    for arguments in ({}, LORA, {"transfer": "lora", "lora_rank": 3}, {"transfer": "adapter"}):
        model = Classifier(7, **SMALL, **arguments).double().eval()
        assert model.start_from(source) == []
        patches = model.patchify(torch.rand(2, 40, 3, dtype=torch.float64))
        torch.testing.assert_close(model.embed(patches), source.embed(patches))


def test_adapters_are_never_left_behind_in_silence() -> None:
    source = randomized(Classifier(5, **SMALL, transfer="adapter", adapter_width=4)).eval()
    same = Classifier(7, **SMALL, transfer="adapter", adapter_width=4).eval()
    same.start_from(source)
    patches = same.patchify(torch.rand(2, 40, 3))
    assert torch.equal(same.embed(patches), source.embed(patches))
    with pytest.raises(InputError, match="has adapters"):
        Classifier(7, **SMALL).start_from(source)
    with pytest.raises(InputError, match="adapters of another width"):
        Classifier(7, **SMALL, transfer="adapter", adapter_width=5).start_from(source)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"transfer": "lora", "lora_rank": 0}, "lora_rank = 0"),
        ({"transfer": "lora", "lora_targets": ["k"]}, "allowed are some of qkv, proj, fc1, fc2"),
        ({"transfer": "lora", "lora_targets": []}, "allowed are some of"),
        ({"transfer": "adapter", "adapter_width": 0}, "adapter_width = 0"),
        ({"head": "mlp4"}, "allowed are mlp3, mlp2, linear, words"),
    ],
)
def test_bad_arguments_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(5, **SMALL, **wrong)
