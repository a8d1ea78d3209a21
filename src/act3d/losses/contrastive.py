"""Contrast between two kinds of vectors of the same clouds, where several may mean the same."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry.precision import raise_half, without_autocast


class MultiPositiveContrast(nn.Module):
    """Symmetric contrast of shapes and texts in which equal and near-equal texts are each other's positives.

    CLIP (Radford et al., 2021, section 2.3) takes every other pair of a batch as a negative, though names repeat:
    "wheel rim" would be pushed away from the shapes of "wheel rim with spokes". Here P(i) are the texts that mean what
    text i means, and a row of logits is held against all of them, from shapes to texts and from texts to shapes:

        mean over i of -1/|P(i)| sum over p in P(i) of log softmax(scale <a_i, b_.>)_p      (even: UniCL)
        mean over i of -log sum over p in P(i) of softmax(scale <a_i, b_.>)_p               (any: MIL-NCE)

    The first is UniCL's (Yang et al., 2022, eqs. 2 to 4) and SupCon's outer sum (Khosla et al., 2020, eq. 2): all
    positives should be equally near, so a shape nearer to its name than its namesakes is held back. The second (Miech
    et al., 2020, eq. 1) is content when the positives together are nearer than the rest. Both are CLIP's loss when
    every text is its own only positive; the first is so too when positives are exactly equal, not merely near.

    Args:
        temperature: To start from; its inverse is learnt as a logarithm, and never above 100 (as in CLIP).
        threshold: Texts whose cosine lies above this are positives; a text is always its own.
        even: The first form; False = the second.
    """

    def __init__(self, temperature: float = 0.07, threshold: float = 0.95, even: bool = True) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature = {temperature}; it must be positive")
        self.threshold, self.even = threshold, even
        self.log_scale = nn.Parameter(torch.tensor([-math.log(temperature)]))  # (1,): several processes can divide it

    @property
    def scale(self) -> torch.Tensor:
        """The inverse temperature, at most 100: scalar."""
        return self.log_scale.clamp(max=math.log(100)).exp().squeeze(0)

    def forward(
        self,
        shapes: torch.Tensor,
        texts: torch.Tensor,
        positives: torch.Tensor | None = None,
        gallery: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of a batch of pairs.

        Args:
            shapes: Tensor with shape (B, D), of any length: all are normalised here.
            texts: Tensor with shape (B, D).
            positives: bool Tensor with shape (B, B), symmetric: which texts mean the same. By default those that
                `texts` themselves say; give it when `texts` come out of a projection that is still learning.
            gallery: Tensor with shape (K, D), the texts that a shape is held against instead of those of its batch: of
                a frozen text encoder all are known, and the batch need not be large. It holds the texts of the batch
                too. From texts to shapes, the batch stays what is compared.

        Returns:
            Scalar, at least the mean of log |P(i)| in the even form, and at least 0 in the other.

        Raises:
            ValueError: Shapes that do not fit.
        """
        if shapes.ndim != 2 or shapes.shape != texts.shape or not len(shapes):
            raise ValueError(f"shapes {tuple(shapes.shape)} and texts {tuple(texts.shape)} must both be (B, D)")
        shapes, texts = F.normalize(raise_half(shapes), dim=1), F.normalize(raise_half(texts), dim=1)
        if positives is None:
            positives = same_meaning(texts, self.threshold)
        elif positives.shape != (len(shapes), len(shapes)):
            raise ValueError(f"positives {tuple(positives.shape)} must be (B, B) with B = {len(shapes)}")
        with without_autocast(shapes):
            scaled = self.scale.to(shapes) * shapes
            of_texts = texts @ scaled.T  # (B, B), a row a text
            if gallery is None:
                return (self._one_way(of_texts.T, positives) + self._one_way(of_texts, positives)) / 2
            gallery = F.normalize(raise_half(gallery), dim=1).to(shapes)
            nearness = texts @ gallery.T  # (B, K)
            among = (nearness > self.threshold) | (nearness >= nearness.amax(dim=1, keepdim=True))  # itself, always
            return (self._one_way(scaled @ gallery.T, among) + self._one_way(of_texts, positives)) / 2

    def _one_way(self, logits: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        """Logits (B, K), their positives (B, K), one at least in a row -> scalar."""
        if self.even:
            return F.cross_entropy(logits, positives / positives.sum(dim=1, keepdim=True))
        inside = logits.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
        return (logits.logsumexp(dim=1) - inside).mean()


class MeanPositiveContrast(nn.Module):
    """Contrast of clouds among themselves: the mean similarity of the positives against all negatives (ReCon's `smc`).

        mean over i of -log (exp(m_i) / (exp(m_i) + sum over negatives n of exp(s_in))),  m_i = mean over P(i) of s_ip

    with cosines s divided by the temperature. As in the release, a cloud is one of its own positives.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, features: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        """Loss of a batch.

        Args:
            features: Tensor with shape (B, D), of any length.
            same: bool Tensor with shape (B, B), True on the diagonal: which clouds are positives of which.

        Returns:
            Scalar; 0 for a batch without negatives.

        Raises:
            ValueError: Shapes that do not fit.
        """
        if features.ndim != 2 or same.shape != (len(features), len(features)):
            raise ValueError(f"features {tuple(features.shape)} must be (B, D) and same {tuple(same.shape)} (B, B)")
        features = F.normalize(raise_half(features), dim=1)
        with without_autocast(features):
            similarity = features @ features.T / self.temperature
        positive = (similarity * same).sum(dim=1) / same.sum(dim=1)
        negative = similarity.masked_fill(same, -torch.inf).logsumexp(dim=1)
        return F.softplus(negative - positive).mean()


@torch.no_grad()
def same_meaning(texts: torch.Tensor, threshold: float = 0.95) -> torch.Tensor:
    """Which texts are positives of which: bool Tensor (B, B), symmetric, True on the diagonal.

    Args:
        texts: Tensor with shape (B, D), of any length.
        threshold: Cosine above which two texts mean the same.
    """
    texts = F.normalize(raise_half(texts), dim=1)
    with without_autocast(texts):
        near = texts @ texts.T > threshold
    return near | near.T | torch.eye(len(texts), dtype=torch.bool, device=texts.device)
