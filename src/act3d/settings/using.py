"""Settings of the commands that use a trained model: embed, index, search, predict, export, convert, inspect."""

from typing import Literal, Self

from pydantic import model_validator

from act3d.errors import ConfigError
from act3d.known_models import SHIPPED
from act3d.settings.data import ENGINE_HELP, Engine, ReadData
from act3d.settings.evaluation import DEVICE_HELP
from act3d.settings.model import Settings, option
from act3d.settings.places import Dataset, IndexPlace, Place, PlaceOrUrl, Shapes, Weights, WeightsOrIndex

Axis = Literal["auto", "x", "y", "z"]

Backend = Literal["torch", "onnx", "onnx-int8"]

BACKEND_HELP = (
    "what computes embeddings: torch, or onnxruntime on the CPU in float32 (onnx) or int8 (onnx-int8; its loss "
    "is measured and printed); both need act3d[onnx] and export the encoder once, beside the checkpoint"
)
ENCODER_HELP = "a student or classifier: run folder, .safetensors, a released .pth file, or a name (act3d.list_models)"
MODEL_HELP = "run folder, .safetensors, a released .pth file, or a name (act3d.list_models)"


class EmbedSettings(Settings, command="embed"):
    """Write the embedding of every shape of a file, a folder, a glob pattern or a prepared dataset.

    Meshes and point clouds are read, sampled and normalized as the model's training data were. A file that cannot be
    read is reported and left out. A second run continues where the first one stopped, and embeds only new or changed
    shapes.
    """

    positionals = ("input",)
    in_place = ("checkpoint",)

    input: Shapes = option(
        ..., 'a mesh or cloud, a folder, a quoted pattern such as "parts/**/*.obj", a prepared dataset, or sample'
    )
    checkpoint: Weights = option(SHIPPED, ENCODER_HELP)
    out: Place = option(..., "table to write: .npz, or .parquet (needs pyarrow)")
    data: ReadData = option(ReadData(), "how shapes are read")
    device: str = option("auto", DEVICE_HELP)
    backend: Backend = option("torch", BACKEND_HELP)
    engine: Engine = option("local", ENGINE_HELP)


class IndexSettings(Settings, command="index"):
    """Make a collection searchable, or bring its index up to date.

    Every shape is embedded and becomes a row of a table in LanceDB: its names, class, file, size, embedding, and a
    small cloud for pictures. A second run with the same --out reads only new or changed files, adds those of another
    INPUT, and drops files that are gone; until it ends, readers see the old index whole. Where shapes have classes
    (from the dataset, or the names of subfolders), the quality of search is measured and printed.
    """

    positionals = ("input",)
    in_place = ("checkpoint",)

    input: Shapes = option(..., 'a folder, a quoted pattern such as "parts/**/*.obj", a prepared dataset, or sample')
    checkpoint: Weights = option(SHIPPED, ENCODER_HELP)
    out: PlaceOrUrl = option(..., "folder of the index, or a URI such as s3://bucket/index")
    labels: Place = option(
        "",
        "words of which every shape gets the nearest, as column zero_shot: separated by commas, a text file with one a "
        "line, or an .npz with their vectors; needs a model that learnt names (act3d align)",
    )
    data: ReadData = option(ReadData(), "how shapes are read")
    device: str = option("auto", DEVICE_HELP)
    backend: Backend = option("torch", BACKEND_HELP)


class SearchSettings(Settings, command="search"):
    """Find the shapes of an indexed collection that are nearest to a mesh or cloud, to words, or to both.

    Prints a table; writes JSON and a page with pictures on demand. A query whose own file is in the index finds
    itself first. A shape of the index that is given by its name needs no model. Words are understood where the index
    was made by a model that learnt names (act3d align). --where keeps only some shapes, by SQL over the columns name,
    class, split, path, text, width, height, depth, zero_shot and zero_shot_probability; alone, it lists them.
    """

    positionals = ("shape",)

    shape: Place = option(
        "",
        "a mesh or cloud, a folder or quoted pattern of them, a prepared dataset, or the name of an indexed shape",
    )
    index: IndexPlace = option(..., "what `act3d index` wrote: a folder, or a URI such as s3://bucket/index")
    text: str = option("", 'what shapes are to be like, in words, such as "flat washer"')
    without: str = option("", 'what they are not to be like; phrases are separated by commas: "round,with a hole"')
    text_weight: float = option(0.5, "share of --text where a shape is given as well", ge=0, le=1)
    without_weight: float = option(0.5, "how much of --without is taken away", ge=0, le=2)
    text_vectors: Place = option(
        "", "an .npz with the vectors of these words (act3d export --format texts), which saves loading the model"
    )
    named: str = option("", "words that names, classes or captions hold; needs no model")
    where: str = option("", """filter, such as "class = 'qfn' and height < 3"; sizes are in the files' own units""")
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
    in_place = ("checkpoint",)

    input: Shapes = option(
        ..., 'a mesh or cloud, a folder, a quoted pattern such as "parts/**/*.obj", or a prepared dataset'
    )
    checkpoint: Weights = option(SHIPPED, "a classifier, segmenter or model that learnt names: " + MODEL_HELP)
    out: Place = option("", "of a classifier: .csv or .json file; of a segmenter: a .ply file, or a folder for several")
    labels: Place = option(
        "",
        'of an aligned model (act3d align): words to choose from, separated by commas, such as "chair,table,lamp", a '
        "text file with one a line, or an .npz with their vectors (act3d export --format texts)",
    )
    category: str = option("", "of a segmenter of parts: the category of the shapes, by name or number")
    top: int = option(5, "how many classes to show; all of them are written", ge=1)
    up: Axis = option("auto", "up axis of the files; auto = as in the files that the model was trained on")
    normalize: Literal["auto", "unit_sphere", "none"] = option("auto", "auto = as the model's training clouds")
    split: str = option("", "of a prepared dataset given as input")
    batch_size: int = option(16, "shapes at once", unit="shapes", ge=1)
    device: str = option("auto", DEVICE_HELP)


class ShowSettings(Settings, command="show"):
    """Draw a figure of a checkpoint and any shapes: a page (.html) whose clouds can be turned, .png, .pdf, .svg, or
    .webp and .gif, whose clouds turn by themselves.

    reconstruct: input, and coarse and fine reconstruction of one or more autoencoders, with F-score and Chamfer
    distances. map: embeddings of any encoder in two dimensions; in .html a dot shows its shape. masks: visible patches,
    what a student predicts, and the cosine of every hidden patch. attention: what the class token looks at, by block
    and head. codes: codes in use, perplexity, and shapes by code. parts: predicted parts beside the true ones. data: a
    dataset's classes, sizes and odd ones out; needs no checkpoint. neighbors: the nearest shapes of a collection, by
    one or more encoders. Numbers below a picture come from the code that evaluates models.
    """

    positionals = ("kind", "input")

    kind: Literal["reconstruct", "map", "masks", "attention", "codes", "parts", "data", "neighbors"] = option(
        ..., "what the figure shows, see above"
    )
    input: Shapes = option(
        ..., 'a mesh or cloud, a folder, a quoted pattern such as "parts/**/*.obj", a prepared dataset, or sample'
    )
    checkpoint: list[Place] = option(
        [], "the model: run folder, .safetensors, or a released .pth file; reconstruct and neighbors take several"
    )
    out: Place = option(
        "figure.html", "file to write: .html, .png, .pdf or .svg, or .webp or .gif, which turn by themselves"
    )
    teacher: Weights = option("", "for masks: the student's autoencoder; empty = the one in the student's run folder")
    among: Shapes = option("", "for neighbors: the collection that is searched; empty = the input itself")
    split: str = option("", "of a prepared dataset: train, test ...; empty = the test split, for map all of them")
    subset: str = option("", 'a named part of a prepared dataset, such as "core" in the KiCad collection')
    up: Axis = option("auto", "up axis of the files; auto = as in the files that the model was trained on")
    rows: int = option(4, "shapes shown, evenly spread over the classes", unit="shapes", ge=1)
    columns: int = option(5, "for codes, data and neighbors: shapes in a row", unit="shapes", ge=1)
    limit: int = option(2000, "for map: at most so many shapes", unit="shapes", ge=5)
    method: Literal["tsne", "umap"] = option("tsne", "for map; umap needs the package umap-learn")
    blocks: list[int] = option([], "for attention: blocks, from 1; empty = first, middle and last")
    heads: list[int] = option([], "for attention: heads, from 1; empty = the mean over heads")
    mask_ratio: float = option(0.8, "for masks: share of patches that is hidden", gt=0, lt=1)
    width: float = option(7.0, "of the figure; 3.25 fits a column, 7 a page", unit="inches", ge=1, le=40)
    theme: Literal["light", "dark"] = option("light", "ground of pictures; .html follows its reader's")
    seed: int = option(0, "seed of the mask and of the map")
    device: str = option("auto", DEVICE_HELP)


class ExportSettings(Settings, command="export"):
    """Write a model as ONNX: input points (B, N, 3) for any B and N, output as of the model.

    Sampling and grouping are inside the file. Its outputs are compared with PyTorch's by onnxruntime before it is kept.
    A segmenter of parts takes a second input, category (B,). A model that learnt names (act3d align) also gives
    text_vector, to be compared with those of texts; --format texts writes these for given words, as a table that
    predict and index (--labels) and search (--text_vectors) take where the text Transformer is not installed.
    """

    positionals = ("checkpoint",)

    checkpoint: Weights = option(..., MODEL_HELP)
    out: Place = option(..., "file to write, .onnx; with --int8 a second one, .int8.onnx, beside it; of texts, .npz")
    format: Literal["onnx", "texts"] = option("onnx", "onnx: the model; texts: vectors of the words in --labels")
    labels: Place = option("", "for --format texts: words separated by commas, or a text file with one a line")
    int8: bool = option(False, "also write a copy with int8 matrix products, and measure what that costs")
    data: Dataset = option(
        "",
        "labelled dataset to compare on, and to measure that cost on: a folder, or sample; empty = the data that the "
        "model was trained on, else the sample",
    )
    split: str = option("test", "of that dataset")
    limit: int = option(160, "at most this many of its clouds", unit="clouds", ge=2)

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.labels and self.format != "texts":
            raise ConfigError("labels: words are written by --format texts, to a file of their own")
        if self.int8 and self.format == "texts":
            raise ConfigError("int8: a model is quantized, not its texts; leave out --format texts or --int8")
        return self


class ConvertSettings(Settings, command="convert"):
    """Write any checkpoint that act3d reads as one native file, which holds its config and needs no other file."""

    positionals = ("checkpoint",)

    checkpoint: Weights = option(
        ..., "a released file of ACT, Point-MAE, Point-BERT or ReCon, one of torch-pointcloud, or a native checkpoint"
    )
    out: Place = option(..., "file to write, .safetensors")
    classes: Place = option(
        "", "class names, separated by commas, or a text file with one a line: released files do not hold them"
    )
    licence: str = option("", "of the weights, to be kept inside")
    points: int = option(0, "points a cloud that the model was trained with; 0 = as in its recipe", unit="points", ge=0)
    patches: int = option(
        0,
        "patches that clouds are cut into from now on; 0 = as in training; weights fit any number",
        unit="patches",
        ge=0,
    )
    difference_from: Weights = option(
        "", "write only what differs from the encoder of this checkpoint, which is then needed to load the file"
    )
    base: Weights = option("", "of a checkpoint that is such a difference: where its base is, if not where it was")


class InspectSettings(Settings, command="inspect"):
    """Show a checkpoint: kind, config, parameters, operations, missing and left-over weights; or an index."""

    positionals = ("checkpoint",)

    checkpoint: WeightsOrIndex = option(..., MODEL_HELP + "; or the folder of an index")
    header: bool = option(False, "only what the file itself says, without building the model: many times as fast")
    as_json: bool = option(False, "print JSON instead of a table", alias="json")
