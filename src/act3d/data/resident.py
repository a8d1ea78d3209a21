"""Training clouds kept on the training device, so that no step waits for the host.

All stored points are in one tensor on the device. A step's batch is a gather from it; which points of a cloud it takes
is drawn there too. The clouds come in the order of `BatchPlan`, as from a `CloudLoader`. Where fewer points are asked
for than are stored, the random subsets are others than the host would draw.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.loading import BatchPlan
from act3d.data.transforms import normalize
from act3d.errors import ConfigError, InputError

SHARE = 1 / 3  # of a CUDA device's free memory that "auto" takes for data; the rest is for the training
CHUNK = 256  # clouds on their way to the device at a time


def bytes_needed(clouds: CloudDataset) -> int | None:
    """Memory that the clouds take on a device; None if they cannot be kept there."""
    stored = clouds.stored_alike()
    if stored is None:
        return None
    part_bytes = torch.int16.itemsize if clouds.parts else 0
    return len(clouds) * stored.points * (3 * stored.dtype.itemsize + part_bytes)


def is_resident(choice: str, clouds: CloudDataset, device: torch.device) -> bool:
    """Tell whether clouds are to be kept on `device`, by `data.resident` ("auto", "always" or "never").

    Raises:
        ConfigError: "always" where it cannot be.
    """
    # On the CPU a memory map is as good, and MPS shares its memory.
    if choice == "never" or (choice == "auto" and device.type != "cuda"):
        return False
    needed, free = bytes_needed(clouds), float("inf")
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    if needed is not None and needed <= (SHARE * free if choice == "auto" else free):
        return True
    if choice == "always":
        reason = f"its clouds take {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB free" if needed else ""
        reason = reason or "its clouds differ in their number of points, are random every time, or have channels"
        raise ConfigError(f"data.resident: always is not possible for {clouds.name}: {reason}; use auto")
    return False


class ResidentLoader:
    """Batches of clouds that are kept on a device, in the order of `plan`; the same batches as from `make_loader`.

    A batch is a pure function of (dataset's seed, epoch, place of the batch, process), so a resumed run repeats it.
    With several processes each holds all clouds.

    Args:
        clouds: The dataset; `clouds.stored_alike()` must not be None.
        plan: Which clouds make a batch.
        device: Where they are kept.

    Raises:
        InputError: a cloud is not like the others, or stores fewer points than are asked for.
    """

    def __init__(self, clouds: CloudDataset, plan: BatchPlan, device: torch.device):
        stored = clouds.stored_alike()
        if stored is None or stored.points < clouds.points:
            raise InputError(f"{clouds.name}: its clouds do not all store {clouds.points} points or more")
        self.clouds, self.plan, self.device, self.ordered = clouds, plan, device, stored.ordered
        self.points = torch.empty(len(clouds), stored.points, 3, dtype=getattr(torch, stored.dtype.name), device=device)
        self.parts = torch.empty(len(clouds), stored.points, dtype=torch.int16, device=device) if clouds.parts else None
        self.labels = torch.from_numpy(clouds.labels).to(device)
        self.generator = torch.Generator(device)
        for start in range(0, len(clouds), CHUNK):
            self._place(np.arange(start, min(start + CHUNK, len(clouds))))

    def _place(self, rows: np.ndarray) -> None:
        points, parts = self.clouds.read_whole(rows)
        here = slice(int(rows[0]), int(rows[-1]) + 1)
        if points.shape != self.points[here].shape:
            raise InputError(f"{self.clouds.name}: clouds of {points.shape[1]} points among {self.points.shape[1]}")
        self.points[here] = torch.from_numpy(points)
        if self.parts is not None:
            self.parts[here] = torch.from_numpy(parts)

    @property
    def lives_on(self) -> str:
        """The kind of device that the clouds are kept on: "cpu" or "cuda"."""
        return self.device.type

    @property
    def place(self) -> str:
        """Where the clouds are, in words."""
        held = self.points.nbytes + (0 if self.parts is None else self.parts.nbytes)
        return f"{held / 1e6:.1f} MB resident on {self.device}"

    def __len__(self) -> int:
        return len(self.plan)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.plan.set_epoch(epoch)

    def start_at(self, batch: int) -> None:
        """Begin the next iteration, and only that one, at this batch of the epoch."""
        self.plan.start_batch = batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        first, keys = self.plan.start_batch, list(self.plan)
        order = torch.tensor([row for key in keys for row in key.indices], dtype=torch.int64)
        if self.device.type == "cuda":
            order = order.pin_memory()  # it goes over once an epoch, and without a wait
        batches = order.to(self.device, non_blocking=True).split(self.plan.batch_size)
        for number, (key, rows) in enumerate(zip(keys, batches, strict=False), first):
            yield self._batch(rows, key.epoch, number)

    def _batch(self, rows: Tensor, epoch: int, number: int) -> dict[str, Tensor]:
        chosen = rows.unsqueeze(1) * self.points.shape[1] + self._picks(len(rows), epoch, number)  # (B, N)
        points = self.points.view(-1, 3)[chosen].float()
        batch = {
            "points": normalize(points, self.clouds.normalization),
            "label": self.labels[rows],
            "index": rows,
        }
        if self.parts is not None:
            batch["parts"] = self.parts.view(-1)[chosen].long()
        return batch

    def _picks(self, count: int, epoch: int, number: int) -> Tensor:
        """The points (count, N) to take of each stored cloud: random ones in random order, drawn on the device."""
        stored, wanted = self.points.shape[1], self.clouds.points
        if self.ordered and wanted == stored:
            return torch.arange(stored, device=self.device).expand(count, stored)
        words = np.random.SeedSequence([self.clouds.seed % 2**32, epoch, number, self.plan.rank])
        self.generator.manual_seed(int(words.generate_state(1, np.uint64)[0]))
        keys = torch.rand(count, stored, generator=self.generator, device=self.device)
        return keys.argsort(dim=1, stable=True)[:, :wanted]
