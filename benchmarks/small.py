"""The small presets, and the linear probe: what people without a GPU wait for, in processor seconds.

Steps are those of `small/autoencode` and `small/pretrain` with all that training does to a batch, on random clouds. A
row's "textbook" is what it is compared with: the textbook form for stage I, stage II as it is without `teacher.cache`
for stage II with it, and L-BFGS for every C for the probe.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from act3d.checkpoints import Checkpoint
from act3d.data.arrays import ArrayClouds
from act3d.engine.optimizer import build_optimizer
from act3d.engine.schedules import kl_weight, temperature
from act3d.evaluation import linear_svm
from act3d.evaluation.probe import linear_probe
from act3d.models.autoencoder import Autoencoder
from act3d.recipes.act import ActPretraining
from act3d.settings.layers import resolve
from act3d.settings.pretraining import AutoencodeSettings, PretrainSettings
from benchmarks.measure import Work, compare
from benchmarks.steps import Setting, clouds
from benchmarks.textbook.autoencoder import PromptedAutoencoder, bert

STEP = 300  # of the schedules
BATCHES = 4  # of the dataset whose views are cached


class Pair(NamedTuple):
    """Two works to compare, and the clouds that one call of each goes through."""

    plain: Work
    ours: Work
    clouds: int


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Work:
    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    model.train()
    return step


def _stage1() -> AutoencodeSettings:
    return resolve(AutoencodeSettings, {}, ["small/autoencode"])


def _teacher(settings: AutoencodeSettings) -> Autoencoder:
    sizes = settings.autoencoder.model_dump()
    return Autoencoder(**sizes, teacher="untrained:minilm", prompts=settings.teacher.prompts)


@contextmanager
def stage1() -> Iterator[Pair]:
    """Stage I: the textbook form, and ours."""
    settings = _stage1()
    sizes, schedule, batch = settings.autoencoder, settings.schedule, settings.data.batch_size
    points = clouds(Setting(torch.device("cpu"), batch))
    now, weight = temperature(STEP, schedule), kl_weight(STEP, schedule)
    plain = PromptedAutoencoder(*bert(384, 6, 12), 384, settings.teacher.prompts, **sizes.model_dump())
    ours = _teacher(settings)

    def plain_loss() -> Tensor:
        neighborhood, center = plain.group(points)
        reconstruction, kl = plain.loss(neighborhood, plain(neighborhood, center))
        return reconstruction + weight * kl

    def our_loss() -> Tensor:
        patches = ours.patchify(points)
        reconstruction, kl = ours.loss(patches, ours(patches, now, noise_scale=schedule.noise))
        return reconstruction + weight * kl

    adamw = torch.optim.AdamW([p for p in plain.parameters() if p.requires_grad], lr=settings.optim.lr)
    works = _step(plain, adamw, plain_loss), _step(ours, build_optimizer(ours, settings.optim), our_loss)
    yield Pair(*works, batch)


@contextmanager
def stage2_cached() -> Iterator[Pair]:
    """Stage II: with new views every epoch, and with cached ones."""
    teacher = _teacher(_stage1()).eval()
    with tempfile.TemporaryDirectory() as folder:
        recipes = [_stage2(teacher, Path(folder), cache) for cache in (False, True)]
        yield Pair(_trained(recipes[0]), _trained(recipes[1]), recipes[0].data.batch_size)


def _stage2(teacher: Autoencoder, folder: Path, cache: bool) -> ActPretraining:
    given = {"teacher": {"cache": cache, "views": 1}, "out": str(folder)}
    settings = resolve(PretrainSettings, given, ["small/pretrain"])
    points = clouds(Setting(torch.device("cpu"), BATCHES * settings.data.batch_size)).numpy()
    names, about = [str(i) for i in range(len(points))], {"name": "random", "fingerprint": "0"}
    data = ArrayClouds(points, np.zeros(len(points), dtype=np.int64), ["shape"], names, about)
    checkpoint = Checkpoint(teacher, {}, [], [], folder)
    return ActPretraining(settings, ActPretraining.build_model(settings, teacher), data, None, checkpoint)


def _trained(recipe: ActPretraining) -> Work:
    """A step as the loop takes it: a batch is read, augmented and learnt from."""
    loader = recipe.loader(torch.device("cpu"))
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def loss() -> Tensor:
        batch = next(batches)
        return recipe.losses(recipe.augment(recipe.draw(batch["points"])), batch, STEP)["loss"]

    return _step(recipe.model, build_optimizer(recipe.model, recipe.optim), loss)


@contextmanager
def probe(shapes: int = 4000) -> Iterator[Pair]:
    """Linear probe of features of 40 classes, 1000 of the shapes for the test: L-BFGS for every C, and ours."""
    x, y = _features(shapes + 1000, width=384, classes=40)
    sets = x[:shapes], y[:shapes], x[shapes:], y[shapes:]
    few = linear_svm.FEW_INSIDE

    def plain() -> None:
        linear_svm.FEW_INSIDE = 0.0
        try:
            linear_probe(*sets)
        finally:
            linear_svm.FEW_INSIDE = few

    yield Pair(plain, lambda: linear_probe(*sets), shapes)


def _features(shapes: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features whose variances along their axes fall as those of an encoder's do, with classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, shapes)
    hidden = 0.6 * rng.normal(size=(classes, width))[y] + rng.normal(size=(shapes, width))
    turned = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return hidden / (1 + np.arange(width)) @ turned, y


ROWS: dict[str, Callable[[], AbstractContextManager[Pair]]] = {
    "small_stage1": stage1,
    "small_stage2_cached": stage2_cached,
    "probe_4000": probe,
}


def rows(chosen: str, repeats: int) -> Iterator[dict[str, Any]]:
    """The rows whose name contains `chosen`; "clouds_per_s" is by processor time."""
    for name, pair in ROWS.items():
        if chosen not in name:
            continue
        with pair() as works:
            measured = compare(works.plain, works.ours, repeats, torch.device("cpu"), "cpu")
        speed = {"clouds_per_s": works.clouds / measured.ours_s}
        yield {"name": name, "group": "small", **measured._asdict(), **speed, "peak_share": None}
