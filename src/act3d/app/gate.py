"""Who may ask: the page itself, in a browser on this machine. A page of another site, or a name that was made to point
here (DNS rebinding), is refused before anything is done."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

LOOPBACK = "127.0.0.1"
# Nothing from elsewhere, no script but ours, in no other page's frame, and no other site may read or embed an answer.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Gate:
    """ASGI middleware that checks the headers Host, Origin and Sec-Fetch-Site, and adds `HEADERS` to every answer.

    Args:
        app: What is behind it.
        port: Where the server listens.
    """

    def __init__(self, app: App, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}

    def refusal(self, method: str, headers: dict[str, str]) -> str:
        """Return why a request is refused, or ""."""
        if headers.get("host", "") not in self.hosts:
            return f"Host must be one of {', '.join(sorted(self.hosts))}"
        origin = headers.get("origin")
        # Browsers send Origin with all that changes something; without it nothing is changed.
        if origin not in self.origins and (origin is not None or method not in ("GET", "HEAD")):
            return "Origin must be this page's own"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "another site asked for this"
        return ""

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reason = self.refusal(scope["method"], headers)
        if reason:
            start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            await with_headers(start)
            await send({"type": "http.response.body", "body": f"refused: {reason}\n".encode()})
        else:
            await self.app(scope, receive, with_headers)
