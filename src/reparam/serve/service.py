"""The service: one address for each operation, behind the guard that all servers have, with a token in a header."""

from __future__ import annotations

import math
from typing import Any

from reparam.data import Schema
from reparam.errors import InputError
from reparam.run import Run
from reparam.serve import wire
from reparam.serve.openapi import describe, facts
from reparam.serve.operations import Operation, check, operations
from reparam.serve.options import read
from reparam.web import Guarded, Refused, Turn, pieces
from reparam.web import server as web_server


class Service(Guarded):
    """A model that answers requests: GET /model and /openapi.json, POST /OPERATION?options with a body."""

    unfit = 422

    def __init__(self, run: Run, schema: Schema, token: str, host: str, name: str) -> None:
        super().__init__(token, host)
        self.model, self.operations = operations(run, schema)
        self.told = {
            "model": wire.write_json(facts(name, schema, self.model, self.operations)),
            "openapi.json": wire.write_json(describe(name, self.operations)),
        }

    def refused(self, status: int, words: str) -> Any:
        """{"error": words}."""
        from starlette.responses import Response

        return Response(wire.write_json({"error": words}), status, media_type=wire.JSON)

    async def respond(self, request: Any, turn: Turn) -> Any:
        """What is known of the model, or what it makes of a request."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.knows(token.strip()):
            raise Refused(401, "give the token of the server in a header: Authorization: Bearer TOKEN",
                          {"WWW-Authenticate": "Bearer"})  # fmt: skip
        what = request.scope["path"].removeprefix("/")
        if what in self.told:
            if request.method not in ("GET", "HEAD"):
                raise Refused(405, "ask for this with GET", {"Allow": "GET, HEAD"})
            self._options((), request)
            return pieces(self.told[what], wire.JSON)
        if what not in self.operations:
            known = ", ".join(f"/{n}" for n in (*self.told, *self.operations))
            raise Refused(404, f"there is nothing at this address; there are {known}")
        if request.method != "POST":
            raise Refused(405, "ask for this with POST", {"Allow": "POST"})
        operation = self.operations[what]
        form, binary = self._forms(operation, request)
        options = self._options(operation.options, request)
        try:
            content = await turn.compute(lambda body: _made(operation, options, body, form, binary))
        except wire.WrongFormError as error:
            raise Refused(400, str(error)) from error
        return pieces(content, wire.NPY if binary else wire.JSON)

    def _options(self, known: Any, request: Any) -> dict[str, Any]:
        try:
            return read(known, request.query_params.multi_items())
        except wire.WrongFormError as error:
            raise Refused(400, str(error)) from error

    def _forms(self, operation: Operation, request: Any) -> tuple[str, bool]:
        """The form of the body, and whether the answer is wanted as .npy."""
        form = request.headers.get("content-type", wire.JSON).partition(";")[0].strip().lower()
        allowed = [wire.JSON, *([wire.NPY] if operation.takes else [])]
        if form not in allowed:
            raise Refused(415, f"{operation.name} takes a body of {' or '.join(allowed)}, not {form[:60]!r}")
        wanted = request.headers.get("accept", "*/*").lower()
        weights = {kind: _weight(wanted, kind) for kind in (wire.JSON, wire.NPY)}
        if operation.gives is None:
            weights[wire.NPY] = 0.0
        if not max(weights.values()):
            gives = " or ".join([wire.JSON, *([wire.NPY] if operation.gives else [])])
            raise Refused(406, f"{operation.name} answers in {gives}")
        return form, weights[wire.NPY] > weights[wire.JSON]


def _made(operation: Operation, options: dict[str, Any], body: bytes, form: str, binary: bool) -> bytes:
    """The content of an answer."""
    given = wire.read_json(body) if form == wire.JSON else {str(operation.takes): _array(operation, body)}
    check(operation, given)
    found = operation.run(options, given)
    if binary:
        assert operation.gives is not None
        return wire.write_npy(found[operation.gives])
    return wire.write_json(found)


def _array(operation: Operation, body: bytes) -> Any:
    assert operation.takes is not None
    return wire.read_npy(body, operation.shape, operation.takes)


def _weight(wanted: str, kind: str) -> float:
    """How much the Accept header wants this kind: the weight of its most special entry, RFC 9110, 12.5.1."""
    best = (-1, 0.0)
    for part in wanted.split(","):
        name, *parameters = (p.strip() for p in part.split(";"))
        special = [("*/*"), kind.split("/", maxsplit=1)[0] + "/*", kind].index(name) if name in (
            "*/*", kind.split("/", maxsplit=1)[0] + "/*", kind
        ) else -1  # fmt: skip
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        best = max(best, (special, value if math.isfinite(value) else 0.0))
    return best[1] if best[0] >= 0 else 0.0


def server(run: Run, schema: Schema, token: str, host: str, name: str) -> Any:
    """A uvicorn server of the model: ``server(...).run(sockets=[bind(...)])``.

    Raises:
        InputError: for a run that cannot be served.
    """
    if schema.event_shape == ():
        raise InputError("this run has no rows to serve")
    return web_server(Service(run, schema, token, host, name), "serving a model")
