"""What one run of the app holds: the library as it is now, its models, its map, and the work in the background."""

import threading
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from act3d.app import landscape
from act3d.app.jobs import JobProgress, Jobs
from act3d.app.library import Library
from act3d.app.models import Models
from act3d.errors import CheckpointError, InputError
from act3d.files import has_index, is_remote, one_writer, plain_path, printable
from act3d.known_models import SHIPPED
from act3d.samples import SAMPLES
from act3d.use.embeddings import made_by
from act3d.use.index import open_index
from act3d.use.reading import Reading, turned, with_turn
from act3d.use.texts import without_names

if TYPE_CHECKING:
    from act3d.settings.app import AppSettings

# Which axis of a file is up after a shape is tipped over by a quarter. Twice is upside down, four times as it was.
TIPS = {
    "forward": {"y": "-z", "-z": "-y", "-y": "z", "z": "y", "x": "-z", "-x": "-z"},
    "sideways": {"y": "x", "x": "-y", "-y": "-x", "-x": "y", "z": "x", "-z": "x"},
}


class Session:
    """A library that is looked at.

    Args:
        settings: Of the command.

    Raises:
        ConfigError: Another encoder than the index's is named.
        InputError: A file of text vectors that is none.
        CheckpointError: An index that cannot be opened, or whose model is gone.
    """

    def __init__(self, settings: "AppSettings") -> None:
        self.settings = settings
        self.place, self.source = _places(settings)
        self.root = plain_path(self.source) if self.source and Path(self.source).is_dir() else None
        self.library: Library | None = None
        self.number = 0  # of the library: the page asks for its columns again when it has changed
        self.jobs = Jobs()
        self._next_look: Future[None] | None = None
        self._map: tuple[int, NDArray[np.float32] | None] = (0, None)
        self._lock = threading.Lock()
        if has_index(self.place):
            self.open()
        made = self.library.index.model if self.library else None
        checkpoint = settings.checkpoint or (self.library.index.checkpoint() if self.library else SHIPPED)
        backend = made_by(made)[1] if made else settings.backend
        remedy = "begin another index by --index NEW_FOLDER" if self.source else ""
        self.models = Models(
            checkpoint, backend, made, settings.classifier, settings.device, settings.text_vectors, remedy
        )

    @property
    def title(self) -> str:
        """What the library is called."""
        return printable(plain_path(self.source or self.place).name)

    @property
    def opened(self) -> Library:
        """The library.

        Raises:
            InputError: There is none yet.
        """
        if self.library is None:
            raise InputError("the shapes are being indexed; nothing can be searched yet")
        return self.library

    @property
    def reading(self) -> Reading:
        """How files of the library are read."""
        data = self.settings.data
        asked = Reading(data.up, data.normalize, data.batch_size, data.workers)
        if self.library is None or self.source:
            return asked
        return self.library.index.reading._replace(batch_size=data.batch_size, workers=data.workers)

    def open(self) -> None:
        """Look at the index as it is now."""
        self.library = Library(open_index(self.place), self.root).read()
        self.number += 1

    def words(self) -> str:
        """Return why words cannot be searched for, or ""."""
        if self.library is None or self.library.index.has_texts:
            return ""
        return f"this index: {without_names(self.library.index.model['kind'])}"

    def refresh(self) -> None:
        """Embed what is new or has changed in the source, in the background.

        Raises:
            InputError: The app was given an index, and knows of no folder.
        """
        if not self.source:
            raise InputError(
                "this is an index without its folder; act3d index, or act3d app FOLDER, brings it up to date"
            )
        if self._next_look is None or self._next_look.running() or self._next_look.done():  # else one waits already
            self._next_look = self.jobs.start("Looking for shapes", self._refresh)

    def _refresh(self, progress: JobProgress) -> None:
        from act3d.use.index_update import update_index
        from act3d.use.shapes import find_shapes

        encoder = self.models.encoder()
        data, reading = self.settings.data, self.reading
        shapes = find_shapes(self.source, encoder, data.split, data.subset, reading)
        with self._writing():
            update_index(self.place, encoder, shapes, reading, progress=progress)
        self.open()

    def tip(self, row: int, how: str) -> str:
        """Turn a shape by a quarter, embed it anew, and keep that in the background; return its new up axis.

        Args:
            row: Of the library.
            how: "forward", "sideways", or "reset": as its file is read by default.

        Raises:
            InputError: Its file is not to be had.
        """
        library = self.opened
        path, stamp, place = library.paths[row], library.columns["stamp"][row], library.places[row]
        if not path:
            raise InputError("this shape comes from a prepared dataset; only shapes of files can be turned")
        if self.root is not None and not Path(path).is_relative_to(self.root):
            raise InputError(f"{place} does not lie in {self.root}")
        reading = self.reading
        own = turned(stamp)
        seen = self.models.see(Path(path), path, reading._replace(up=own or reading.up))
        up = "" if how == "reset" else TIPS[how][seen.up]
        seen = self.models.see(Path(path), path, reading._replace(up=up or reading.up))
        library.columns["stamp"][row] = with_turn(stamp, up)
        library.replace(row, seen.points, library.index.scaling(seen.embedding[None])[0])
        self.jobs.start("Keeping how a shape stands", lambda progress: self._keep(library, row, progress))
        return seen.up

    def _keep(self, library: Library, row: int, progress: JobProgress) -> None:
        """Write a turned shape into the index."""
        from act3d.use.index_update import update_index
        from act3d.use.shapes import Item, Shapes

        name, label, split, stamp = (library.columns[key][row] for key in ("name", "class", "split", "stamp"))
        item = Item(name, label, split, library.paths[row], stamp)
        with self._writing():
            update_index(
                self.place, self.models.encoder(), Shapes([item]), self.reading, progress=progress, keep_turns=False
            )

    def _writing(self) -> AbstractContextManager[None]:
        return nullcontext() if is_remote(self.place) else one_writer(Path(self.place))

    def map(self) -> NDArray[np.float32] | None:
        """Return the place (S, 2) of every shape; None while they are found, in the background."""
        number, places = self._map
        with self._lock:
            if number != self.number:
                self._map = (self.number, None)
                threading.Thread(target=self._find_places, args=(self.number, self.opened), daemon=True).start()
                return None
        return places

    def _find_places(self, number: int, library: Library) -> None:
        places = landscape.positions(library.vectors)
        with self._lock:
            if self._map[0] == number:
                self._map = (number, places)

    def place_of(self, vector: NDArray[np.float32]) -> list[float] | None:
        """Return where a unit vector (F,) lies on the map, if the map is known."""
        _, places = self._map
        library = self.opened
        if places is None or len(places) != len(library):
            return None
        return [float(value) for value in landscape.place(library.vectors @ vector, places)]


def _places(settings: "AppSettings") -> tuple[str, str]:
    """Return the place of the index, and what it is made of ("" = it was given itself)."""
    source = settings.source.rstrip("/") or settings.source
    if has_index(source):
        return source, ""
    if not Path(source).exists() and source not in SAMPLES:
        raise CheckpointError(f"{source}: no such folder or index")
    return settings.index or f"{source}-index", source
