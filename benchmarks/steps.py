"""Whole steps at the released sizes: ours against the textbook form, with the optimizer, on random clouds.

Stage I and II: 1024 points, 64 patches of 32, ViT-B teacher (random weights), 64 deep prompts, 8192 codes.
Classifier: 2048 points, 128 patches of 32, 15 classes (ScanObjectNN's recipe), and both of ModelNet40's sizes.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from act3d.engine.optimizer import build_optimizer
from act3d.losses import build_loss
from act3d.models.autoencoder import Autoencoder
from act3d.models.classifier import Classifier
from act3d.models.masking import hidden_count, random_mask
from act3d.models.student import Student
from act3d.settings.training import OptimConfig
from benchmarks.measure import Work
from benchmarks.textbook.autoencoder import DiscreteVAE, PromptedAutoencoder, vit
from benchmarks.textbook.heads import Classifier as TextbookClassifier
from benchmarks.textbook.student import PointDistillation

VIT_B = {"width": 768, "depth": 12, "heads": 12}
T = TypeVar("T")
CLASSES, KL_WEIGHT, MASK_RATIO, CLIP = 15, 0.1, 0.8, 10.0


class Sizes(NamedTuple):
    """Of a released recipe, and the batch it is measured with on each kind of device."""

    points: int
    patches: int
    cpu: int
    cuda: int


SIZES = {
    "stage1": Sizes(1024, 64, cpu=8, cuda=64),
    "stage2": Sizes(1024, 64, cpu=8, cuda=128),
    "classifier": Sizes(2048, 128, cpu=8, cuda=32),
    "classifier_1k": Sizes(1024, 64, cpu=8, cuda=32),
    "classifier_8k": Sizes(8192, 512, cpu=2, cuda=32),
}


class Setting(NamedTuple):
    """Sizes of one measurement; ours may also run in bf16 and compiled, the textbook form never does."""

    device: torch.device
    batch: int
    points: int = 1024
    patches: int = 64
    bf16: bool = False
    compiled: bool = False


def clouds(setting: Setting) -> Tensor:
    """Random clouds in the unit sphere, the same for both forms."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(setting.batch, setting.points, 3, generator=generator)
    return (points / points.norm(dim=2).amax(dim=1)[:, None, None]).to(setting.device)


def _training(
    setting: Setting,
    model: nn.Module,
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    losses: list[Tensor] | None = None,
) -> Work:
    """One step: loss, gradients, optimizer. Losses are kept in `losses`, if there is such a list."""

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.bf16):
            value = loss()
        value.backward()
        if losses is not None:
            losses.append(value.detach())
        optimizer.step()

    model.train()
    return step


def _ours(setting: Setting, model: nn.Module) -> nn.Module:
    model.to(setting.device)
    if setting.compiled:
        model.compile()
    return model


def _maybe_compiled(setting: Setting, function: Callable[..., T]) -> Callable[..., T]:
    """A method beside `forward`, compiled where the step is."""
    return torch.compile(function) if setting.compiled else function


def _plain_adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4, weight_decay=5e-4)


def _plain_teacher(setting: Setting) -> DiscreteVAE:
    blocks, norm = vit(768, 12, 12)
    return PromptedAutoencoder(blocks, norm, 768, patches=setting.patches).to(setting.device)


def _teacher(setting: Setting) -> Autoencoder:
    return Autoencoder(patches=setting.patches, teacher=dict(VIT_B)).to(setting.device)


def stage1_textbook(setting: Setting) -> Work:
    """Stage I, the plain way."""
    model, points = _plain_teacher(setting), clouds(setting)

    def loss() -> Tensor:
        neighborhood, center = model.group(points)
        reconstruction, kl = model.loss(neighborhood, model(neighborhood, center))
        return reconstruction + KL_WEIGHT * kl

    return _training(setting, model, loss, _plain_adamw(model))


def stage1_ours(setting: Setting) -> Work:
    """Stage I."""
    model, points = _teacher(setting), clouds(setting)
    _ours(setting, model)
    terms, temperature = _maybe_compiled(setting, model.loss), torch.ones((), device=setting.device)

    def loss() -> Tensor:
        patches = model.patchify(points)
        reconstruction, kl = terms(patches, model(patches, temperature))
        return reconstruction + KL_WEIGHT * kl

    return _training(setting, model, loss, build_optimizer(model, OptimConfig()))


def stage2_textbook(setting: Setting) -> Work:
    """Stage II, the plain way."""
    model, points = PointDistillation(_plain_teacher(setting)).to(setting.device), clouds(setting)

    def loss() -> Tensor:
        return model(*model.dvae_tokenizer.group(points))

    return _training(setting, model, loss, _plain_adamw(model))


def stage2_ours(setting: Setting, visible_only: bool = False, losses: list[Tensor] | None = None) -> Work:
    """Stage II, exactly or with the patch embedding of visible patches only."""
    teacher = _teacher(setting).eval().requires_grad_(False)
    model = Student(patches=setting.patches, embed_visible_only=visible_only)
    points, criterion = clouds(setting), build_loss("cosine")
    hidden = hidden_count(setting.patches, MASK_RATIO)
    _ours(setting, model)
    features = _maybe_compiled(setting, teacher.features)

    def loss() -> Tensor:
        patches = model.patchify(points)
        with torch.no_grad():
            target = features(patches)
        mask = random_mask(setting.batch, setting.patches, hidden, points.device)
        output = model(patches, mask, hidden)
        return model.loss(output, target, criterion)

    return _training(setting, model, loss, build_optimizer(model, OptimConfig()), losses)


def stage2_visible_only(setting: Setting) -> Work:
    """Stage II with `embed_visible_only`."""
    return stage2_ours(setting, visible_only=True)


def _logits(model: nn.Module, points: Tensor) -> Tensor:
    """Logits of points; the textbook form cuts them into patches itself."""
    logits: Tensor = model(model.patchify(points) if isinstance(model, Classifier) else points)
    return logits


def _classifier_step(setting: Setting, model: nn.Module, optimizer: torch.optim.Optimizer) -> Work:
    points = clouds(setting)
    labels = torch.arange(setting.batch, device=setting.device) % CLASSES

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.bf16):
            value = F.cross_entropy(_logits(model, points), labels)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    model.train()
    return step


def classifier_textbook(setting: Setting) -> Work:
    """A training step of the classifier, the plain way."""
    model = TextbookClassifier(CLASSES, setting.patches).to(setting.device)
    return _classifier_step(setting, model, _plain_adamw(model))


def classifier_ours(setting: Setting) -> Work:
    """A training step of the classifier."""
    model = Classifier(CLASSES, setting.patches)
    _ours(setting, model)
    return _classifier_step(setting, model, build_optimizer(model, OptimConfig()))


def _inference(setting: Setting, model: nn.Module) -> Work:
    points = clouds(setting)
    model.eval()

    def infer() -> Tensor:
        with torch.no_grad(), torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.bf16):
            return _logits(model, points)

    return infer


def infer_textbook(setting: Setting) -> Work:
    """Logits of a batch, the plain way."""
    return _inference(setting, TextbookClassifier(CLASSES, setting.patches).to(setting.device))


def infer_ours(setting: Setting) -> Work:
    """Logits of a batch."""
    model = Classifier(CLASSES, setting.patches)
    return _inference(setting, _ours(setting, model))
