"""What every method of pretraining shares: its clouds, its teacher, and a linear SVM that validates its features.

A method is a subclass of `Pretraining` in a file of its own, and a line in `METHODS` of `act3d.settings.pretraining`.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from act3d import checkpoints
from act3d.checkpoints import Checkpoint
from act3d.data.clouds import CloudDataset
from act3d.data.views import Selection
from act3d.engine import processes
from act3d.engine.batches import Clouds, open_clouds, open_split
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import ConfigError
from act3d.evaluation.protocol import protocol_of
from act3d.files import write_json
from act3d.geometry import Patches
from act3d.models.autoencoder import Autoencoder
from act3d.models.data_dependent_init import fit_student
from act3d.models.masking import block_mask, random_mask
from act3d.recipes.common import Start, checkpoint_meta, encoder_start, noted
from act3d.recipes.names import Names, learn_names, read_texts, remember_examples, take_over_words, zero_shot
from act3d.settings.data import DataConfig
from act3d.settings.pretraining import METHODS, NO_TEACHER
from act3d.settings.training import MaskConfig, ProbeConfig

MAPPED_FROM, MAPPED = 10, 400  # clouds of a map for TensorBoard: at least, at most


class ProbeClouds(NamedTuple):
    """Labelled clouds that train a linear SVM on the student's features, and clouds that test it."""

    train: CloudDataset
    test: CloudDataset
    batch_size: int


class Pretraining(Recipe):
    """Trains a model that has `embed`, patches -> (B, 2C), where C is its `width`; labels are used by the probe only.

    A subclass implements `build_model` and `losses`.

    Args:
        settings: `PretrainSettings`.
        model: the student.
        clouds: training clouds, and those held out.
        probe: clouds of the linear probe, or None.
        teacher: stage I's autoencoder with its meta; None for a method that learns from none.
        names: texts of the clouds, where names are learnt beside the method (`align.weight`).
    """

    command = "pretrain"
    eval_columns: tuple[str, ...] = ("probe",)
    names_columns: tuple[str, ...] = ("align", "temperature")  # of a run that learns names
    best_metric = "probe"
    lower_is_better = False
    model: Any

    def __init__(
        self,
        settings: Any,
        model: nn.Module,
        clouds: CloudDataset,
        probe: ProbeClouds | None = None,
        teacher: Checkpoint[Autoencoder] | None = None,
        names: Names | None = None,
    ) -> None:
        super().__init__(settings, model, clouds)
        self.probe, self.teacher, self.names = probe, teacher, names
        self.start: dict[str, Any] = {}
        self.numbers: dict[str, Any] = {}
        self.pretrained: list[nn.Module] = []  # parts of the model that started from weights
        if teacher is not None:
            teacher.model.requires_grad_(False).eval()
        self.protocol = protocol_of(settings.probe.test_split or settings.data.val_split)
        self.meta = checkpoint_meta(clouds, self.command, self.seed, self.protocol)
        if names is not None:
            self.facts, self.meta = names.facts, self.meta | names.facts
            self.train_columns = (*self.train_columns, *self.names_columns)
            self.eval_columns = (*self.eval_columns, "zero_shot")

    @staticmethod
    def build_model(settings: Any, teacher: Autoencoder | None) -> Any:
        """Return the student with fresh weights."""
        raise NotImplementedError

    @classmethod
    def assemble(
        cls, settings: Any, clouds: CloudDataset, probe: ProbeClouds | None, teacher: Checkpoint[Autoencoder] | None
    ) -> "Pretraining":
        """Return the recipe with a fresh model, and with names to learn beside where `align.weight` asks for it."""
        model = cls.build_model(settings, teacher.model if teacher else None)
        names = None
        if settings.align.weight:
            if model.alignment is None:
                raise ConfigError(f"align.weight: method {settings.method!r} learns no names beside its loss; use 0")
            texts, align = read_texts(clouds, settings.text), settings.align
            names = learn_names(model, texts, settings.text, align.memory, align.negatives)
        return cls(settings, model, clouds, probe, teacher, names)

    def begin_from(self, start: Start) -> None:
        """Take over a pretrained encoder, and its way to words where names are learnt beside; the rest stays fresh.

        The result is used at as many patches as that encoder, where those are more than a step has.

        Raises:
            CheckpointError: the encoders differ.
        """
        start.fill(self.model)
        self.pretrained = [self.model.encoder]
        if self.names is not None and take_over_words(self.model.alignment, start):
            self.pretrained.append(self.model.alignment)
        if start.source is not None and start.source.patches <= self.settings.data.points:
            start.about["patches"] = max(self.model.patches, start.source.patches)
        self.model.config["patches"] = start.about.get("patches", self.model.patches)
        self.start = noted(start.about, self.settings.data.channels_beside)
        self.facts, self.meta = self.facts | {"start": self.start}, self.meta | {"start": self.start}

    def to(self, device: torch.device) -> None:
        """Put the teacher where the student is."""
        super().to(device)
        if self.teacher is not None:
            self.teacher.model.to(device)
        if self.names is not None:
            self.names = self.names.to(device)

    def keep_inputs(self, folder: RunFolder) -> None:
        """Copy the teacher into the run folder: the run stays whole when stage I's folder is gone."""
        if self.teacher is not None:
            checkpoints.save(self.teacher.model, folder.teacher, self.teacher.meta)
        if self.start:  # a resumed run does not need that checkpoint again
            write_json(folder.start, self.start)

    def fit_start(self, points: Tensor) -> None:
        """Fit the student, but for what was pretrained, to clouds (B, N, 3)."""
        fit_student(self.model, self.model.patchify(points), keep=self.pretrained)

    def beside_names(self, losses: dict[str, Tensor], patches: Patches, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a method's losses with the contrast of whole clouds and their names added, where names are learnt."""
        if self.names is None:
            return losses
        head = self.model.alignment
        align = self.names.contrast(head, head(self.model.embed(patches)), batch["index"])
        loss = losses["loss"] + self.settings.align.weight * align
        return losses | {"loss": loss, "align": align, "temperature": 1 / head.contrast.scale.detach()}

    def use(self, points: Tensor, batch: dict[str, Tensor]) -> object:
        """Embed points (B, N, 3): nothing is hidden."""
        return self.model.embed(self.model.patchify(points))

    def validate(self, limit: int = 0) -> dict[str, Any]:
        """Fit a linear SVM on frozen features; return its accuracy in percent as "probe".

        Where names are learnt, "zero_shot" is how often the nearest class word is the right one.
        """
        if self.probe is None:
            return {}
        from act3d.evaluation.probe import linear_probe

        processes.share_buffers(self.model)
        sets = [
            self.labelled_features(clouds, self.probe.batch_size, limit)
            for clouds in (self.probe.train, self.probe.test)
        ]
        # The SVM is small work: the first process does it, the others take its result.
        accuracy = 0.0
        if processes.rank() == 0:
            accuracy = linear_probe(*sets[0], *sets[1], seed=self.seed).accuracy
        found = {"probe": processes.gather_objects(accuracy)[0]}
        if self.names is not None:
            found["zero_shot"] = self._zero_shot(self.probe, limit)
        return found

    def labelled_features(self, clouds: CloudDataset, batch_size: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Return features (S, F) and labels (S,) of all clouds that have a label."""
        features, rows = self.vectors_of(clouds, lambda x: self.model.embed(self.model.patchify(x)), batch_size, limit)
        x, y = features.numpy(), clouds.labels[rows]
        return x[y >= 0], y[y >= 0]

    def _zero_shot(self, probe: ProbeClouds, limit: int) -> float:
        model, test, size = self.model, probe.test, probe.batch_size
        shapes, rows = self.vectors_of(test, lambda x: model.among_texts(model.patchify(x)), size, limit)
        labels, clean = torch.from_numpy(test.labels[rows]), self.settings.text.clean
        return zero_shot(model.alignment, shapes, labels, test.class_words(), clean)

    def conclude(self, folder: RunFolder | None) -> None:
        """Remember training clouds, where names are learnt and `align.examples` asks for it, and name shapes anew."""
        if self.names is None:
            return
        self.model.eval()
        if remember_examples(self, self.names, folder) and self.probe is not None and self.plan.validate_every:
            self.numbers = {"zero_shot": self._zero_shot(self.probe, 1 if self.plan.fast_dev_run else 0)}

    def test(self, folder: RunFolder | None) -> dict[str, Any]:
        """Return the zero-shot accuracy of the model that is written, where names are learnt."""
        return self.numbers

    def pictures(self) -> dict[str, np.ndarray]:
        """Return a map of held-out clouds by the model's features, coloured by class."""
        if self.probe is None or len(self.probe.test) < MAPPED_FROM:
            return {}
        from act3d.evaluation.features import Features, embed, flatten_map
        from act3d.report.figure import Figure, figure_image
        from act3d.report.pieces import EmbeddingMap

        rows = np.unique(
            np.linspace(0, len(self.probe.test) - 1, min(MAPPED, len(self.probe.test))).round().astype(int)
        )
        some = Selection(self.probe.test, rows)
        found: Features = embed(lambda x: self.model.embed(self.model.patchify(x)), some, 32, self.device)
        if len(found.y) < MAPPED_FROM:
            return {}
        every = np.ones(len(found.y), dtype=bool)
        shown = EmbeddingMap(flatten_map(found.x), found.y, [""] * len(every), every)
        return {"map": figure_image(Figure("Map", map=shown, classes=some.classes))}

    def state(self) -> dict[str, Any]:
        """Return how texts were made, where names are learnt."""
        return {} if self.names is None else {"text": self.names.about}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Check that texts are still made in the same way."""
        if self.names is not None:
            self.names.check_resumed(state.get("text"))


def build(settings: Any, folder: RunFolder, resume: bool) -> Pretraining:
    """Return the method that the settings name, at its beginning.

    Raises:
        ConfigError, InputError, CheckpointError: the teacher or the data cannot be used.
    """
    place = METHODS[settings.method]
    method: type[Pretraining] = getattr(importlib.import_module(place.module), place.name)
    wanted = place.teacher or (place.optional_teacher and (settings.teacher.checkpoint or folder.holds_teacher(resume)))
    teacher = find_teacher(settings, folder, resume) if wanted else None
    clouds = open_clouds(settings.data, settings.seed)
    probe = probe_clouds(settings.probe, settings.data, clouds, settings.seed)
    student = settings.student
    if not student.checkpoint:
        torch.manual_seed(settings.seed)  # initial weights
        return method.assemble(settings, clouds.train, probe, teacher)
    start = encoder_start(student.checkpoint, student, folder.kept_start(resume), settings.data.channels_beside)
    torch.manual_seed(settings.seed)  # initial weights
    sized = settings.model_copy(update={"student": student.sized(start.size)})
    recipe = method.assemble(sized, clouds.train, probe, teacher)
    recipe.settings = settings  # the run folder keeps what was asked for
    recipe.begin_from(start)
    return recipe


def find_teacher(settings: Any, folder: RunFolder, resume: bool) -> Checkpoint[Autoencoder]:
    """Return the teacher of the settings; on resume, the run's own copy of it.

    Raises:
        CheckpointError: no such file, damaged, or not an autoencoder.
        ConfigError: none is named, or it cuts more patches than a cloud has points.
    """
    path, points = settings.teacher.checkpoint, settings.data.points
    if resume and folder.teacher.exists():
        path = str(folder.teacher)
    if not path:
        raise ConfigError(NO_TEACHER)
    found = checkpoints.load(Path(path), expect=Autoencoder)
    patches, size = found.model.patches, found.model.patch_size
    if max(patches, size) > points:
        raise ConfigError(f"data.points: {points} is too few for the teacher's {patches} patches of {size} points")
    return found


def probe_clouds(probe: ProbeConfig, data: DataConfig, clouds: Clouds, seed: int) -> ProbeClouds | None:
    """Return the clouds of the linear probe, or None when nothing is held out or there are no labels to probe."""
    train, test = clouds.train, clouds.held_out
    if probe.split or probe.root:
        train = open_split(data, seed, probe.split or "train", probe.root)
    if probe.test_split:
        test = open_split(data, seed, probe.test_split, probe.root)
    elif probe.root:
        raise ConfigError("probe.test_split: missing; with probe.root, name the split that tests")
    if test is None or not (test.labels >= 0).any() or len(set(train.labels[train.labels >= 0].tolist())) < 2:
        return None
    return ProbeClouds(train, test, probe.batch_size)


def encoder_and_decoder(student: Any) -> dict[str, Any]:
    """Return the sizes that every student with a decoder takes, by their argument's name."""
    names = ("width", "depth", "heads", "drop_path", "decoder_depth", "decoder_heads")
    return {name: getattr(student, name) for name in names}


def alignment_of(settings: Any) -> dict[str, Any] | None:
    """Return the arguments of the model's text head, where names are learnt beside the method; else None."""
    align = settings.align
    names = ("hidden", "temperature", "threshold")
    return {name: getattr(align, name) for name in names} if align.weight else None


def draw_mask(centers: Tensor, hidden: int, mask: MaskConfig) -> Tensor:
    """Return a mask (B, G) over patches at centers (B, G, 3) that hides `hidden` of each cloud, as the config asks."""
    if mask.kind == "block":
        return block_mask(centers, hidden)
    return random_mask(centers.shape[0], centers.shape[1], hidden, centers.device)
