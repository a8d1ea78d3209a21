import torch
from torch import nn

from act3d.engine.optimizer import build_optimizer, load_optimizer, parameter_groups
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


def test_a_resumed_optimizer_computes_in_this_runs_form() -> None:
    """A run saved on CUDA with fp16, or before steps were fused, goes on fused where that is possible; and back."""
    results = []
    for saved, resumed in ((False, True), (True, False), (True, True)):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        before = build_optimizer(model, OptimConfig(), fused=saved)
        model(torch.ones(1, 3)).sum().backward()
        before.step()
        after = build_optimizer(model, OptimConfig(weight_decay=0.2), fused=resumed)
        load_optimizer(after, before.state_dict())
        assert [group["fused"] for group in after.param_groups] == [resumed, resumed]
        assert [group["weight_decay"] for group in after.param_groups] == [0.2, 0.0]
        assert all(state["exp_avg"].any() and state["step"] == 1 for state in after.state.values())
        after.step()
        results.append(model.weight.detach().clone())
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_moments_of_a_parameter_that_was_a_scalar_are_taken_up() -> None:
    now, then = (build_optimizer(nn.ParameterList([torch.ones(shape)]), OptimConfig()) for shape in ((1,), ()))
    for optimizer in (now, then):
        parameter = optimizer.param_groups[1]["params"][0]
        parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step()
    earlier = then.state_dict()
    load_optimizer(now, earlier)
    (moments,) = now.state_dict()["state"].values()
    assert {name: tuple(value.shape) for name, value in moments.items()} == {
        "step": (),
        "exp_avg": (1,),
        "exp_avg_sq": (1,),
    }
    assert moments["exp_avg"].item() == earlier["state"][0]["exp_avg"].item()
