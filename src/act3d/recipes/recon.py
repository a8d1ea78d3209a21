"""ReCon as pretraining (Qi et al., 2023): masked patches, and global tokens that read them and learn names and images.

Hidden patches are rebuilt as points, or predicted as the features of ACT's teacher where one is given. The tokens read
the patches with a stopped gradient, so names and images do not change the patches' features.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from act3d.checkpoints import Checkpoint
from act3d.data.clouds import CloudDataset
from act3d.errors import ConfigError
from act3d.geometry import gather
from act3d.losses import build_loss
from act3d.losses.contrastive import same_meaning
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import hidden_count
from act3d.models.recon import ReCon
from act3d.recipes.images import ImageFeatures, read_images
from act3d.recipes.names import learn_names, read_texts
from act3d.recipes.pretraining import Pretraining, ProbeClouds, draw_mask, encoder_and_decoder

TEXT_WIDTH = 384  # of MiniLM's vectors


class ReconPretraining(Pretraining):
    """Trains `ReCon`.

    Args:
        images: features of one image a cloud, or None.
        others: see `Pretraining`.
    """

    train_columns = ("loss", "mdm", "csc_img", "csc_text", "smc")
    names_columns = ()
    model: ReCon

    def __init__(self, *others: Any, images: ImageFeatures | None = None, **options: Any) -> None:
        super().__init__(*others, **options)
        self.images = images
        ratio = self.settings.mask.ratio
        self.hidden = hidden_count(self.model.patches, ratio)
        if not self.hidden:
            raise ConfigError(
                f"mask.ratio: {ratio} hides none of {self.model.patches} patches; ReCon predicts hidden ones"
            )
        self.criterion = build_loss(self.settings.loss.kind)
        if images is not None:
            self.facts, self.meta = {**self.facts, "images": images.about}, {**self.meta, "images": images.about}

    @classmethod
    def assemble(
        cls, settings: Any, clouds: CloudDataset, probe: ProbeClouds | None, teacher: Checkpoint[Autoencoder] | None
    ) -> "ReconPretraining":
        """Return the recipe with a fresh model that has a head for what there is to learn from."""
        config, student = settings.recon, settings.student
        texts = read_texts(clouds, settings.text) if config.names else None
        images = read_images(clouds, config)
        cut = teacher.model if teacher is not None else config
        model = ReCon(
            cut.patches,
            cut.patch_size,
            **encoder_and_decoder(student),
            embed_visible_only=student.embed_visible_only,
            image_width=None if images is None else images.vectors.shape[1],
            text_width=TEXT_WIDTH if config.names else None,
            contrast=config.contrast,
            teacher_width=None if teacher is None else teacher.model.teacher_width,
            names=config.names,
        )
        names = None
        if texts is not None:
            names = learn_names(model, texts, settings.text)
        return cls(settings, model, clouds, probe, teacher, names, images=images)

    def to(self, device: torch.device) -> None:
        """Put image features where the model is."""
        super().to(device)
        if self.images is not None:
            self.images = self.images.to(device)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the sum of the paper's losses, and each, for points (B, N, 3)."""
        patches = self.model.patchify(points)
        hidden = None
        mask = draw_mask(patches.centers, self.hidden, self.settings.mask)
        output = self.model(patches, mask, self.hidden)
        if self.teacher is not None:
            with torch.no_grad():
                features = self.teacher.model.features(patches)  # (B, G, D)
            hidden = self.criterion(output.predicted, gather(features, output.hidden))
        index, text, image, same = batch["index"], None, None, None
        if self.names is not None and output.text is not None:
            named, vectors = self.names.named[index], self.names.vectors[index]
            if output.contrast is not None:
                same = same_meaning(vectors, self.settings.align.threshold)
            # As large as the features that ReCon was made for: about 1 a channel.
            predicted, text = _told(output.text, vectors * vectors.shape[1] ** 0.5, named)
            output = output._replace(text=predicted)
        if self.images is not None and output.image is not None:
            predicted, image = _told(output.image, self.images.vectors[index], self.images.known[index])
            output = output._replace(image=predicted)
        losses = self.model.losses(patches, output, image, text, same, hidden)
        return {"loss": losses.total(), **{k: v for k, v in losses._asdict().items() if v is not None}}

    def state(self) -> dict[str, Any]:
        """Return how texts were made, and which image features these are."""
        return super().state() | ({} if self.images is None else {"images": self.images.about["digest"]})

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Check that texts and image features are those that the run began with."""
        super().load_state(state)
        if self.images is not None and state.get("images") != self.images.about["digest"]:
            raise ConfigError("resume: the image features are not those that the run began with")


def _told(predicted: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions and targets (K, D) of those of a batch (B, D) for which there is a target.

    Where there is none for a whole batch, the predictions are their own targets: the loss is 0, and all parameters take
    part, as several processes need it.
    """
    return (predicted[known], target[known]) if known.any() else (predicted, predicted.detach())
