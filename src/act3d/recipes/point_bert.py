"""The Point-BERT-style baseline of stage II (Yu et al., 2022), on ACT's tokenizer.

Three terms train the student:

- codes: cross entropy between scores and the tokenizer's arg-max codes, at hidden patches, of a cloud and of a mixture
  of two.
- contrast (MoCo): a cloud's description agrees with that of a slowly following copy of the model, and not with those
  of earlier clouds, which wait in a queue.
- mix: a mixture agrees with both of its clouds, by their shares.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from act3d.engine import processes
from act3d.geometry import Patches, gather
from act3d.models.autoencoder import Autoencoder
from act3d.models.data_dependent_init import fit_student
from act3d.models.point_bert import PointBERT
from act3d.recipes.pretraining import Pretraining, alignment_of


class PointBERTPretraining(Pretraining):
    """Trains `PointBERT`; what `point_bert` switches off is not computed."""

    train_columns = ("loss", "codes", "contrast", "mix")
    model: PointBERT

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self.teacher is not None
        self.config, self.tokenizer = self.settings.point_bert, self.teacher.model
        width = int(self.model.config["contrast_width"])
        generator = torch.Generator().manual_seed(self.seed)
        self._queue = F.normalize(torch.randn(self.config.queue, width, generator=generator), dim=1)
        self._next = 0
        self._follower = copy.deepcopy(self.model).requires_grad_(False)

    @staticmethod
    def build_model(settings: Any, teacher: Autoencoder | None) -> PointBERT:
        """Return a student whose patch embedding starts as the tokenizer's."""
        assert teacher is not None
        student = settings.student
        model = PointBERT(
            patches=teacher.patches,
            patch_size=teacher.patch_size,
            width=student.width,
            depth=student.depth,
            heads=student.heads,
            drop_path=student.drop_path,
            embed_width=None if teacher.width == student.width else teacher.width,
            codes=teacher.codes,
            contrast_width=settings.point_bert.contrast_width,
            alignment=alignment_of(settings),
        )
        model.encoder.patch_embedding.load_state_dict(teacher.patch_embedding.state_dict())
        return model

    def fit_start(self, points: Tensor) -> None:
        """Fit the student to clouds (B, N, 3), all but its patch embedding, which is the tokenizer's."""
        fit_student(self.model, self.model.patchify(points), keep=[self.model.encoder.patch_embedding])

    def to(self, device: torch.device) -> None:
        """Put all that does not train where the model is."""
        super().to(device)
        self._follower.to(device)
        self._queue = self._queue.to(device)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the loss and its terms for points (B, N, 3); what is switched off is not computed."""
        patches = self.model.patchify(points)
        with torch.no_grad():
            codes = self.tokenizer.tokens(patches)  # (B, G)
        mask = self._mask(patches.centers)
        output = self.model(patches, mask)
        terms = {"codes": masked_cross_entropy(output.logits, codes, mask)}
        keys = self._keys(patches) if self.config.contrast or self.config.mix else None
        if self.config.mix and keys is not None:
            share, mixed, mixed_codes = mix_clouds(patches, codes)
            mask = self._mask(mixed.centers)
            of_mixed = self.model(mixed, mask)
            terms["codes"] = terms["codes"] + masked_cross_entropy(of_mixed.logits, mixed_codes, mask)
            terms["mix"] = self._agreement(of_mixed.contrast, keys, share)
        if self.config.contrast and keys is not None:
            terms["contrast"] = self._agreement(output.contrast, keys, None)
        if keys is not None:
            self._enqueue(keys)
        return self.beside_names({"loss": torch.stack(list(terms.values())).sum(), **terms}, patches, batch)

    def _mask(self, centers: Tensor) -> Tensor:
        """A block of every cloud, of a share of its own: bool (B, G), a fixed shape without a fixed count."""
        batch, patches, _ = centers.shape
        low, high = self.config.mask_low, self.config.mask_high
        hidden = ((low + (high - low) * torch.rand(batch, 1, device=centers.device)) * patches).long()
        seeds = torch.randint(patches, (batch, 1), device=centers.device)
        distance = (centers - gather(centers, seeds)).square().sum(2)
        return distance.argsort(dim=1, stable=True).argsort(dim=1) < hidden.clamp_min(1)

    @torch.no_grad()
    def _keys(self, patches: Patches) -> Tensor:
        """Descriptions of clouds by the follower, after it has moved: (B, E), unit length."""
        momentum = self.config.momentum
        for own, theirs in zip(self._follower.parameters(), self.model.parameters(), strict=True):
            own.lerp_(processes.whole_tensor(theirs), 1 - momentum)  # blocks may be divided
        return F.normalize(self._follower(patches, self._mask(patches.centers)).contrast, dim=1)

    def _agreement(self, contrast: Tensor, keys: Tensor, share: Tensor | None) -> Tensor:
        """Cross entropy of descriptions (B, E) against keys (B, E) and the queue: scalar.

        Without shares, the own key is the only positive and other clouds of the batch take no part.
        """
        query = F.normalize(contrast, dim=1)
        others = query @ self._queue.T.to(query.dtype)
        if share is None:
            logits = torch.cat([(query * keys).sum(1, keepdim=True), others], dim=1) / self.config.temperature
            return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
        logits = torch.cat([query @ keys.T.to(query.dtype), others], dim=1) / self.config.temperature
        own = torch.arange(len(logits), device=logits.device)
        first = F.cross_entropy(logits, own, reduction="none")
        second = F.cross_entropy(logits, own.flip(0), reduction="none")
        return (share * first + (1 - share) * second).mean()

    @torch.no_grad()
    def _enqueue(self, keys: Tensor) -> None:
        # Of all processes: every one has the same queue, which the first one saves.
        keys = processes.gather_rows(keys)[-len(self._queue) :]
        places = (self._next + torch.arange(len(keys), device=keys.device)) % len(self._queue)
        # A new tensor: the backward pass still needs the old one.
        self._queue = self._queue.index_copy(0, places, keys.to(self._queue.dtype))
        self._next = (self._next + len(keys)) % len(self._queue)

    def state(self) -> dict[str, Any]:
        """Return the follower and the queue."""
        return super().state() | {"follower": self._follower.state_dict(), "queue": self._queue, "next": self._next}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        super().load_state(state)
        self._follower.load_state_dict(state["follower"])
        self._queue, self._next = state["queue"], int(state["next"])


def masked_cross_entropy(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """Mean cross entropy of logits (B, G, K) against codes (B, G) where the mask (B, G) is True: scalar."""
    each = F.cross_entropy(logits.flatten(0, 1).float(), codes.flatten(), reduction="none")
    chosen = mask.flatten().float()
    return (each * chosen).sum() / chosen.sum().clamp_min(1)


def mix_clouds(patches: Patches, codes: Tensor) -> tuple[Tensor, Patches, Tensor]:
    """Mix every cloud with its partner from the other end of the batch, patch by patch.

    Returns:
        Shares (B,) of the own cloud; the mixed patches; their codes (B, G).
    """
    share = torch.rand(len(codes), device=codes.device)
    own = torch.rand(codes.shape, device=codes.device) < share.unsqueeze(1)  # (B, G)
    neighborhoods = torch.where(own[:, :, None, None], patches.neighborhoods, patches.neighborhoods.flip(0))
    centers = torch.where(own.unsqueeze(2), patches.centers, patches.centers.flip(0))
    return share, Patches(neighborhoods, centers), torch.where(own, codes, codes.flip(0))
