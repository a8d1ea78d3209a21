"""The Point-MAE baseline of stage II (Pang et al., 2022): rebuild the points of hidden patches, by Chamfer L2."""

from typing import Any

from torch import Tensor

from act3d.errors import ConfigError
from act3d.models.autoencoder import Autoencoder
from act3d.models.masking import hidden_count
from act3d.models.point_mae import PointMAE
from act3d.recipes.pretraining import Pretraining, alignment_of, draw_mask, encoder_and_decoder


class PointMAEPretraining(Pretraining):
    """Trains `PointMAE`."""

    model: PointMAE

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        ratio = self.settings.mask.ratio
        self.hidden = hidden_count(self.model.patches, ratio)
        if not self.hidden:
            raise ConfigError(
                f"mask.ratio: {ratio} hides none of {self.model.patches} patches; Point-MAE rebuilds hidden ones"
            )

    @staticmethod
    def build_model(settings: Any, teacher: Autoencoder | None) -> PointMAE:
        """Return a Point-MAE with fresh weights."""
        student, cut = settings.student, settings.point_mae
        return PointMAE(
            patches=cut.patches,
            patch_size=cut.patch_size,
            **encoder_and_decoder(student),
            embed_visible_only=student.embed_visible_only,
            alignment=alignment_of(settings),
            channels=settings.data.channels_beside,
        )

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the loss for points (B, N, 3)."""
        patches = self.model.patchify(points)
        mask = draw_mask(patches.centers, self.hidden, self.settings.mask)
        loss = self.model.loss(patches, self.model(patches, mask, self.hidden))
        return self.beside_names({"loss": loss}, patches, batch)
