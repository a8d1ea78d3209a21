"""Stage I of ACT: the autoencoder that becomes the teacher."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from act3d.geometry import Patches, chamfer, patchify
from act3d.geometry.precision import raise_half
from act3d.kernels.exponential import exponential_like
from act3d.kernels.linear import linear
from act3d.models.folding import DecodedPatches, FoldingDecoder
from act3d.models.graph_network import GraphNetwork, center_graph
from act3d.models.patch_embedding import PatchEmbedding
from act3d.models.prompting import PromptedTransformer
from act3d.models.teachers import Backbone, backbone_from_spec, load_backbone

# An autoencoder that gives fewer codes than this to all patches of many clouds has learned next to nothing.
FEW_CODES = 8


class AutoencoderOutput(NamedTuple):
    """coarse (B, G, M/4, 3) and fine (B, G, M, 3) points in their patch's coordinates; logits (B, G, K)."""

    coarse: torch.Tensor
    fine: torch.Tensor
    logits: torch.Tensor


class Reconstruction(NamedTuple):
    """points (B, G*M, 3) in the cloud's coordinates; coarse (B, G, M/4, 3) and fine (B, G, M, 3) in their patch's;
    centers (B, G, 3)."""

    points: torch.Tensor
    coarse: torch.Tensor
    fine: torch.Tensor
    centers: torch.Tensor


class Autoencoder(nn.Module):
    """Discrete autoencoder around a prompted, frozen, pretrained Transformer (ACT, Dong et al., 2023, section 3.2).

    points -> patches -> patch embedding -> token head -> code of every patch -> codebook -> prompted Transformer ->
    feature head -> folding decoder -> points of every patch. Without a teacher it is the dVAE of Point-BERT.

    Args:
        patches: G, patches a cloud is cut into.
        patch_size: M, points a patch; a multiple of 4.
        width: C, width of features outside the Transformer.
        codes: K, entries of the codebook.
        teacher: The pretrained Transformer: a name for `load_backbone`, an architecture for `backbone_from_spec`
            (weights then come with a checkpoint), or None for none.
        prompts: P, prompt tokens; 0 for none.
        deep_prompts: New prompts in every block (the released default), or one set carried through.
        prompt_dropout: Dropout on prompt tokens in training.
        graph_width: Width of the widest layer of both heads, a multiple of 32.
        folding_width: Width of the folding decoder's layers.
    """

    kind: ClassVar[str] = "autoencoder"

    def __init__(
        self,
        patches: int = 64,
        patch_size: int = 32,
        width: int = 384,
        codes: int = 8192,
        teacher: str | dict[str, Any] | None = "minilm",
        prompts: int = 64,
        deep_prompts: bool = True,
        prompt_dropout: float = 0.1,
        graph_width: int = 1024,
        folding_width: int = 512,
    ) -> None:
        super().__init__()
        self.patches, self.patch_size, self.width, self.codes = patches, patch_size, width, codes
        self.patch_embedding = PatchEmbedding(width)
        self.token_head = GraphNetwork(width, codes, graph_width)
        self.codebook = nn.Parameter(torch.empty(codes, width))
        if not self.codebook.is_meta:  # there torch would import sympy for it: a quarter of a second of every load
            nn.init.normal_(self.codebook)
        self.prompted: PromptedTransformer | None = None
        if teacher is not None:
            backbone = load_backbone(teacher) if isinstance(teacher, str) else backbone_from_spec(teacher)
            self.prompted = PromptedTransformer(width, backbone, prompts, deep_prompts, prompt_dropout)
            # What has no source to come from again travels with the checkpoint, so a file names its architecture.
            teacher = backbone.source or backbone.spec
        self.feature_head = GraphNetwork(width, width, graph_width)
        self.decoder = FoldingDecoder(width, patch_size, folding_width)
        self.config: dict[str, Any] = {
            "patches": patches,
            "patch_size": patch_size,
            "width": width,
            "codes": codes,
            "teacher": teacher,
            "prompts": prompts,
            "deep_prompts": deep_prompts,
            "prompt_dropout": prompt_dropout,
            "graph_width": graph_width,
            "folding_width": folding_width,
        }

    @property
    def backbone(self) -> Backbone | None:
        """The frozen pretrained Transformer, if there is one."""
        return None if self.prompted is None else self.prompted.backbone

    @property
    def teacher_width(self) -> int:
        """Width of the features that stage II predicts."""
        return self.width

    def patchify(self, points: torch.Tensor) -> Patches:
        """Cut points (B, N, 3), N >= G and M, into neighborhoods (B, G, M, 3) around centers (B, G, 3)."""
        return patchify(points, self.patches, self.patch_size)

    def forward(
        self, patches: Patches, temperature: float | torch.Tensor = 1.0, noise: bool = True, noise_scale: float = 1.0
    ) -> AutoencoderOutput:
        """Encode to codes, decode to points.

        Args:
            patches: (B, G, M, 3) neighborhoods and (B, G, 3) centers.
            temperature: Of the Gumbel-softmax, > 0.
            noise: Draw soft codes with Gumbel noise (training), or take the arg-max code (evaluation).
            noise_scale: Scale of that noise; 1 in the paper. With 0 the codes are a plain softmax that hardens as the
                temperature falls (Agustsson et al., 2017), which a short training needs: the noise drowns young scores.
        """
        graph = center_graph(patches.centers)
        logits = self.token_logits(patches, graph)
        codes = self._sample(logits, temperature, noise_scale) if noise else self.codebook[logits.argmax(dim=2)]
        features = self.feature_head(self.transform(codes, patches.centers), graph)
        coarse, fine = self.decoder(features)
        return AutoencoderOutput(coarse, fine, logits)

    def token_logits(self, patches: Patches, graph: torch.Tensor) -> torch.Tensor:
        """Scores of all codes for every patch: (B, G, K)."""
        return self.token_head(self.patch_embedding(patches.neighborhoods), graph)

    def transform(self, codes: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """Code vectors (B, G, C) through the prompted Transformer, if there is one: (B, G, C)."""
        return codes if self.prompted is None else self.prompted(codes, centers)

    def loss(self, patches: Patches, output: AutoencoderOutput) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction and KL terms, to be weighed by the caller: two scalars.

        Reconstruction: Chamfer L1 of the coarse and of the fine points of every patch, in its own coordinates.
        KL: sum over codes of u (log u - log q), u uniform, q the mean over patches of the softmax; mean over clouds.
        """
        truth = patches.neighborhoods.flatten(0, 1)  # (B, G, M, 3) -> (B G, M, 3)
        reconstruction = chamfer(output.coarse.flatten(0, 1), truth) + chamfer(output.fine.flatten(0, 1), truth)
        # log q in the log domain: no code's probability can underflow to log 0
        scores = raise_half(output.logits)
        log_q = torch.logsumexp(F.log_softmax(scores, dim=2), dim=1) - math.log(scores.shape[1])
        kl = (-math.log(self.codes) - log_q).mean(dim=1).mean()
        return reconstruction, kl

    def _sample(self, logits: torch.Tensor, temperature: float | torch.Tensor, noise_scale: float) -> torch.Tensor:
        """Gumbel-softmax over codes, then the codebook: (B, G, K) -> (B, G, C)."""
        logits = raise_half(logits)  # a low temperature would magnify bfloat16's rounding
        if noise_scale:
            logits = torch.sub(logits, exponential_like(logits).log_(), alpha=noise_scale)
        return linear(F.softmax(logits / temperature, dim=2), self.codebook.t())

    # ------------------------------------------------------------------ use after training

    def tokens(self, patches: Patches) -> torch.Tensor:
        """The arg-max code of every patch: int64 (B, G)."""
        return self.token_logits(patches, center_graph(patches.centers)).argmax(dim=2)

    def features(self, patches: Patches) -> torch.Tensor:
        """The teacher's features, which stage II predicts: the feature head's, from arg-max codes (B, G, C)."""
        graph = center_graph(patches.centers)
        return self._token_features(self.token_logits(patches, graph).argmax(dim=2), patches.centers, graph)

    def _token_features(self, tokens: torch.Tensor, centers: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
        """The feature head's output for codes (B, G) of patches at centers (B, G, 3): (B, G, C)."""
        return self.feature_head(self.transform(self.codebook[tokens], centers), graph)

    def rebuild(self, tokens: torch.Tensor, centers: torch.Tensor) -> Reconstruction:
        """Patches decoded from codes (B, G), such as `tokens` gives, at centers (B, G, 3)."""
        return self.decode(self._token_features(tokens, centers, center_graph(centers)), centers)

    def reconstruct(self, patches: Patches) -> Reconstruction:
        """Patches decoded from their arg-max codes, and the whole cloud that they make."""
        return self.decode(self.features(patches), patches.centers)

    def decode(self, features: torch.Tensor, centers: torch.Tensor) -> Reconstruction:
        """Features (B, G, C) of patches at centers (B, G, 3) -> their points, and the whole cloud that they make."""
        decoded: DecodedPatches = self.decoder(features)
        whole = (decoded.fine + centers.unsqueeze(2)).flatten(1, 2)  # (B, G, M, 3) -> (B, G M, 3)
        return Reconstruction(whole, decoded.coarse, decoded.fine, centers)
