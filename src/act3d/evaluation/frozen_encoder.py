"""Probes on an encoder's frozen features, on the same encoder without pretraining, and on a plain baseline."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act3d.data.clouds import CloudDataset
from act3d.data.views import spread_points
from act3d.evaluation.features import Features, embed, plain_features
from act3d.evaluation.probe import knn_probe, linear_probe
from act3d.models.data_dependent_init import fit_statistics, fit_student
from act3d.progress import phase
from act3d.supervision import supervision_note
from act3d.tables import Table, Tabular

# Kinds of features, in the order of tables, and what they are.
KINDS = {
    "pretrained": "the encoder of the checkpoint",
    "start": "the encoder that its training started from, where that is a checkpoint",
    "random": "the same architecture with the random weights that training starts from",
    "data_dependent": "the same with data-dependent initialization and batch statistics of the training shapes",
    "plain": "a PointNet with random weights",
}
FITTED_TO = 128  # clouds for data-dependent initialization


@dataclass(repr=False)
class ProbeReport(Tabular):
    """Result of `probe`.

    Attributes:
        metrics: per kind of features (see `KINDS`): linear and knn accuracy in percent, their means over classes, the C
            and k chosen, and the linear SVM's percent right by class name.
        data: name, fingerprint, splits and numbers of shapes.
        features: per kind, the frozen features of training and of test shapes.
        kind: kind of the model that was loaded: "student", "point_mae" ...
        notes: what was chosen for the user, one line each.
        out: folder of results.json, if it was written.
        supervision: what the encoder learnt from beside shapes: "names", or "" for nothing.
    """

    metrics: dict[str, dict[str, Any]]
    data: dict[str, Any]
    features: dict[str, tuple[Features, Features]]
    kind: str = ""
    notes: list[str] = field(default_factory=list)
    out: Path | None = None
    supervision: str = ""

    def __repr__(self) -> str:
        linear = ", ".join(f"{kind} {numbers['linear']:.1f} %" for kind, numbers in self.metrics.items())
        return f"<ProbeReport of a {self.kind} on {self.data['name']}, linear SVM: {linear}>"

    def table(self) -> Table:
        """Return one row per kind of features."""
        about = self.data
        rows = [
            [kind, m["linear"], m["linear_macc"], f"{m['c']:g}", m["knn"], m["k"]] for kind, m in self.metrics.items()
        ]
        return Table(
            ["features", "linear SVM", "mean class", "C", "k-NN", "k"],
            rows,
            f"{about['name']}: {about['train_shapes']} training and {about['test_shapes']} test shapes, % right"
            + supervision_note({"supervision": self.supervision}, "; pretrained: "),
            strong=(0,),
        )

    def results(self) -> dict[str, Any]:
        """Return the metrics for results.json."""
        first = self.metrics["pretrained"]
        others = {
            f"{kind}{ending}": self.metrics[kind][probe]
            for kind in ("start", "random", "data_dependent", "plain")
            if kind in self.metrics
            for ending, probe in (("", "linear"), ("_knn", "knn"))
        }
        return {"oa": first["linear"], "macc": first["linear_macc"], "knn": first["knn"], **others}


def probe_encoder(
    model: Any, train: CloudDataset, test: CloudDataset, batch_size: int = 64, seed: int = 0, before: Any = None
) -> ProbeReport:
    """Train and test both probes on frozen features of all kinds.

    Args:
        model: a student, or a classifier, frozen and in eval mode.
        train, test: labelled shapes, treated as in the model's training.
        batch_size: shapes at once.
        seed: of the random weights, the folds of cross-validation, and the plain baseline.
        before: the model that training started from; None = it started from fresh weights, or that is not to be had.

    Raises:
        InputError: no labels.
    """
    device = next(model.parameters()).device

    def both(function: Callable[[Tensor], Tensor]) -> tuple[Features, Features]:
        return embed(function, train, batch_size, device), embed(function, test, batch_size, device)

    with phase(f"features of {len(train)} + {len(test)} shapes, with and without pretraining"):
        features = {"pretrained": both(embedding_of(model))}
        if before is not None:
            features["start"] = both(embedding_of(before))
        features["random"] = both(embedding_of(random_twin(model, seed)))
        features["data_dependent"] = both(embedding_of(fitted_twin(model, seed, train, batch_size)))
        features["plain"] = both(lambda points: plain_features(points, seed=seed))
    with phase("linear SVMs and nearest neighbours on these features"):
        metrics = {kind: probe_features(*pair, train.classes, seed) for kind, pair in features.items()}
    data = {
        "name": train.name,
        "fingerprint": train.fingerprint,
        "train_shapes": len(features["plain"][0].y),
        "test_shapes": len(features["plain"][1].y),
    }
    return ProbeReport(metrics, data, features, model.kind)


def embedding_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return the model's embedding as a function of points (B, N, 3) -> (B, 2C)."""
    return lambda points: model.embed(model.patchify(points))


def random_twin(model: Any, seed: int) -> Any:
    """Return the same architecture with the random weights that training by `seed` would start from, frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = type(model)(**model.config)
    return twin.to(next(model.parameters()).device).eval().requires_grad_(False)


def fitted_twin(model: Any, seed: int, clouds: CloudDataset, batch_size: int) -> Any:
    """Return `random_twin` with data-dependent initialization and the batch statistics of `clouds`."""
    twin = random_twin(model, seed)
    device = next(twin.parameters()).device
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fit_student(twin, twin.patchify(spread_points(clouds, FITTED_TO).to(device)))
    starts = range(0, len(clouds), batch_size)
    batches = (clouds.fetch(list(range(start, min(start + batch_size, len(clouds)))), 0) for start in starts)
    fit_statistics(twin.encoder, (twin.patchify(batch["points"].to(device)) for batch in batches))
    return twin


def probe_features(train: Features, test: Features, classes: list[str], seed: int) -> dict[str, Any]:
    """Return the numbers of both probes on features, JSON-able."""
    linear, near = linear_probe(*train, *test, seed=seed), knn_probe(*train, *test, seed=seed)
    return {
        "linear": linear.accuracy,
        "linear_macc": linear.macc,
        "linear_cv": linear.cv_accuracy,
        "c": linear.c,
        "knn": near.accuracy,
        "knn_macc": near.macc,
        "k": near.k,
        "per_class": {classes[index]: value for index, value in linear.per_class.items()},
    }
