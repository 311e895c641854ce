"""The description of the service: OpenAPI 3.1, made of the operations and their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reparam.data import Schema
from reparam.serve import wire
from reparam.serve.arrays import Arrays
from reparam.serve.operations import DRAWS, NUMBERS, ROWS, Operation
from reparam.version import __version__
from reparam.web import BODY

_REFUSALS = {
    "400": "The body or an option is not of the form that is described here.", "401": "The token is wrong or lacking.",
    "403": "A page of another origin asks.", "404": "There is nothing at this address.",
    "405": "The method is another.", "406": "No such form of an answer.", "408": "The body did not come in time.",
    "413": "The body is too large.", "415": "No such form of a body.", "421": "The host is another.",
    "422": "The model cannot use these numbers: the sentence says which, and why.",
    "500": "The server could not compute this.",
}  # fmt: skip
_ERROR = {"$ref": "#/components/schemas/Error"}


def facts(name: str, schema: Schema, model: Arrays, operations: Mapping[str, Operation]) -> dict[str, Any]:
    """What is known of the model."""
    made: dict[str, Any] = {
        "name": name, "reparam": __version__, "latent_dim": model.dim, "shape": list(schema.event_shape),
        "dtype": schema.dtype, "pixel_max": schema.pixel_max, "columns": schema.columns,
        "contexts": [c.words for c in schema.contexts or ()], "operations": list(operations),
        "most": {"rows": ROWS, "body_bytes": BODY, "draws": DRAWS, "numbers": NUMBERS},
    }  # fmt: skip
    if schema.table is not None:
        made |= {"shape": None, "dtype": None, "columns": [c.words() for c in schema.table.columns]}
    return made


def describe(name: str, operations: Mapping[str, Operation]) -> dict[str, Any]:
    """The description, as plain data."""
    told = {
        "/model": "What is known of the model: its rows, its latent dimensions, its operations, and how much one "
        "request may ask.",
        "/openapi.json": "This description.",
    }
    paths: dict[str, Any] = {
        path: {"get": {"operationId": path.strip("/").partition(".")[0], "summary": text, "responses": {
            "200": {"description": "The answer.", "content": {wire.JSON: {"schema": {"type": "object"}}}},
            **_refusals()}}}
        for path, text in told.items()
    }  # fmt: skip
    paths |= {f"/{o.name}": {"post": _post(o)} for o in operations.values()}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"reparam: {name}", "version": __version__, "description": "A variational autoencoder. Data "
                 "are in the units of its training; scores are in nats."},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {"type": "object", "properties": {"error": {"type": "string"}},
                                  "required": ["error"], "additionalProperties": False}},
        },
    }  # fmt: skip


def _post(o: Operation) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary", "contentMediaType": wire.NPY}}
    answer = {"type": "object", "properties": dict(o.answer)}
    content: dict[str, Any] = {wire.JSON: {"schema": answer}}
    if o.gives:
        content[wire.NPY] = binary
    body: dict[str, Any] = {wire.JSON: {"schema": dict(o.body)}}
    if o.takes and len(o.body.get("required", ())) == 1:
        body[wire.NPY] = binary
    said = f" As .npy: {o.gives}." if o.gives else ""
    return {
        "operationId": o.name, "summary": o.text,
        "parameters": [{"name": p.name, "in": "query", "required": False, "description": p.text, "schema": p.schema()}
                       for p in o.options],
        "requestBody": {"required": o.needed, "content": body},
        "responses": {"200": {"description": "The answer." + said, "content": content}, **_refusals()},
    }  # fmt: skip


def _refusals() -> dict[str, Any]:
    return {code: {"description": text, "content": {wire.JSON: {"schema": _ERROR}}} for code, text in _REFUSALS.items()}
