"""Settings of `act3d app`."""

from act3d.known_models import SHIPPED
from act3d.settings.data import ReadData
from act3d.settings.evaluation import DEVICE_HELP
from act3d.settings.model import Settings, option
from act3d.settings.places import Place, PlaceOrUrl, Weights
from act3d.settings.using import BACKEND_HELP, ENCODER_HELP, Backend


class AppSettings(Settings, command="app"):
    """Open a library of shapes in the browser: look, filter, search by shape or by words, drop a file, turn, export.

    A folder is indexed first, in the background; a second start embeds only new or changed files. The page is served to
    this machine alone (127.0.0.1). Ctrl-C ends it.
    """

    positionals = ("source",)

    source: PlaceOrUrl = option(..., "a folder of meshes and clouds, a prepared dataset, or an index")
    checkpoint: Weights = option("", ENCODER_HELP + "; empty = the index's own, for a new one " + SHIPPED)
    index: PlaceOrUrl = option("", "folder of the index of a folder; empty = beside it, FOLDER-index")
    classifier: Weights = option(
        "", "names the files that are dropped; without one the labelled shapes nearest to them do"
    )
    text_vectors: Place = option(
        "", "an .npz with the vectors of words (act3d export --format texts): these can be searched for without MiniLM"
    )
    data: ReadData = option(ReadData(), "how shapes are read")
    port: int = option(0, "on 127.0.0.1; 0 = any that is free", ge=0, le=65535)
    show: bool = option(True, "open the page in the browser")
    device: str = option("auto", DEVICE_HELP)
    backend: Backend = option("torch", BACKEND_HELP)
