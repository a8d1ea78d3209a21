"""Language alignment: an encoder learns to put clouds where a frozen text Transformer puts their names."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection
from act3d.engine import processes
from act3d.engine.batches import open_clouds
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import ConfigError
from act3d.evaluation.protocol import protocol_of
from act3d.files import write_json
from act3d.losses.contrastive import same_meaning
from act3d.models.aligned import Aligned
from act3d.models.data_dependent_init import fit_student
from act3d.recipes.common import Start, checkpoint_meta, encoder_start, noted, settle_channels
from act3d.recipes.names import learn_names, read_texts, remember_examples, take_over_words, zero_shot
from act3d.settings.alignment import PATCHES, AlignConfig, TextConfig
from act3d.use.text_embeddings import encode_texts
from act3d.use.texts import texts_of


class NamedClouds(NamedTuple):
    """Clouds with a text each."""

    clouds: CloudDataset
    texts: list[str]


class Alignment(Recipe):
    """Trains `Aligned` by the symmetric contrast of clouds and their texts.

    With several processes, each contrasts the clouds of its own batch.

    Args:
        settings: `AlignSettings`.
        model: the encoder and its text head, whose mean of texts is set here.
        train: training clouds with their texts.
        held_out: clouds to validate on with theirs, or None.
        without: how many clouds of the training split were left out because they have no text.
        start: where the encoder started from.
    """

    command = "align"
    train_columns = ("loss", "temperature")
    best_metric = "recall_5"
    lower_is_better = False
    model: Aligned

    def __init__(
        self,
        settings: Any,
        model: Aligned,
        train: NamedClouds,
        held_out: NamedClouds | None = None,
        without: int = 0,
        start: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(settings, model, train.clouds)
        self.held_out, self.start = held_out, start or {}
        self.numbers: dict[str, Any] = {}
        if held_out is not None:
            labelled = bool((held_out.clouds.labels >= 0).any())
            self.eval_columns = ("recall_1", "recall_5", "zero_shot") if labelled else ("recall_1", "recall_5")
        align = settings.align
        self.names = learn_names(model, train.texts, settings.text, align.memory, align.negatives, without)
        self.protocol = protocol_of(self.data.val_split)
        self.facts = self.names.facts | {"start": self.start}
        self.meta = checkpoint_meta(train.clouds, self.command, self.seed, self.protocol) | self.facts

    @classmethod
    def build(cls, settings: Any, folder: RunFolder, resume: bool) -> "Alignment":
        """Return alignment at its beginning.

        Raises:
            InputError: data that cannot be used, or without texts.
            CheckpointError: the checkpoint is missing, damaged, or has no point encoder.
            MissingDependency: the text Transformer is not installed.
        """
        kept = folder.kept_start(resume)
        data = settle_channels(settings.data, settings.checkpoint, kept)
        opened = open_clouds(data, settings.seed)
        train = _named(opened.train, read_texts(opened.train, settings.text))
        held_out = None if opened.held_out is None else with_texts(opened.held_out, settings.text)
        start = encoder_start(settings.checkpoint, settings.align, kept, data.channels_beside)
        torch.manual_seed(settings.seed)  # initial weights
        model = build_aligned(start, settings.align, settings.data.points)
        without = len(opened.train) - len(train.texts)
        return cls(settings, model, train, held_out if held_out and held_out.texts else None, without,
                   noted(start.about, data.channels_beside))  # fmt: skip

    def to(self, device: torch.device) -> None:
        """Put the texts where the model is."""
        super().to(device)
        self.names = self.names.to(device)

    def keep_inputs(self, folder: RunFolder) -> None:
        """Note where the encoder started from: a resumed run does not need its checkpoint again."""
        write_json(folder.start, self.start)

    def fit_start(self, points: Tensor) -> None:
        """Fit a fresh encoder to clouds (B, N, 3)."""
        fit_student(self.model, self.model.patchify(points))

    def losses(self, points: Tensor, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the contrast of points (B, N, 3) with their texts, and the temperature."""
        head = self.model.alignment
        shapes = head(self.model.embed(self.model.patchify(points)))
        loss = self.names.contrast(head, shapes, batch["index"])
        return {"loss": loss, "temperature": 1 / head.contrast.scale.detach()}

    @torch.no_grad()
    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Return, in percent: how often the right text is among the 1 and 5 nearest, and zero-shot accuracy."""
        if self.held_out is None:
            return {}
        processes.share_buffers(self.model)
        clouds, texts = self.held_out
        head = self.model.alignment
        shapes, rows = self.vectors_of(clouds, self._place, self.data.batch_size, limit)
        known = sorted(set(texts))
        gallery = head.place_texts(encode_texts(known)).cpu()
        own = torch.tensor([known.index(texts[row]) for row in rows])
        right = same_meaning(gallery, head.contrast.threshold)[own]  # (S, T)
        found = {f"recall_{k}": recall(shapes @ gallery.T, right, k) for k in (1, 5)}
        if "zero_shot" in self.eval_columns:
            labels = torch.from_numpy(clouds.labels[rows])
            found["zero_shot"] = zero_shot(head, shapes, labels, clouds.class_words(), self.settings.text.clean)
        return found

    def _place(self, points: Tensor) -> Tensor:
        return self.model(self.model.patchify(points))

    def conclude(self, folder: RunFolder | None) -> None:
        """Remember training clouds, where `align.examples` asks for it, and validate what this makes of the model."""
        self.model.eval()
        if remember_examples(self, self.names, folder) and self.eval_columns and self.plan.validate_every:
            self.numbers = self.validate(1 if self.plan.fast_dev_run else 0)

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Return the validation of the model that is written."""
        return self.numbers

    def state(self) -> dict[str, Any]:
        """Return how texts were made."""
        return {"text": self.names.about}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Check that texts are still made in the same way."""
        self.names.check_resumed(state["text"])


def with_texts(clouds: CloudDataset, text: TextConfig) -> NamedClouds:
    """Return those clouds that have a text, with it."""
    return _named(clouds, texts_of(clouds.columns(), text.column, clean=text.clean))


def _named(clouds: CloudDataset, texts: list[str]) -> NamedClouds:
    rows = [row for row, words in enumerate(texts) if words]
    return NamedClouds(Selection(clouds, np.array(rows, dtype=np.int64)), [texts[row] for row in rows])


def build_aligned(start: Start, config: AlignConfig, points: int) -> Aligned:
    """Return a model with the encoder that it starts from, or a fresh one, and patches as that one's.

    The way to words of a model that knows some is taken over as well, where it is of this size.

    Raises:
        ConfigError: a cloud has too few points for the patches.
    """
    about, source = start.about, start.source
    if "patches" not in about:
        about["patches"] = config.patches or (source.patches if source else PATCHES)
        about["patch_size"] = (source or config).patch_size
        about["class_token"] = source is None or source.encoder.cls_token is not None
    cut = {name: about[name] for name in ("patches", "patch_size", "class_token")}
    if max(cut["patches"], cut["patch_size"]) > points:
        raise ConfigError(
            f"data.points: {points} is too few for {cut['patches']} patches of {cut['patch_size']} points"
        )
    own = {name: getattr(config, name) for name in ("drop_path", "hidden", "temperature", "threshold")}
    model = Aligned(**cut, **start.size, **own)
    start.fill(model)
    take_over_words(model.alignment, start)
    return model


def recall(scores: Tensor, right: Tensor, k: int) -> float:
    """Return how often, in percent, a text that is right (S, T) has one of the k highest scores (S, T)."""
    nearest = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return 100 * float(right.gather(1, nearest).any(dim=1).float().mean())
