"""Checkpoints that have a name: a table in the package, and models on the Hugging Face Hub. Without torch."""

import csv
import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from act3d.errors import CheckpointError
from act3d.files import weights_file

TABLE = "known_models.csv"
HUB = "hub:"  # hub:OWNER/NAME is a checkpoint there
PACKAGE = "act3d"  # the source of models that come with act3d
SHIPPED = "act3d-small"  # the encoder that commands take where no checkpoint is named


class KnownModel(NamedTuple):
    """A row of the table.

    Attributes:
        name: what `act3d.load` and `--checkpoint` take.
        kind: of model: classifier, segmenter, autoencoder, point_bert, point_mae ...
        source: OWNER/NAME on the Hub, or "act3d" for a file of this package.
        revision: the commit of that repository, or the sha256 of the file in the package; fixes every byte.
        licence: of the weights.
        points, patches: of a cloud.
        normalization: of clouds: "unit_sphere" or "none".
        results: as its source reports them.
    """

    name: str
    kind: str
    source: str
    revision: str
    licence: str
    points: int
    patches: int
    normalization: str
    results: str

    @property
    def shipped(self) -> Path | None:
        """The weights, if they come with act3d."""
        return weights_folder() / f"{self.name}.safetensors" if self.source == PACKAGE else None

    def facts(self) -> dict[str, Any]:
        """What the weights themselves do not say, for the checkpoint's meta."""
        return {
            "name": self.name,
            "source": f"{HUB}{self.source}@{self.revision}",
            "points": self.points,
            "normalization": self.normalization,
            "licence": self.licence,
        }


def weights_folder() -> Path:
    """Return the folder of weights in this package."""
    return Path(__file__).parent / "weights"


def local_weights(checkpoint: str | Path) -> Path:
    """Return the weights file of a checkpoint that needs no network: a file, a run folder, or a name of the package's.

    Raises:
        CheckpointError: there is none.
    """
    named = named_model(str(checkpoint))
    if named is None:
        if not Path(checkpoint).exists() and Path(checkpoint).suffix != ".ckpt":  # a run's state has words of its own
            raise CheckpointError(missing_weights(str(checkpoint)))
        return weights_file(checkpoint)
    if named[1] is None or named[1].shipped is None:
        raise CheckpointError(f"{checkpoint}: lies on the Hub; act3d inspect reads it whole")
    return named[1].shipped


def name_or_place(path: Path) -> str:
    """Return what a weights file is remembered by: its name if it comes with act3d, else its absolute path."""
    shipped = path.parent == weights_folder() and path.stem in known_models()
    return path.stem if shipped else str(path.resolve())


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the table by name."""
    with files("act3d").joinpath(TABLE).open(encoding="utf-8") as file:
        rows = [KnownModel(**{**row, "points": int(row["points"]), "patches": int(row["patches"])})  # type: ignore[arg-type]
                for row in csv.DictReader(file)]  # fmt: skip
    return {row.name: row for row in rows}


def named_model(name: str) -> tuple[str, KnownModel | None] | None:
    """The Hub repository (or "act3d") that a checkpoint's name means, and its row of the table; None if it is a file.

    A file or folder of that name comes first.

    Raises:
        CheckpointError: `hub:` without OWNER/NAME.
    """
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise CheckpointError(f"{name}: a model on the Hub is {HUB}OWNER/NAME")
        return repository, next((row for row in known_models().values() if row.source == repository), None)
    row = None if Path(name).exists() else known_models().get(name)
    return None if row is None else (row.source, row)


def missing_weights(path: str) -> str:
    """The words for a checkpoint that is neither a file nor a name."""
    close = difflib.get_close_matches(path, known_models(), n=1)
    hint = f"; did you mean the model {close[0]}?" if close else ""
    return f"{path}: no such file or run folder, nor a name of act3d.list_models(){hint}"
