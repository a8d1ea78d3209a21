"""The predictor of segmenters: a label for every point."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from act3d.channels import width_of
from act3d.errors import InputError
from act3d.evaluation.whole_room import segment_room
from act3d.models.segmenter import Segmenter
from act3d.prepare.user_scenes import to_z_up
from act3d.use.points import Points, per_point
from act3d.use.predictor import Predictor

VOTES = 3  # passes over a whole scan


class SegmenterPredictor(Predictor[Segmenter]):
    """A segmenter in use; calling it gives logits of every point."""

    @property
    def names(self) -> list[str]:
        """Names of the labels: parts, or classes of scenes; "part 0" or "class 0" where they are not known."""
        known = list(self.meta.get("parts") or self.meta.get("classes") or [])
        what = "part" if self.model.categories else "class"
        return known if len(known) == self.model.classes else [f"{what} {i}" for i in range(self.model.classes)]

    @property
    def categories(self) -> list[str]:
        """Names of the categories of a segmenter of parts; empty if it labels scenes or the names are not known."""
        found = list(self.meta.get("categories") or self.meta.get("classes") or [])
        return found if self.model.categories and len(found) == self.model.categories else []

    @property
    def whole_rooms(self) -> bool:
        """Whether the model was trained on blocks of rooms, so that scans are labelled by blocks and votes."""
        return "block" in self.meta

    def __call__(self, points: Points, category: Any = None) -> Any:
        """Logits of every point.

        Args:
            points: Whatever `act3d.use.points` makes points of.
            category: Of every cloud, each in [0, categories): an array, list or number; for parts only.

        Returns:
            Tensor with shape (B, N, K); of a list of clouds of different sizes a list of Tensors (N, K).

        Raises:
            InputError: The category is missing, unfit, or given to a segmenter of scenes.
        """
        return self._logits(points, None if category is None else self._numbers(category))

    def _logits(self, points: Points, chosen: Tensor | int | None) -> Any:
        """See `__call__`; a single number stands for all clouds."""

        def label(cloud: Tensor, places: list[int]) -> Tensor:
            if chosen is None:
                category = None
            elif isinstance(chosen, int):
                category = torch.full((len(places),), chosen, device=self.device)
            elif max(places) < len(chosen):
                category = chosen[places]
            else:
                raise InputError(f"category has {len(chosen)} entries, fewer than there are clouds")
            logits: Tensor = self.model(cloud, category)
            return logits

        return per_point(points, self, max(self.model.patches, self.model.patch_size), label)

    @torch.no_grad()
    def segment(self, points: Points, category: Any = None) -> Any:
        """The label of every point, among those that its cloud's category has.

        Args:
            points: Whatever `act3d.use.points` makes points of.
            category: Of every cloud, by number, or of all clouds by one name; for parts only.

        Returns:
            int64 Tensor (B, N); of a list of clouds of different sizes a list of Tensors (N).

        Clouds are taken as they are; whole scans are for `segment_scan`.
        """
        chosen: Tensor | int | None = None
        if category is not None:
            chosen = self.category(category) if isinstance(category, str) else self._numbers(category)
        logits = self._logits(points, chosen)
        numbers = chosen.tolist() if isinstance(chosen, Tensor) else [chosen or 0] * len(logits)
        labels = [self.best_labels(cloud, number) for cloud, number in zip(logits, numbers, strict=False)]
        return torch.stack(labels) if isinstance(logits, Tensor) else labels

    def segment_scan(
        self, points: NDArray[Any], up: str = "z", batch_size: int = 16, beside: NDArray[Any] | None = None
    ) -> NDArray[np.int64]:
        """The label of every point of a whole scan, by blocks as in training, and votes.

        Args:
            points: (n, 3), in the unit of the training rooms, anywhere in space.
            up: The scan's up axis.
            batch_size: Blocks at once.
            beside: (n, F) in -1..1, the model's channels; by default they are not known.

        Returns:
            int64 array (n,).
        """
        upright = to_z_up(np.asarray(points, dtype=np.float64), up)
        upright = (upright - upright.min(axis=0)).astype(np.float32)  # near the origin float32 has digits enough
        if self.channels:
            if beside is None:
                beside = np.zeros((len(upright), width_of(self.channels)))
            upright = np.concatenate([upright, beside.astype(np.float32)], axis=1)
        block, stride = float(self.meta.get("block", 1.0)), float(self.meta.get("stride", 0.5))
        return segment_room(self.model, upright, self.model.classes, self.points, batch_size, block, stride, VOTES)

    def best_labels(self, logits: Tensor, category: int = 0) -> Tensor:
        """The likeliest label of every point, among those that the category has: logits (N, K) -> int64 (N)."""
        of_class = self.meta.get("class_parts") or {}
        own = of_class.get(self.categories[category], []) if category < len(self.categories) else []
        allowed = torch.tensor(sorted(own) or list(range(self.model.classes)), device=logits.device)
        return allowed[logits[:, allowed].argmax(dim=1)]

    def category(self, text: str) -> int | None:
        """The number of a category given by name or number; None for a segmenter of scenes, which takes none.

        Raises:
            InputError: The name is not known, or missing.
        """
        if not self.model.categories:
            return None
        if text in self.categories:
            return self.categories.index(text)
        if text.isdecimal() and int(text) < self.model.categories:
            return int(text)
        allowed = ", ".join(self.categories) or f"0 to {self.model.categories - 1}"
        what = f"{text!r} is not known" if text else "is missing: this model has to be told what the shapes are"
        raise InputError(f"category: {what}; allowed: {allowed}")

    def _numbers(self, category: Any) -> Tensor:
        """Categories as int64 (B,) on the model's device, checked."""
        chosen = torch.as_tensor(category, device=self.device).reshape(-1)
        if chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise InputError(f"category has dtype {chosen.dtype}; expected whole numbers")
        if self.model.categories and not bool(((chosen >= 0) & (chosen < self.model.categories)).all()):
            raise InputError(f"category {chosen.tolist()} is not within 0 to {self.model.categories - 1}")
        return chosen.long()
