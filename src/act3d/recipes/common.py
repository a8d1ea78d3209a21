"""What several recipes share: facts of a checkpoint, where an encoder starts from, and which weights are tested."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from act3d import checkpoints
from act3d.data.clouds import CloudDataset
from act3d.engine.recipe import Recipe
from act3d.engine.run_folder import RunFolder
from act3d.errors import CheckpointError, InputError
from act3d.known_models import local_weights
from act3d.lines import say
from act3d.models.encoder import PointEncoder
from act3d.native_header import read_header
from act3d.settings.data import DataConfig
from act3d.supervision import supervision_of


def checkpoint_meta(clouds: CloudDataset, command: str, seed: int, protocol: str) -> dict[str, Any]:
    """Return the facts that travel with native weights: how clouds were treated, and what they were."""
    kept = clouds.meta
    return {
        "command": command,
        "classes": list(clouds.classes),
        "points": clouds.points,
        "normalization": kept.get("normalization"),
        "up": kept.get("up"),
        "source_up": kept.get("source_up"),
        "source_formats": kept.get("source_formats"),
        "offset": kept.get("offset"),
        "scale": kept.get("scale"),
        "licence": kept.get("licence"),
        **({"channels": list(clouds.channels)} if clouds.channels else {}),
        "data": clouds.about(),
        "seed": seed,
        "protocol": protocol,
    }


class Start(NamedTuple):
    """Where an encoder starts from.

    Attributes:
        about: kind and path of the checkpoint, and the size of its encoder; goes into results.json as "start".
        size: arguments of `PointEncoder`: width, depth, heads ...
        source: the model whose encoder is taken over; None from scratch, and for a run that is resumed.
        meta: what the checkpoint says of the source.
    """

    about: dict[str, Any]
    size: dict[str, Any]
    source: Any = None
    meta: Mapping[str, Any] = {}

    def fill(self, model: Any) -> None:
        """Give a model with `start_from` the source's encoder, and note what the source did not have.

        Raises:
            CheckpointError: the encoders differ.
        """
        if self.source is None:
            return
        try:
            self.about["fresh"] = model.start_from(self.source)
        except InputError as error:
            raise CheckpointError(f"checkpoint: {self.about['checkpoint']}: {error}") from None


def encoder_start(checkpoint: str, config: Any, kept: Path | None = None, channels: Sequence[str] = ()) -> Start:
    """Find out where an encoder starts from.

    Args:
        checkpoint: a run folder or weights of any model with a point encoder; empty = from scratch.
        config: a section with `width`, `depth` and `heads` from scratch; where others were named than the checkpoint's,
            that is said.
        channels: what points have beside x, y and z, whatever the checkpoint's had; said aloud where they differ.
        kept: a resumed run's `start.json`: its weights come from its own state, so the checkpoint is not needed again.

    Raises:
        CheckpointError: missing, damaged, or no point encoder in it.
    """
    beside = {"channels": list(channels)} if channels else {}
    scratch = {"width": config.width, "depth": config.depth, "heads": config.heads, **beside}
    if kept is not None and kept.exists():
        about: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return Start(about, (about["encoder"] or scratch) | beside)
    if not checkpoint:
        return Start({"kind": "scratch", "checkpoint": "", "encoder": None}, scratch)
    loaded = checkpoints.load(checkpoint)
    source = loaded.model
    encoder = getattr(source, "encoder", None)
    if not isinstance(encoder, PointEncoder):
        raise CheckpointError(f"checkpoint: {checkpoint} holds {source.kind!r}, which has no point encoder")
    size = {key: value for key, value in encoder.config.items() if key != "channels"}
    _say_other_size(checkpoint, config, size)
    about = {"kind": source.kind, "checkpoint": checkpoint, "encoder": size}
    if supervision := supervision_of(loaded.meta):
        about["supervision"] = supervision
    if encoder.channels != tuple(channels):
        here, there = (",".join(["xyz", *names]) for names in (channels, encoder.channels))
        say(f"act3d: points have {here} here; {checkpoint} was trained with {there}", error=True)
    return Start(about, size | beside, source, loaded.meta)


def _say_other_size(checkpoint: str, config: Any, size: Mapping[str, Any]) -> None:
    """Say which named sizes are not used, because a checkpoint has its own."""
    own = {name: size[name] for name in ("width", "depth", "heads")}
    others = [name for name in own if name in config.model_fields_set and getattr(config, name) != own[name]]
    if others:
        named = ", ".join(f"{config.section}.{name}: {getattr(config, name)}" for name in others)
        has = ", ".join(f"{name} {value}" for name, value in own.items())
        say_once(f"act3d: {named} counts from scratch only; the encoder of {checkpoint} has {has}")


@cache
def say_once(line: str) -> None:
    """Say a line that is true of many trainings of one command, such as few-shot folds."""
    say(line, error=True)


def noted(about: dict[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    """What a start says of itself, with its channels where it has some."""
    return {**about, "channels": ",".join(["xyz", *channels])} if channels else about


def settle_channels(data: DataConfig, checkpoint: str, kept: Path | None = None) -> DataConfig:
    """Return the data with `channels` "auto" replaced by those of the checkpoint that is started from.

    Args:
        data, checkpoint: of the settings.
        kept: a resumed run's `start.json`, which holds what was settled when it began.
    """
    if data.channels != "auto":
        return data
    if kept is not None and kept.exists():
        return data.model_copy(update={"channels": json.loads(kept.read_text(encoding="utf-8")).get("channels", "xyz")})
    beside: list[str] = []
    if checkpoint:
        try:
            beside = (read_header(local_weights(checkpoint)).get("meta") or {}).get("channels") or []
        except CheckpointError:  # a released file, which knows x, y and z only; what is missing is said later
            beside = []
    return data.model_copy(update={"channels": ",".join(["xyz", *beside])})


def transfer_arguments(config: Any) -> dict[str, Any]:
    """Return the arguments of a classifier or segmenter that say which parameters of the encoder are trained."""
    return {name: getattr(config, name) for name in ("transfer", "lora_rank", "lora_targets", "adapter_width")}


def best_or_last(recipe: Recipe, folder: RunFolder | None) -> tuple[nn.Module, str]:
    """Return the weights that are tested, in eval mode on the recipe's device: the best by validation, else the last.

    Returns:
        The model, and "best" or "last".
    """
    if folder is not None and recipe.eval_columns and folder.best.exists():
        return checkpoints.load(folder.best, recipe.device, expect=type(recipe.model)).model, "best"
    return recipe.model.eval(), "last"
