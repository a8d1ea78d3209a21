import torch
from torch import nn

from act3d.engine.optimizer import build_optimizer, parameter_groups
from act3d.models.student import Student
from act3d.settings.training import OptimConfig


def names_by_decay(model: nn.Module) -> dict[bool, set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay, rest = parameter_groups(model, 0.05)
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    return {True: {names[id(p)] for p in decay["params"]}, False: {names[id(p)] for p in rest["params"]}}


def test_decay_spares_vectors_biases_and_tokens() -> None:
    student = Student(
        patches=4, patch_size=8, width=8, depth=1, heads=2, decoder_depth=1, decoder_heads=2, teacher_width=8
    )
    groups = names_by_decay(student)
    assert groups[True] | groups[False] == {name for name, _ in student.named_parameters()}
    assert {"mask_token", "encoder.cls_token", "encoder.norm.weight", "head.bias"} <= groups[False]
    assert {"head.weight", "encoder.cls_pos", "encoder.blocks.0.attn.qkv.weight"} <= groups[True]


def test_frozen_and_shared_parameters_come_at_most_once() -> None:
    shared = nn.Linear(2, 2)
    model = nn.ModuleList([shared, shared, nn.Linear(2, 2).requires_grad_(False)])
    groups = parameter_groups(model, 0.1)
    assert [len(group["params"]) for group in groups] == [1, 1]


def test_optimizer_steps() -> None:
    model = nn.Linear(3, 1)
    optimizer = build_optimizer(model, OptimConfig(lr=0.1))
    before = model.weight.detach().clone()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)
