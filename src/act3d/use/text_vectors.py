"""Texts with their vectors in a file, so that words name and find shapes where no text Transformer is installed.

`act3d export MODEL --format texts --labels words.txt --out words.npz` writes one. It belongs to that model: texts are
placed by the mean of the texts that the model has learnt. An .npz holds `texts` (T,), `vectors` (T, D) of length 1 and
`meta` (JSON: digest of the model's file, scale, clean). With output `text_vector` (B, D) of an exported model,
`softmax(scale * text_vector @ vectors.T)` are the probabilities that `act3d predict --labels` gives.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act3d.errors import CheckpointError, ConfigError, InputError, reason_of
from act3d.files import atomic_path
from act3d.use.texts import label_text

SUFFIX = ".npz"


@dataclass(frozen=True)
class TextVectors:
    """Texts among the shapes of one model.

    Attributes:
        texts: (T,) as they were given.
        vectors: (T, D) float32, of length 1.
        model: Digest of the model's file, see `act3d.use.embed_shapes.facts_of`.
        scale: What cosines are multiplied with before the softmax: one over the learnt temperature.
        clean: Whether texts were read as `act3d.use.texts.label_text` does it.
        path: The file they come from.
    """

    texts: list[str]
    vectors: NDArray[np.float32]
    model: str
    scale: float
    clean: bool = True
    path: Path | None = None

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors (T, D) of some of the texts, or of others that are read alike ("hand_tool", "hand tool").

        Raises:
            InputError: A text is not among them.
        """
        places = {label_text(text, self.clean): place for place, text in enumerate(self.texts)}
        unknown = [text for text in texts if label_text(text, self.clean) not in places]
        if unknown:
            raise InputError(
                f"{unknown[0]!r} is not one of the {len(self.texts)} texts in {self.path}; write a file with it by "
                "act3d export --format texts, or leave the file out where the text Transformer is installed"
            )
        return self.vectors[[places[label_text(text, self.clean)] for text in texts]]

    def check_model(self, digest: str, what: str) -> None:
        """Refuse texts that were placed by another model.

        Args:
            digest: Of the model that shapes are placed by.
            what: Where that is: its file, or an index.

        Raises:
            CheckpointError: It is another one.
        """
        if digest != self.model:
            raise CheckpointError(
                f"{self.path}: text vectors of another model than that of {what}; write them anew by act3d export "
                "--format texts"
            )

    def write(self, path: str | Path) -> Path:
        """Write an .npz file, whole or not at all."""
        path = check_path(path)
        meta = {"model": self.model, "scale": self.scale, "clean": self.clean}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            texts = np.array(self.texts, dtype=np.str_)
            np.savez(file, texts=texts, vectors=self.vectors, meta=np.array(json.dumps(meta)))
        return path


def check_path(path: str | Path) -> Path:
    """Return the path of a file of text vectors.

    Raises:
        ConfigError: Another suffix.
    """
    if Path(path).suffix != SUFFIX:
        raise ConfigError(f"out: {path} must end in {SUFFIX}")
    return Path(path)


def read_text_vectors(path: str | Path) -> TextVectors:
    """Read what `TextVectors.write` wrote.

    Raises:
        InputError: No such file, or another one.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            texts, vectors = [str(text) for text in file["texts"]], file["vectors"].astype(np.float32)
            meta = json.loads(str(file["meta"]))
        found = TextVectors(texts, vectors, str(meta["model"]), float(meta["scale"]), bool(meta["clean"]), path)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ValueError(f"{len(texts)} texts, vectors of shape {vectors.shape}")
    except Exception as error:  # zip and NumPy fail in many ways; all mean a bad file
        raise InputError(f"{path}: no text vectors of act3d export --format texts ({reason_of(error)})") from error
    return found


def split_labels(given: str) -> list[str]:
    """The words of a setting such as --labels, each once: those of a text file, one a line, or those between commas.

    Raises:
        ConfigError: A file that is no text.
    """
    try:
        is_file = bool(given) and Path(given).is_file()
        text = Path(given).read_text(encoding="utf-8-sig") if is_file else given.replace(",", "\n")
    except UnicodeDecodeError:
        raise ConfigError(f"labels: {given} is no text file; give words, one a line, or an {SUFFIX} file") from None
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
