"""What the encoder that comes with act3d does with furniture it has not seen: numbers and pictures of a page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from act3d.data import open_dataset
from act3d.evaluation.frozen_encoder import ProbeReport
from act3d.evaluation.probe import probe_tasks
from act3d.evaluation.retrieval import retrieval_quality
from act3d.known_models import SHIPPED
from act3d.models.text_head import TextHead
from act3d.report.first_look import FirstLook
from act3d.report.pieces import Named
from act3d.samples import FURNITURE, sample_root
from act3d.settings.data import ProbeData
from act3d.use.aligned_predictor import AlignedPredictor
from act3d.use.alike import retrieval, scaled_features, small_clouds
from act3d.use.load import load
from act3d.use.probing import probe_checkpoint

if TYPE_CHECKING:
    from act3d.data.clouds import CloudDataset

# What shapes of a class are called, where the name of the class is no word for them.
WORDS = {"cabinet": "cabinet or wardrobe", "plant": "plant or tree", "sanitary": "washbasin or toilet"}
WORDS |= {"stool_bench": "stool or bench"}
PHRASES = ("office chair", "double bed", "round table", "street lamp", "bathtub", "corner sofa", "potted plant", "car",
           "sliding door", "bunk bed")  # fmt: skip
FOUND = 5  # shapes shown for a phrase
WAY, SHOT = 5, 10
KINDS = {"pretrained": SHIPPED, "random": "the same with random weights", "plain": "plain PointNet features"}


def first_look(tasks: int, seed: int = 0) -> FirstLook:
    """Return what the shipped encoder finds.

    Args:
        tasks: few-shot tasks.
        seed: of random weights, cross-validation and tasks.

    Raises:
        MissingDependency: the text Transformer is not installed.
    """
    probe = probe_checkpoint(SHIPPED, ProbeData(root=FURNITURE), seed)
    predictor = load(SHIPPED, expect=AlignedPredictor)
    train, test = (open_dataset(FURNITURE, split, int(predictor.meta["points"])) for split in ("train", "test"))
    head = predictor.head
    assert isinstance(head, TextHead)
    with torch.no_grad():
        stored, asked = (head.place(torch.from_numpy(found.x)) for found in probe.features["pretrained"])
    words = [WORDS.get(name, name) for name in test.classes]
    ranked = predictor.rank_vectors(asked, words)
    right = [bool(words.index(str(row[0][0])) == label) for row, label in zip(ranked, test.labels, strict=True)]
    shown = [int(np.flatnonzero(test.labels == label)[0]) for label in np.unique(test.labels)]
    licence = str(test.meta.get("licence")).partition(",")[0]  # the rest says where it stands in the dataset
    return FirstLook(
        train_shapes=len(train),
        test_shapes=len(test),
        classes=words,
        kinds={kind: _numbers(probe, kind, tasks, seed, test) for kind in KINDS},
        tasks=tasks,
        zero_shot=100 * float(np.mean(right)),
        named=[_with_words(test, row, ranked[row], right[row]) for row in shown],
        phrases=_by_phrases(predictor.embed_text(PHRASES), [(train, stored), (test, asked)]),
        alike=retrieval({KINDS[kind]: [probe.features[kind]] for kind in ("pretrained", "random")}, train, test),
        licence=f"{licence}. Names and authors of all models: {sample_root(FURNITURE) / 'ATTRIBUTION.md'}.",
    )


def _numbers(probe: ProbeReport, kind: str, tasks: int, seed: int, test: "CloudDataset") -> dict[str, float]:
    stored, asked = probe.features[kind]
    vectors = scaled_features(asked, asked)[0]
    quality = retrieval_quality(vectors, [test.classes[label] for label in asked.y])
    few, _ = probe_tasks(stored, asked, WAY, SHOT, tasks, seed)
    numbers = probe.metrics[kind]
    return {"linear": numbers["linear"], "knn": numbers["knn"], "map": quality.mean_ap, "few": float(np.mean(few))}


def _with_words(test: "CloudDataset", row: int, ranked: Sequence[tuple[str | int, float]], right: bool) -> Named:
    remark = ", ".join(f"{word} {100 * probability:.0f}\u00a0%" for word, probability in ranked[:3])
    return Named(_title(test, row), remark, small_clouds(test, [row])[0], right)


def _by_phrases(texts: Tensor, placed: Sequence[tuple["CloudDataset", Tensor]]) -> dict[str, list[Named]]:
    """Return the shapes nearest to every phrase, of all datasets, each with where it places its shapes."""
    cosines = torch.cat([vectors for _, vectors in placed]) @ texts.T
    places = [(clouds, row) for clouds, _ in placed for row in range(len(clouds))]
    found = {}
    for phrase, column in zip(PHRASES, cosines.T, strict=True):
        best = [(float(column[place]), *places[place]) for place in column.argsort(descending=True)[:FOUND].tolist()]
        found[phrase] = [
            Named(_title(clouds, row), f"{cosine:.2f}", small_clouds(clouds, [row])[0]) for cosine, clouds, row in best
        ]
    return found


def _title(clouds: "CloudDataset", row: int) -> str:
    return clouds.columns()["title"][row]
