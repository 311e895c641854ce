"""The page from a server on this machine, behind the guard that all servers have, with a token in its address.

A request is answered by the model, one at a time: see :mod:`reparam.web`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from reparam.errors import InputError
from reparam.explorer.bundle import document, pack
from reparam.explorer.compute import Computer
from reparam.explorer.view import View
from reparam.web import BODY, Guarded, Refused, Turn, pieces
from reparam.web import server as web_server

_BINARY = "application/octet-stream"


class Service(Guarded):
    """The page and its answers: exactly /TOKEN/ and /TOKEN/WHAT."""

    def __init__(self, view: View, token: str, host: str) -> None:
        super().__init__(token, host)
        self.computer, self.token = Computer(view), token
        page, self.policy = document(f"{view.name}: latent space", None, connect="'self'")
        self.page = page.encode()
        self.start = pack(*self.computer.points())

    def refused(self, status: int, words: str) -> Any:
        """Words alone."""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(words, status)

    async def respond(self, request: Any, turn: Turn) -> Any:
        """The page, its points, or what the model makes of a request."""
        from starlette.responses import RedirectResponse, Response

        parts = request.scope["path"].split("/")
        if not self.knows(parts[1] if len(parts) > 1 else ""):
            raise Refused(404, "there is nothing here: the address has a token, as the terminal shows it")
        if len(parts) == 2:
            return RedirectResponse(f"/{self.token}/", 308)
        what = parts[2] if len(parts) == 3 else "?"
        if what in ("", "points"):
            if request.method not in ("GET", "HEAD"):
                raise Refused(405, "ask for this with GET", {"Allow": "GET, HEAD"})
            if what == "":
                return Response(self.page, media_type="text/html", headers={"Content-Security-Policy": self.policy})
            return pieces(self.start, _BINARY)
        if what not in self.computer.answers:
            raise Refused(404, "there is nothing here")
        if request.method != "POST":
            raise Refused(405, "ask for this with POST", {"Allow": "POST"})
        return pieces(await turn.compute(lambda body: pack(*self.computer.answer(what, *unpack(body)))), _BINARY)


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


def server(view: View, token: str, host: str) -> Any:
    """A uvicorn server of the view: ``server(...).run(sockets=[bind(...)])``."""
    return web_server(Service(view, token, host), "the served page")
