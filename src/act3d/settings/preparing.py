"""Settings of the commands about data and the installation: prepare, check-data, quickstart, teach, doctor."""

from typing import Literal

from act3d.settings.data import ENGINE_HELP, Engine
from act3d.settings.model import Settings, option
from act3d.settings.places import Dataset, Existing, Place


class PrepareSettings(Settings, command="prepare"):
    """Turn a folder of meshes and point clouds into a dataset ready for training.

    Points are spread evenly over each surface by area and stored y-up, centred, in the unit sphere, together with the
    original centre and scale. Reads obj, ply, stl, off, glb, gltf, dae, 3mf, wrl, LDraw's dat and ldr, npy, npz, xyz,
    pts and pcd. One subfolder is one class; train and test folders above or below the classes are kept. A file that
    cannot be read is listed with its reason in failures.csv and does not stop the others. A killed run continues
    when started again, and gives the same bytes. The page OUT.shapes.html shows
    what they look like, whether they stand upright, and odd ones.

    Rooms for act3d segment: s3dis turns S3DIS's raw annotations into stanford_indoor3d; synthetic-rooms furnishes rooms
    with Sweet Home 3D's models, scans them, and writes them in S3DIS's layout, raw and converted; scenes takes a folder
    of your own labelled clouds (npy, ply, las, laz) and a list of classes.
    """

    positionals = ("source",)

    source: Existing = option(
        ...,
        "folder with the models. For kicad, sweethome3d and ldraw: the unpacked Debian package (or its folder "
        "3dmodels, furniture or ldraw), or the .deb file itself",
    )
    out: Place = option(..., "folder to write. An existing dataset is never touched unless overwrite or extend is set")
    format: Literal[
        "auto", "folder", "kicad", "sweethome3d", "ldraw", "objaverse", "s3dis", "synthetic-rooms", "scenes"
    ] = option(
        "auto",
        "what the source is; auto looks for S3DIS, KiCad libraries, Sweet Home 3D catalogs, LDraw's parts and "
        "Objaverse's downloads, else takes any folder of models. Synthetic-rooms and scenes have to be asked for",
    )
    points: int = option(8192, "points stored per model", unit="points", ge=1)
    up: Literal["auto", "x", "y", "z"] = option(
        "auto", "the up axis in the files; auto takes what a file says of itself, z for KiCad, else y"
    )
    scale: float | None = option(
        None,
        "factor on the coordinates, for instance 0.001 from millimetres to metres (default: 2.54 for KiCad, which "
        "counts tenths of an inch, 0.4 for LDraw, else 1)",
        gt=0,
    )
    unit: str | None = option(None, "name of the unit after scaling, for the record")
    normalization: Literal["unit_sphere", "none"] = option(
        "unit_sphere",
        "how clouds are given when the dataset is read: unit_sphere (centred, largest radius 1) or none (original size "
        "and place)",
    )
    test_fraction: float = option(
        0.2, "part of each class that becomes the test split when the folders name none", ge=0, lt=1
    )
    captions: Place = option(
        "",
        "table with a text a shape, for act3d align: CSV, JSON or parquet with the columns name (or file) and caption",
    )
    parts: Place = option(
        "",
        "part labels: groups (OBJ groups, glTF nodes, CAD solids), materials, points (a whole-number property of PLY "
        "vertices, parts of npz), or your own CSV with the columns group and part, and file where files differ",
    )
    assembly: Literal["one", "each"] = option(
        "one", "a file of several groups, nodes or solids becomes one shape, or each of them one"
    )
    channels: str = option(
        "xyz",
        "what is stored of every point: xyz, with normal and rgb behind it where files have them, as in "
        "xyz,normal,rgb. A mesh has the normals of its faces and the colours of its materials or vertices",
    )
    dtype: Literal["float16", "float32"] = option(
        "float16", "number type on disk; float16 is precise to 0.0005 of the radius"
    )
    engine: Engine = option("local", ENGINE_HELP)
    workers: int | None = option(
        None, "processes that read models, with Ray on all machines together (default: one per CPU core)", ge=1
    )
    seed: int = option(0, "seed of the sampled points and of the test split")
    overwrite: bool = option(False, "replace a dataset at out, once the new one is complete")
    extend: bool = option(
        False,
        "as overwrite, but keep the clouds of files that have not changed: only the others are read, and the result is "
        "as if all were",
    )
    classes: Place = option("", 'for scenes: text file with the classes, one a line, "name" or "value name"')
    label: str = option(
        "",
        "for scenes: the label's column (npy, from 0) or property (ply, las); by default the last column, or a "
        "property called label, class, classification ...",
    )
    rooms: int = option(30, "for synthetic-rooms: number of rooms", unit="rooms", ge=1)
    room_points: int = option(150_000, "for synthetic-rooms: points of a room, about", unit="points", ge=1)


class CheckDataSettings(Settings, command="check-data"):
    """Check a dataset before training on it.

    Prints which dataset and variant a folder holds, counts clouds and classes in every split, names what is missing,
    cut off or wrong, and prints the fingerprint that is written into every result from this data. Every file is
    checked and read whole, except ModelNet40's text files while their cache is not made yet.
    """

    positionals = ("root",)

    root: Dataset = option(
        ...,
        "folder with a prepared dataset or a released one (ShapeNet-55, ModelNet40, few-shot folds, ScanObjectNN, "
        'ShapeNetPart), rooms of S3DIS, URL of a prepared one, or "sample"',
    )
    page: Place = option(
        "",
        "file for a page that shows the shapes or rooms, their sizes and odd ones out; empty = ROOT.shapes.html beside "
        "the folder, but none for the sample or a URL; none = no page",
    )
    card: Place = option(
        "", "file for the card of a prepared dataset for the Hugging Face Hub, README.md; empty = none"
    )


class QuickstartSettings(Settings, command="quickstart"):
    """See what the encoder that comes with act3d can do, then teach one from nothing by ACT, in minutes.

    First act3d-small on furniture: search by shape and by words, naming, learning from few labels; `furniture.html`.
    Then both stages of ACT on electronic parts, with a pretrained text Transformer as teacher, and a linear SVM on
    frozen features of test shapes: of the pretrained encoder, of the same encoder at random and at data-dependent
    initialization, and of a plain baseline; a table and `report.html`. A second call continues where the first one
    stopped and keeps finished runs.
    """

    out: Place = option("runs/quickstart", "folder for all runs and the report")
    seeds: int = option(
        1,
        "how often ACT is repeated; the spread over three shows how large a difference must be to mean something",
        unit="seeds",
        ge=1,
    )
    furniture: bool = option(True, "begin with act3d-small on furniture; false = ACT alone")
    stage1: Place = option("small/autoencode", "preset or YAML file of stage I")
    stage2: Place = option("small/pretrain", "preset or YAML file of stage II")
    root: Dataset = option("sample", 'dataset with labels and the splits train and test; "sample" = the shipped one')
    fresh: bool = option(False, "start again; the content of `out` is kept under another name")


class TeachSettings(Settings, command="teach"):
    """Turn a folder of shapes into an encoder of them, an index to search, and a page: the whole way in one command.

    Prepares the shapes, trains stage I and stage II on them, tests frozen features where there are class folders,
    indexes the shapes, and writes `report.html`. The encoder starts from act3d-small, which comes with act3d, and
    learns the names of files and folders too (name-supervised); `--stage2 small/pretrain` teaches a fresh one, without
    names. How long it takes is estimated and printed first; training is as long as the number of shapes asks for. A
    second call continues where the first one stopped and keeps finished steps.
    """

    positionals = ("source",)

    source: Existing = option(
        ..., "folder of meshes and clouds, one subfolder a class if there are classes, or a prepared dataset"
    )
    out: Place = option("runs/teach", "folder for the data, all runs, the index and the page")
    up: Literal["auto", "x", "y", "z"] = option(
        "auto", "the up axis in the files; auto takes what a file says of itself, z for KiCad, else y"
    )
    stage1: Place = option("small/autoencode", "preset or YAML file of stage I")
    stage2: Place = option(
        "small/pretrain,small/pretrain-started",
        "presets or YAML files of stage II, separated by commas; later ones win",
    )
    seed: int = option(0, "seed of all randomness")
    fresh: bool = option(False, "start again; the content of `out` is kept under another name")


class DoctorSettings(Settings, command="doctor"):
    """List what is installed and what is missing, and check a small computation against stored numbers."""

    as_json: bool = option(False, "print JSON instead of a table", alias="json")
