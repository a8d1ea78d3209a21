"""From released names to ours, and into a model."""

import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from act3d.checkpoints.released_file import State
from act3d.errors import CheckpointError

Names = tuple[tuple[str, str], ...]


class Loaded(NamedTuple):
    """A model from a released file; names in the file that it does not have; its parameters that the file lacks."""

    model: nn.Module
    left_over: list[str]
    missing: list[str] = []  # noqa: RUF012 (never changed)


def rename(state: State, names: Names) -> State:
    """Replace the start of every name by the first rule that fits."""

    def new(name: str) -> str:
        for old, ours in names:
            if name.startswith(old):
                return ours + name[len(old) :]
        return name

    return {new(name): tensor for name, tensor in state.items()}


def subset(state: State, prefix: str) -> State:
    """The entries under a prefix, without the prefix."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern's group meets in a name.

    Raises:
        CheckpointError: More than the file has tensors: a name could ask for more layers than any memory holds.
    """
    found = 1 + max((int(m.group(1)) for m in map(re.compile(pattern).match, state) if m), default=-1)
    if found > len(state):
        raise CheckpointError(f"a name counts {found} layers; the file holds {len(state)} tensors")
    return found


def fill(build: Callable[[], nn.Module], state: State, where: str, optional: tuple[str, ...] = ()) -> Loaded:
    """Build a model and load a renamed state.

    Args:
        build: Makes the model to the shapes of the state. No random weights are drawn if the state covers all of it.
        state: Tensors under the model's names, and others.
        where: For messages.
        optional: Prefixes of parameters that may be missing, all of them together (a file of the encoder alone);
            they keep their fresh values.

    Raises:
        CheckpointError: A parameter that is not optional is missing, or one has another shape.
    """
    with torch.device("meta"):
        model = build()
    wanted = model.state_dict()
    missing = [k for k in wanted if k not in state]
    spare = [k for k in wanted if k.startswith(optional or ("\0",))]
    spare = spare if all(k in missing for k in spare) else []  # some without the others: damaged
    fatal = [k for k in missing if k not in spare]
    shapes = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if fatal or shapes:
        bad, what = (fatal, "lacks") if fatal else (shapes, "has in another shape")
        raise CheckpointError(f"{where}: {what} {len(bad)} of the model's {len(wanted)} tensors, the first {bad[0]!r}")
    found = {k: state[k].to(v.dtype).clone() for k, v in wanted.items() if k in state}
    if missing:
        model = build()
        model.load_state_dict(found, strict=False)
    else:
        model.load_state_dict(found, assign=True)
    return Loaded(model.eval(), [k for k in state if k not in wanted], missing)
