"""The app of a small library, served in a thread of the tests, and a tab of Chromium that looks at it."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WAIT = 120_000  # milliseconds that a test waits for what happens at once on a machine that is not busy

pytest.importorskip("fastapi", reason="needs act3d[app]")
pytest.importorskip("uvicorn", reason="needs act3d[app]")
pytest.importorskip("lancedb", reason="needs act3d[search]")


@contextmanager
def served(source: Path, **settings: Any) -> Iterator["Served"]:
    """Serve a library until the block ends."""
    import uvicorn

    from act3d.app.server import build_server
    from act3d.app.session import Session
    from act3d.settings.app import AppSettings

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        session = Session(AppSettings(source=str(source), show=False, **settings))
        config = uvicorn.Config(build_server(session, port), log_level="warning", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(session, port)
        finally:
            server.should_exit = True
            thread.join()
            session.jobs.close()


class Served:
    """A running app: its session, and questions to it as the page would ask them, or as a stranger would."""

    def __init__(self, session: Any, port: int) -> None:
        self.session, self.port = session, port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer of a request; headers with underscores, one that is empty is not sent."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | ({"Origin": self.url} if data is not None else {})
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, {k: v for k, v in sent.items() if v})
        try:
            with urllib.request.urlopen(request, timeout=WAIT / 1000) as response:
                return response.status, self._read(response)
        except urllib.error.HTTPError as error:
            return error.code, self._read(error)

    def indexed(self) -> "Served":
        """Index the source, and wait until that has ended."""
        self.session.jobs.start("Looking for shapes", self.session._refresh).result(WAIT / 1000)
        assert not self.session.jobs.state.error
        return self

    @staticmethod
    def _read(response: Any) -> Any:
        content = response.read()
        return json.loads(content) if "json" in response.headers.get("content-type", "") else content


@contextmanager
def tab_of(browser: Any, url: str, width: int = 1280, height: int = 900, scheme: str = "light", **context: Any) -> Any:
    """Open the app in a tab, and fail if it asks elsewhere or its script has an error.

    Chromium itself notes every request that the server refuses (400), which the page tells its reader of.
    """
    wrong: list[str] = []

    def noted(said: Any) -> None:
        if said.type in ("error", "warning") and "status of 400" not in said.text:
            wrong.append(said.text)

    view = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **context
    )
    view.set_default_timeout(WAIT)
    tab = view.new_page()
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", noted)
    tab.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith((url, "data:", "blob:")) else 0)
    tab.goto(url)
    try:
        yield tab
    finally:
        view.close()
    assert not wrong, wrong
