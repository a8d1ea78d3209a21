"""Settings of the commands that use a trained model: embed, index, search, predict, export, convert, inspect."""

from typing import Literal

from act3d.settings.data import ReadData
from act3d.settings.evaluation import DEVICE_HELP
from act3d.settings.model import Settings, option
from act3d.settings.places import Dataset, Existing, Place, Shapes, Weights, WeightsOrIndex

Axis = Literal["auto", "x", "y", "z"]

ENCODER_HELP = "a student or classifier: run folder, .safetensors, or a released .pth file"
MODEL_HELP = "run folder, .safetensors, or a released .pth file"


class EmbedSettings(Settings, command="embed"):
    """Write the embedding of every shape of a file, a folder, a glob pattern or a prepared dataset.

    Meshes and point clouds are read, sampled and normalized as the model's training data were. A file that cannot be
    read is reported and left out. A second run continues where the first one stopped, and embeds only new or changed
    shapes.
    """

    positionals = ("input",)

    input: Shapes = option(
        ..., 'a mesh or cloud, a folder, a quoted pattern such as "parts/**/*.obj", a prepared dataset, or sample'
    )
    checkpoint: Weights = option(..., ENCODER_HELP)
    out: Place = option(..., "table to write: .npz, or .parquet (needs pyarrow)")
    data: ReadData = option(ReadData(), "how shapes are read")
    device: str = option("auto", DEVICE_HELP)


class IndexSettings(Settings, command="index"):
    """Make a collection searchable, or bring its index up to date.

    Every shape is embedded; the folder written holds the vectors, a faiss index, and a small cloud of every shape for
    pictures. A second run with the same --out reads only new or changed files, adds those of another INPUT, and drops
    files that are gone. Where shapes have classes (from the dataset, or the names of
    subfolders), the quality of search is measured and printed.
    """

    positionals = ("input",)

    input: Shapes = option(..., 'a folder, a quoted pattern such as "parts/**/*.obj", a prepared dataset, or sample')
    checkpoint: Weights = option(..., ENCODER_HELP)
    out: Place = option(..., "folder of the index")
    data: ReadData = option(ReadData(), "how shapes are read")
    device: str = option("auto", DEVICE_HELP)


class SearchSettings(Settings, command="search"):
    """Find the shapes of an indexed collection that are nearest to a mesh or cloud.

    Prints a table; writes JSON and a page with pictures on demand. A query whose own file is in the index finds
    itself first. A shape of the index that is given by its name needs no model.
    """

    positionals = ("query",)

    query: Place = option(
        ...,
        "a mesh or cloud, a folder or quoted pattern of them, a prepared dataset, or the name of an indexed shape",
    )
    index: Existing = option(..., "folder that `act3d index` wrote")
    k: int = option(10, "how many shapes to show", unit="shapes", ge=1)
    up: Axis = option("auto", "up axis of the query's file; auto = as in the files that the model was trained on")
    checkpoint: Weights = option("", "the model, if it is no longer where the index found it")
    json_file: Place = option("", 'file for the answer as JSON; "-" prints it instead of the table', alias="json")
    page: Place = option("", "file for the answer as an HTML page with pictures")
    split: str = option("", "of a prepared dataset given as query")
    limit: int = option(0, "at most this many queries; 0 = all", ge=0)
    device: str = option("auto", DEVICE_HELP)


class PredictSettings(Settings, command="predict"):
    """Classify shapes (a classifier), by any words (an aligned model), or label their points (a segmenter).

    A classifier prints classes with probabilities, and so does a model of `act3d align` for the words in --labels; with
    --out they are written as .csv or .json. A segmenter writes a coloured PLY file of every shape, with the label of
    every point.
    """

    positionals = ("input",)

    input: Shapes = option(
        ..., 'a mesh or cloud, a folder, a quoted pattern such as "parts/**/*.obj", or a prepared dataset'
    )
    checkpoint: Weights = option(
        ..., "a classifier, segmenter or aligned model: run folder, .safetensors, or a released .pth file"
    )
    out: Place = option("", "of a classifier: .csv or .json file; of a segmenter: a .ply file, or a folder for several")
    labels: str = option(
        "", 'of an aligned model (act3d align): words to choose from, separated by commas, such as "chair,table,lamp"'
    )
    category: str = option("", "of a segmenter of parts: the category of the shapes, by name or number")
    top: int = option(5, "how many classes to show; all of them are written", ge=1)
    up: Axis = option("auto", "up axis of the files; auto = as in the files that the model was trained on")
    normalize: Literal["auto", "unit_sphere", "none"] = option("auto", "auto = as the model's training clouds")
    split: str = option("", "of a prepared dataset given as input")
    batch_size: int = option(16, "shapes at once", unit="shapes", ge=1)
    device: str = option("auto", DEVICE_HELP)


class ExportSettings(Settings, command="export"):
    """Write a model as ONNX: input points (B, N, 3) for any B and N, output as of the model.

    Sampling and grouping are inside the file. Its outputs are compared with PyTorch's by onnxruntime before it is kept.
    A segmenter of parts takes a second input, category (B,).
    """

    positionals = ("checkpoint",)

    checkpoint: Weights = option(..., MODEL_HELP)
    out: Place = option(..., "file to write, .onnx; with --int8 a second one, .int8.onnx, beside it")
    format: Literal["onnx"] = option("onnx", "of the file")
    int8: bool = option(False, "also write a copy with int8 matrix products, and measure what that costs")
    data: Dataset = option(
        "",
        "labelled dataset to compare on, and to measure that cost on: a folder, or sample; empty = the data that the "
        "model was trained on, else the sample",
    )
    split: str = option("test", "of that dataset")
    limit: int = option(160, "at most this many of its clouds", unit="clouds", ge=2)


class ConvertSettings(Settings, command="convert"):
    """Write any checkpoint that act3d reads as one native file, which holds its config and needs no other file."""

    positionals = ("checkpoint",)

    checkpoint: Weights = option(
        ..., "a released .pth file of ACT, Point-MAE, Point-BERT or ReCon, or a native checkpoint"
    )
    out: Place = option(..., "file to write, .safetensors")
    classes: Place = option(
        "", "class names, separated by commas, or a text file with one a line: released files do not hold them"
    )
    licence: str = option("", "of the weights, to be kept inside")
    points: int = option(0, "points a cloud that the model was trained with; 0 = as in its recipe", unit="points", ge=0)


class InspectSettings(Settings, command="inspect"):
    """Show a checkpoint: kind, config, parameters, operations, missing and left-over weights; or an index."""

    positionals = ("checkpoint",)

    checkpoint: WeightsOrIndex = option(..., MODEL_HELP + "; or the folder of an index")
    header: bool = option(False, "only what the file itself says, without building the model: many times as fast")
    as_json: bool = option(False, "print JSON instead of a table", alias="json")
