"""Checkpoints that have a name: a table in the package, and models on the Hugging Face Hub. Without torch."""

import csv
import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from act3d.errors import CheckpointError

TABLE = "known_models.csv"
HUB = "hub:"  # hub:OWNER/NAME is a checkpoint there


class KnownModel(NamedTuple):
    """A row of the table.

    Attributes:
        name: what `act3d.load` and `--checkpoint` take.
        kind: of model: classifier, segmenter, autoencoder, point_bert, point_mae ...
        source: OWNER/NAME on the Hub.
        revision: the commit of that repository, which fixes every byte of its files.
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

    def facts(self) -> dict[str, Any]:
        """What the weights themselves do not say, for the checkpoint's meta."""
        return {
            "name": self.name,
            "source": f"{HUB}{self.source}@{self.revision}",
            "points": self.points,
            "normalization": self.normalization,
            "licence": self.licence,
        }


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the table by name."""
    with files("act3d").joinpath(TABLE).open(encoding="utf-8") as file:
        rows = [KnownModel(**{**row, "points": int(row["points"]), "patches": int(row["patches"])})  # type: ignore[arg-type]
                for row in csv.DictReader(file)]  # fmt: skip
    return {row.name: row for row in rows}


def named_model(name: str) -> tuple[str, KnownModel | None] | None:
    """The Hub repository that a checkpoint's name means, and its row of the table; None if it is a file's name.

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
