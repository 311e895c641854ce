"""An application behind a guard: for its own host and origin, with bounded bodies, a few requests in memory at once.

Nothing that a request says is ever opened as a path, and nothing is written. A page of another site cannot ask (its
origin is refused, and it does not know the token), nor can a name that is made to point here (its host is refused).
"""

from __future__ import annotations

import hmac
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, final

from reparam.errors import InputError, require
from reparam.web.binding import may_be_host

BODY = 8 << 20  # the largest body of a request, bytes
_READ_SECONDS = 20  # in which a body must have come
_WRITE_SECONDS = 60  # in which an answer must have been taken
_PLACES = 8  # requests whose body or answer is held at once
_PIECE = 256 << 10
_HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}  # fmt: skip


class Refused(Exception):
    """An answer other than 200, with its words and further headers."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, dict(headers or {})


class Turn:
    """The turn of one request at the model: its body, and what is made of it, held until the answer has been sent."""

    def __init__(self, guarded: Guarded, request: Any, held: AsyncExitStack) -> None:
        self._guarded, self._request, self._held = guarded, request, held

    async def compute(self, make: Callable[[bytes], bytes]) -> bytes:
        """What is made of the body, in a thread, one request at a time.

        Raises:
            Refused: for a body that is too large or too slow.
        """
        import anyio

        await self._held.enter_async_context(self._guarded.places)
        with anyio.move_on_after(_READ_SECONDS) as waiting:
            body = await _body(self._request)
        if waiting.cancelled_caught:
            raise Refused(408, "the body did not come in time")
        return await anyio.to_thread.run_sync(make, body, limiter=self._guarded.one)


class Guarded(ABC):
    """An ASGI application that answers whom it may: what is answered, and in what form, its children say.

    ``unfit`` is the status for what a model cannot use.
    """

    unfit = 400

    def __init__(self, token: str, host: str) -> None:
        require("starlette", "web", "a server")
        import anyio

        self._token, self._host = token.encode(), host
        self.one, self.places = anyio.CapacityLimiter(1), anyio.Semaphore(_PLACES)

    @abstractmethod
    async def respond(self, request: Any, turn: Turn) -> Any:
        """The response to a request for this host and from nowhere else; who asks may not know the token."""

    @abstractmethod
    def refused(self, status: int, words: str) -> Any:
        """The response that says in these words why there is none."""

    def knows(self, token: str) -> bool:
        """Whether this is the token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    @final
    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer one request."""
        from anyio import move_on_after
        from starlette.requests import ClientDisconnect, Request

        if scope["type"] != "http":
            return
        async with AsyncExitStack() as held:
            try:
                response = await self._answered(Request(scope, receive), held)
            except ClientDisconnect:
                return
            for name, value in _HEADERS.items():
                response.headers[name] = value
            with move_on_after(_WRITE_SECONDS):  # the connection is closed on who does not read
                await response(scope, receive, send)

    async def _answered(self, request: Any, held: AsyncExitStack) -> Any:
        from starlette.requests import ClientDisconnect

        try:
            self._check_origin(request.headers)
            return await self.respond(request, Turn(self, request, held))
        except Refused as refused:
            response = self.refused(refused.status, refused.words)
            response.headers.update(refused.headers)
            if refused.status in (408, 413):
                response.headers["Connection"] = "close"
            return response
        except InputError as error:
            return self.refused(self.unfit, str(error))
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 (the server goes on; who asked learns nothing of its inside)
            print(f"reparam: a request failed: {type(error).__name__}: {error}", file=sys.stderr)
            return self.refused(500, "the server could not compute this: its terminal says why")

    def _check_origin(self, headers: Any) -> None:
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if not may_be_host(name, self._host):
            raise Refused(421, "this server answers to its own address only")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "pages of another origin cannot ask this server")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refused(403, "pages of another site cannot ask this server")


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


def pieces(content: bytes, media_type: str) -> Any:
    """A response that is handed on as it is read: of an answer, no more than a piece waits for who reads slowly."""
    from starlette.responses import StreamingResponse

    async def each() -> AsyncIterator[bytes]:
        for start in range(0, len(content), _PIECE):
            yield content[start : start + _PIECE]

    return StreamingResponse(each(), media_type=media_type, headers={"Content-Length": str(len(content))})
