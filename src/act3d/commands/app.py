"""`act3d app`: a library of shapes in the browser."""

import os
import socket
import sys
import webbrowser
from typing import Any

from act3d.errors import ConfigError, MissingDependency
from act3d.installing import how_to_install
from act3d.lines import say
from act3d.settings.app import AppSettings
from act3d.settings.command import command


@command
def app(settings: AppSettings) -> None:
    """Serve the page of a library of shapes to this machine, until it is interrupted.

    Raises:
        CheckpointError: An index that cannot be opened, or whose model is gone.
        ConfigError: The port is taken, or no encoder is named for a folder without an index.
        MissingDependency: FastAPI, uvicorn or LanceDB is not installed.
    """
    try:
        import uvicorn

        from act3d.app.server import build_server
    except ImportError as error:
        if isinstance(error, MissingDependency):
            raise
        raise MissingDependency(f"act3d app needs {error.name}: {how_to_install('app')}") from error
    from act3d.app.gate import LOOPBACK
    from act3d.app.session import Session
    from act3d.use.index_table import require_lancedb

    require_lancedb()  # here, and not on a page that has nothing to show

    with _listening(LOOPBACK, settings.port) as listening:
        port = listening.getsockname()[1]
        session = Session(settings)
        server = uvicorn.Server(_quiet(uvicorn.Config, build_server(session, port)))
        address = f"http://{LOOPBACK}:{port}"
        say(f"{address}   (this machine only; Ctrl-C ends it)")
        sys.stdout.flush()
        if session.source:
            session.refresh()
        if settings.show and _has_screen():
            webbrowser.open(address)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn has ended well, and passes it on
            pass
        finally:
            session.jobs.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"port: {port} cannot be used ({error.strerror}); choose another --port, or 0 for any"
        ) from None


def _quiet(config: Any, server: Any) -> Any:
    return config(server, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=2, access_log=False)


def _has_screen() -> bool:
    """Whether a browser would open a window; elsewhere it might take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
