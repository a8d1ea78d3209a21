"""Settings of the commands that measure: evaluate, probe, compare."""

from act3d.settings.data import EvaluationData, ProbeData
from act3d.settings.model import Settings, option
from act3d.settings.places import Place, Weights

DEVICE_HELP = "where to compute, such as cpu or cuda:0; auto = CUDA where there is one, else MPS or the CPU"


class EvaluateSettings(Settings, command="evaluate"):
    """Evaluate a classifier or a segmenter.

    Clouds are treated as in training: as many points, the same normalization and up axis, rooms cut in the same way. A
    note says what was chosen, a warning what differs from training; classes under other names or in another order are
    refused. Prints overall accuracy (OA) and mean class accuracy (mAcc), or mIoU of parts or scenes, and a table by
    class. With `out`, writes results.json; of classifiers the confusion matrix as numbers (confusion.csv), as a picture
    (confusion.png) and as a page that opens the misclassified shapes (confusion.html); of scenes the labels of three
    rooms as coloured PLY files and as pictures with a legend.
    """

    positionals = ("checkpoint",)

    checkpoint: Weights = option(
        ...,
        "a run folder of `act3d finetune` or `act3d segment`, its .safetensors, or a released .pth file",
    )
    data: EvaluationData = option(EvaluationData(), "the labelled clouds")
    votes: int = option(
        0,
        "average the logits of this many passes over random, scaled and shifted versions of every cloud: one fixed "
        "vote by `seed`, not the best of many; 0 = one plain pass. For rooms: passes over a whole room; 0 = as in "
        "training",
        ge=0,
    )
    patches: int = option(
        0,
        "patches that a cloud is cut into; 0 = as the checkpoint says. Released files do not say: 128 are assumed for "
        "ScanObjectNN's 15 classes, else 64; ModelNet40 with 8192 points has 512",
        unit="patches",
        ge=0,
    )
    out: Place = option("", "folder to write to; empty = print only")
    seed: int = option(0, "seed of the vote")
    device: str = option("auto", DEVICE_HELP)


class ProbeSettings(Settings, command="probe"):
    """Test an encoder's frozen features by simple classifiers.

    A linear SVM and k nearest neighbours are trained on the features of training shapes and tested on test shapes. The
    same is done for the same encoder with random initialization, for one with data-dependent initialization
    (`--trainer.fit_start`) and no training, and for a plain PointNet with random weights: the differences show what
    pretraining adds. C and k are chosen by cross-validation within the training shapes.
    """

    positionals = ("checkpoint",)

    checkpoint: Weights = option(
        ..., "the encoder: a run folder of `act3d pretrain`, its .safetensors, or a released .pth file"
    )
    data: ProbeData = option(ProbeData(), "the labelled shapes")
    out: Place = option("", "folder for results.json; empty = print only")
    seed: int = option(0, "seed of the random weights, the folds and the points drawn")
    device: str = option("auto", DEVICE_HELP)


class CompareSettings(Settings, command="compare"):
    """Compare runs: mean, spread and best over seeds.

    Runs that differ only in their seed share a row; a quickstart's folder has one for every kind of features.
    NAME=RUN,RUN,... makes a row by hand; one that would mix protocols, datasets or votes is refused. Published numbers
    are shown beside ours where there are some; most of those select the epoch on the test set (protocol legacy).
    """

    positionals = ("runs",)

    runs: list[Place] = option(..., "run folders, or NAME=FOLDER,FOLDER; with * and ? for several")
    metrics: list[str] = option(
        [],
        "metrics to show, such as oa, macc, miou, knn; a run without one has no row for it; empty = the main ones of "
        "each run: accuracies, mIoU of segmenters, the probe of act3d pretrain, Chamfer distances of act3d autoencode",
    )
    out: Place = option("", "also write the table to this file (.json, .csv, .md or .tex); empty = print only")


class ReportSettings(Settings, command="report"):
    """Write one page about finished runs: what they find and rebuild, a map, their numbers, and how they were made.

    Shapes come from the data that a run was trained on, from its test split where it has one. Of several runs the first
    encoder finds shapes alike and is mapped, the first autoencoder rebuilds; the table has a line for every run. The
    folder of a quickstart gives the quickstart's own page again.
    """

    positionals = ("runs",)

    runs: list[Place] = option(..., "finished run folders")
    out: Place = option("", "file to write, .html; empty = report.html in the first run folder")
    device: str = option("auto", DEVICE_HELP)
