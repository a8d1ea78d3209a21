"""The server of the page: its files, and what its scripts ask for. It gives away rows of the index and small clouds of
them, and no file."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from act3d.app.exports import MOST_SHARED, as_csv, as_page
from act3d.app.gate import Gate
from act3d.app.session import TIPS, Session
from act3d.errors import Act3dError, InputError
from act3d.files import printable
from act3d.readers.by_suffix import READERS
from act3d.report import viewer
from act3d.report.viewer import encode
from act3d.use.reading import turned

LARGEST = 256 << 20  # bytes of a file that is dropped
FOUND = 200  # shapes that a search shows
BESIDE = 8  # shapes beside one that was chosen
PAGE = Path(__file__).parent / "page"
TEMPLATES = Path(viewer.__file__).parent / "templates"
FILES = {
    "/": (PAGE / "index.html", "text/html"),
    **{f"/{name}.js": (PAGE / f"{name}.js", "text/javascript") for name in ("main", "grid", "panel", "ask")},
    "/app.css": (PAGE / "app.css", "text/css"),
    "/style.css": (TEMPLATES / "style.css", "text/css"),
    "/viewer.js": (TEMPLATES / "viewer.js", "text/javascript"),
}
T = TypeVar("T")
Axis = Literal["auto", "x", "y", "z", "-x", "-y", "-z"]


class Tip(BaseModel):
    """A shape is to be turned."""

    id: str
    how: Literal["forward", "sideways", "reset"]


class Export(BaseModel):
    """Shapes are to be written, in this order, with the similarity of each where there is one."""

    kind: Literal["csv", "html"]
    title: str
    ids: list[str]
    similarity: list[float] | None = None


class Work(BaseModel):
    """The work in the background is to start or stop."""

    what: Literal["start", "stop"]


def build_server(session: Session, port: int) -> Gate:
    """Return the ASGI application, behind its gate."""
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    server.add_exception_handler(Act3dError, _refused)
    for path, (file, kind) in FILES.items():
        server.add_api_route(path, _giving(file, kind))
    _add_looking(server, session)
    _add_doing(server, session)
    return Gate(server, port)


def _add_looking(server: FastAPI, session: Session) -> None:
    """Add what only looks."""

    @server.get("/api/state")
    def state() -> dict[str, Any]:
        library = session.library
        return {
            "title": session.title, "number": session.number, "shapes": len(library) if library else 0,
            "job": session.jobs.about(), "refresh": bool(session.source), "words": session.words(),
            "phrases": session.models.phrases(),
            "suffixes": list(READERS), "shared": MOST_SHARED,
        }  # fmt: skip

    @server.get("/api/rows")
    def rows() -> dict[str, Any]:
        library = session.opened
        return {
            "number": session.number, "ids": library.ids, "names": library.names, "classes": library.classes,
            "labels": library.labels.tolist(), "places": [printable(place) for place in library.places],
            "texts": library.columns["text"],
        }  # fmt: skip

    @server.get("/api/clouds")
    def clouds(ids: str) -> Response:
        library = session.opened
        asked = [library.row(id) for id in ids.split(",")]
        return Response(library.clouds[asked].tobytes(), media_type="application/octet-stream")

    @server.get("/api/shape")
    def shape(id: str, k: int = BESIDE) -> dict[str, Any]:
        library = session.opened
        row = library.row(id)
        found = library.nearest(library.vectors[row], min(k, FOUND), without=row)
        places = session.map()
        return {
            **_hits(session, found), "path": printable(library.paths[row]),
            "turned": turned(library.columns["stamp"][row]),
            "size": [library.columns[name][row] for name in ("width", "height", "depth")],
            "classes": library.vote(library.vectors[row], row) if library.classes else [], "by": "labels",
            "place": None if places is None else places[row].tolist(),
        }  # fmt: skip

    @server.get("/api/words")
    def words(text: str) -> dict[str, Any]:
        if session.words():
            raise InputError(session.words())
        return _hits(session, session.opened.meant(session.models.texts(text), FOUND))

    @server.get("/api/map")
    def places() -> dict[str, Any]:
        found = session.map()
        return {"number": session.number, "places": None if found is None else found.round(4).tolist()}


def _add_doing(server: FastAPI, session: Session) -> None:
    """Add what changes something, or takes a file."""
    readers = anyio.CapacityLimiter(2)

    @server.post("/api/work")
    def work(asked: Work) -> dict[str, Any]:
        if asked.what == "stop":
            session.jobs.stop()
        else:
            session.refresh()
        return session.jobs.about()

    @server.post("/api/tip")
    def tip(asked: Tip) -> dict[str, Any]:
        return {"up": session.tip(session.opened.row(asked.id), asked.how)}

    @server.post("/api/export")
    def export(asked: Export) -> Response:
        library = session.opened
        found = [library.row(id) for id in asked.ids]
        made = as_csv(library, found, asked.similarity) if asked.kind == "csv" else ""
        made = made or as_page(library, found, asked.similarity, asked.title)
        return Response(made, media_type={"csv": "text/csv", "html": "text/html"}[asked.kind])

    @server.post("/api/drop")
    async def drop(request: Request, name: str, up: Axis = "auto") -> Response:
        name = printable(name)
        suffix = Path(name).suffix.lower()
        if suffix not in READERS:
            raise InputError(f"{name}: suffix {suffix!r} is not known; allowed: {', '.join(READERS)}")
        with tempfile.TemporaryDirectory(prefix="act3d-") as folder:
            path = Path(folder, f"dropped{suffix}")
            await _receive(request, path, name)
            async with readers:
                found = await _unless_gone(request, lambda stopped: _seen(session, path, name, up, stopped))
        return Response(status_code=499) if found is None else JSONResponse(found)


def _seen(session: Session, path: Path, name: str, up: str, stopped: threading.Event) -> dict[str, Any]:
    """What there is to say of a file that was dropped."""
    library, reading = session.opened, session.reading
    if up != "auto":
        reading = reading._replace(up=up)
    seen = session.models.see(path, name, reading, stopped)
    vector = library.index.scaling(seen.embedding[None])[0]
    classes = session.models.classify(path, name, reading, stopped)
    by = "classifier" if classes is not None else "labels"
    if classes is None:
        classes = library.vote(vector) if library.classes else []
    found = library.nearest(vector, FOUND)
    return {
        **_hits(session, found), "name": name, "up": seen.up, "notes": seen.notes, "by": by, "classes": classes[:5],
        "tips": {how: turns[seen.up] for how, turns in TIPS.items()}, "place": session.place_of(vector),
        "cloud": encode(seen.points)["p"],
    }  # fmt: skip


def _hits(session: Session, found: Any) -> dict[str, Any]:
    return {"ids": [session.opened.ids[row] for row in found.rows], "similarity": found.similarity}


async def _receive(request: Request, path: Path, name: str) -> None:
    """Write what a request sends to a file.

    Raises:
        InputError: It is larger than a file may be.
    """
    size = 0
    with path.open("wb") as file:
        async for part in request.stream():
            size += len(part)
            if size > LARGEST:
                raise InputError(f"{name}: larger than the {LARGEST >> 20} MiB that a dropped file may have")
            file.write(part)


async def _unless_gone(request: Request, work: Callable[[threading.Event], T]) -> T | None:
    """Return what `work` gives in a thread, or None once nobody waits for it; it is then told to stop."""
    stopped = threading.Event()
    found: list[T] = []
    refused: list[Act3dError] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while not await request.is_disconnected():
                await anyio.sleep(0.1)
            stopped.set()

        group.start_soon(watch)
        try:
            found.append(await to_thread.run_sync(work, stopped))
        except Act3dError as error:  # a task group would wrap it
            refused.append(error)
        group.cancel_scope.cancel()
    if refused and not stopped.is_set():
        raise refused[0]
    return found[0] if found else None


def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


def _giving(file: Path, kind: str) -> Callable[[], Response]:
    def give() -> Response:
        return Response(file.read_bytes(), media_type=f"{kind}; charset=utf-8")

    return give
