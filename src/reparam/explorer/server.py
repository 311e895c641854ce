"""The page from a server on this machine: behind a token, for its own origin, with bounded requests and no files.

Nothing that a request says is ever opened as a path, nothing is written, and a request is answered one at a time by the
model. A page of another site cannot ask (its origin is refused, and it does not know the token), nor can a name that is
made to point here (its host is refused).
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from reparam.errors import InputError, require
from reparam.explorer.bundle import document, pack
from reparam.explorer.compute import Computer
from reparam.explorer.view import View

BODY = 8 << 20  # the largest body of a request, bytes
_READ_SECONDS = 20  # in which a body must have come
_READERS = 8  # bodies that are held at once
_PIECE = 256 << 10
_HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}  # fmt: skip
_LEAST_TOKEN = 16


class Refused(Exception):
    """An answer other than 200, with its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def check_binding(host: str, token: str | None) -> str:
    """The token of the address: given, or drawn at random where nobody else can reach the host.

    Raises:
        InputError: for a host beyond this machine without a token, or a token that can be guessed or cannot be typed.
    """
    if token is None:
        if not is_loopback(host):
            raise InputError(f"--host {host} can be reached from other machines: give --token, a secret of your own")
        return secrets.token_urlsafe(24)
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"--token must be at least {_LEAST_TOKEN} letters, digits, - or _")
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _may_be_host(name: str, host: str) -> bool:
    """Whether a request for this name is one for the server: a name that a stranger could point here is none."""
    name = name.strip("[]").lower()
    if name in (host.lower(), "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return not is_loopback(host) and name == socket.gethostname().lower()
    return address.is_loopback or not is_loopback(host)


class Service:
    """The server as an ASGI application."""

    def __init__(self, view: View, token: str, host: str) -> None:
        require("starlette", "web", "the served page")
        import anyio

        self.computer, self.token, self.host = Computer(view), token, host
        page, self.policy = document(f"{view.name}: latent space", None, connect="'self'")
        self.page = page.encode()
        self.start = pack(*self.computer.points())
        self._one, self._readers = anyio.CapacityLimiter(1), anyio.Semaphore(_READERS)

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer one request."""
        from starlette.requests import ClientDisconnect, Request
        from starlette.responses import PlainTextResponse, Response

        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        response: Response
        try:
            response = await self._response(request)
        except Refused as refused:
            response = PlainTextResponse(refused.words, refused.status)
            if refused.status in (408, 413):
                response.headers["Connection"] = "close"
        except ClientDisconnect:
            return
        except InputError as error:
            response = PlainTextResponse(str(error), 400)
        except Exception as error:  # noqa: BLE001 (the server goes on; who asked learns nothing of its inside)
            print(f"reparam: a request failed: {type(error).__name__}: {error}", file=sys.stderr)
            response = PlainTextResponse("the server could not compute this: its terminal says why", 500)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        await response(scope, receive, send)

    async def _response(self, request: Any) -> Any:
        from starlette.responses import RedirectResponse, Response, StreamingResponse

        self._check_origin(request.headers)
        parts = request.scope["path"].split("/")  # exactly /TOKEN/ or /TOKEN/WHAT
        given = parts[1] if len(parts) > 1 else ""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            raise Refused(404, "there is nothing here: the address has a token, as the terminal shows it")
        if len(parts) == 2:
            return RedirectResponse(f"/{self.token}/", 308)
        what = parts[2] if len(parts) == 3 else "?"
        if what in ("", "points"):
            if request.method not in ("GET", "HEAD"):
                raise Refused(405, "ask for this with GET")
            if what == "":
                return Response(self.page, media_type="text/html", headers={"Content-Security-Policy": self.policy})
            size = {"Content-Length": str(len(self.start))}
            return StreamingResponse(_pieces(self.start), media_type="application/octet-stream", headers=size)
        if what not in self.computer.answers:
            raise Refused(404, "there is nothing here")
        if request.method != "POST":
            raise Refused(405, "ask for this with POST")
        return Response(await self._computed(what, request), media_type="application/octet-stream")

    def _check_origin(self, headers: Any) -> None:
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not _may_be_host(name, self.host):
            raise Refused(421, "this server answers to its own address only")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "pages of another origin cannot ask this server")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refused(403, "pages of another site cannot ask this server")

    async def _computed(self, what: str, request: Any) -> bytes:
        import anyio

        async with self._readers:
            with anyio.move_on_after(_READ_SECONDS) as waiting:
                body = await _body(request)
            if waiting.cancelled_caught:
                raise Refused(408, "the body did not come in time")
            table, arrays = unpack(body)
            return await anyio.to_thread.run_sync(lambda: pack(*self.computer.answer(what, table, arrays)),
                                                  limiter=self._one)  # fmt: skip


async def _body(request: Any) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY:
        raise Refused(413, f"a body has at most {BODY} bytes")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY:
            raise Refused(413, f"a body has at most {BODY} bytes")
        parts.append(part)
    return b"".join(parts)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def unpack(body: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The table and the arrays of a request: the length of a head, the head as JSON, float32 behind it.

    Raises:
        InputError: for anything else.
    """
    wrong = InputError("the body is no request of the page")
    size = int.from_bytes(body[:4], "little") if len(body) >= 4 else -1
    if not 0 <= size <= min(len(body) - 4, 1 << 20):
        raise wrong
    try:
        table = json.loads(body[4 : 4 + size])
        lengths = table.pop("lengths", [])
        good = isinstance(lengths, list) and all(type(n) is int and 0 <= n <= BODY for n in lengths)
    except (ValueError, AttributeError, RecursionError, TypeError) as error:
        raise wrong from error
    rest = body[4 + size :]
    if not good or len(lengths) > 4 or 4 * sum(lengths) != len(rest):
        raise wrong
    return table, [a.copy() for a in np.split(np.frombuffer(rest, "<f4"), np.cumsum(lengths)[:-1])] if lengths else []


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: for a host that is none of this machine, or a port that is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"nothing can be served at {host} port {port}: {error}") from error
    return found


def address(host: str, at: socket.socket, token: str) -> str:
    """Where the page is."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{at.getsockname()[1]}/{token}/"


def server(view: View, token: str, host: str) -> Any:
    """A uvicorn server of the view: ``server(...).run(sockets=[bind(...)])``."""
    uvicorn = require("uvicorn", "web", "the served page")
    config = uvicorn.Config(
        Service(view, token, host), log_level="error", access_log=False, limit_concurrency=1000, timeout_keep_alive=5,
        h11_max_incomplete_event_size=32 << 10, server_header=False, lifespan="off", ws="none",
    )  # fmt: skip
    return uvicorn.Server(config)
