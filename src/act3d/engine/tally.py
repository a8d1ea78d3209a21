"""What training steps report: means for the log, and whether every loss was finite."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from act3d.engine import processes
from act3d.errors import Act3dError

SHOWN = 8  # names of clouds in a message


class NonFiniteLoss(Act3dError):
    """The loss became infinite or not a number."""


class Tally:
    """Sums of all that steps report, since the last row of the log. Nothing here waits for the device until asked.

    Args:
        names: names of the training clouds, to say which batch went wrong.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []

    def add(self, values: Mapping[str, Tensor], index: Tensor, step: int) -> None:
        """Add what a batch of the clouds `index` (B,) reports at a step."""
        for name, value in values.items():
            value = value.detach().float()
            # A copy: with CUDA graphs the next step writes into the same memory.
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.count += 1
        self._unchecked.append((step, values["loss"].detach().clone(), index))

    def take_means(self) -> dict[str, float]:
        """Return the mean of every number since the last call, over all processes, and start anew."""
        if not self.count:
            return {}
        means = torch.stack(list(self.sums.values())) / self.count
        numbers = (processes.sum_over_processes(means) / processes.world()).tolist()
        names, self.sums, self.count = list(self.sums), {}, 0
        return dict(zip(names, numbers, strict=True))

    def check_finite(self) -> None:
        """Look at the losses since the last call, in all processes.

        Raises:
            NonFiniteLoss: names the step and the batch's clouds.
        """
        if not self._unchecked:
            return
        finite = torch.isfinite(torch.stack([loss for _, loss, _ in self._unchecked]))
        problem = ""
        if not bool(finite.all()):
            step, loss, index = self._unchecked[int((~finite).nonzero()[0, 0])]
            names = [self.names[i] for i in index.tolist()]
            shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            problem = f"the loss is {float(loss)} at step {step + 1}; the batch holds {shown}"
        self._unchecked.clear()
        if problem := next((text for text in processes.gather_objects(problem) if text), ""):
            raise NonFiniteLoss(problem)

    def state(self) -> dict[str, Any]:
        """Return the sums of this process; of all processes, as a list, where there are several."""
        sums = processes.gather_objects({name: value.cpu() for name, value in self.sums.items()})
        return {"sums": sums if len(sums) > 1 else sums[0], "count": self.count}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take up what `state` gave."""
        # Runs saved before every process's sums were kept, and those of one process, hold a single one.
        each = state["sums"] if isinstance(state["sums"], list) else [state["sums"]]
        mine = each[processes.rank() % len(each)]
        if len(each) != processes.world():  # other processes than then: all begin with the mean
            mine = {name: torch.stack([sums[name] for sums in each]).mean(0) for name in mine}
        self.sums, self.count = {name: value.to(device) for name, value in mine.items()}, state["count"]
