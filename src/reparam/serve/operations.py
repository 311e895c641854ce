"""What a served model can be asked: for each operation its options, its body, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reparam.data import Schema
from reparam.errors import nearest
from reparam.run import Run
from reparam.serve.arrays import Arrays
from reparam.serve.options import SEED, Option, Switch, Whole
from reparam.serve.tables import Tables
from reparam.serve.wire import WrongFormError, numbers

ROWS, NUMBERS, DRAWS = 4096, 2_000_000, 2_000_000  # the most of one request: rows, numbers of an answer, draws of z
_K = Whole("k", f"samples of z for each row; rows times k are at most {DRAWS}", 500, 1, 5000)
_NUMBER = {"type": "number"}


@dataclass(frozen=True)
class Operation:
    """One operation. ``main`` is the array of the answer that an .npy file holds, and of the body, if it takes one."""

    name: str
    text: str
    options: Sequence[Option]
    body: Mapping[str, Any]
    needed: bool  # whether there must be a body
    answer: Mapping[str, Any]
    run: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    takes: str | None = None  # the array of the body that may come as .npy
    shape: tuple[int, ...] = ()
    gives: str | None = None


def operations(run: Run, schema: Schema) -> tuple[Arrays, dict[str, Operation]]:
    """The model of a run, and the operations that it has."""
    model = Arrays(run, schema) if schema.table is None else Tables(run, schema)
    rows = {"type": "array", "items": model.row(), "minItems": 1, "maxItems": ROWS}
    x = _body({"x": rows, "context": model.context(ROWS)}, ["x"])
    latents = {"type": "array", "items": {"type": "array", "items": _NUMBER | {"minimum": -1e30, "maximum": 1e30},
               "minItems": model.dim, "maxItems": model.dim}, "minItems": 1, "maxItems": ROWS}  # fmt: skip
    means = {"type": "array", "items": {"type": "array", "items": _NUMBER}}
    shape, takes = schema.event_shape, "x" if model.npy else None
    conditions = model.conditions() if isinstance(model, Tables) else model.given()

    def encode(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return model.encode(model.read(body["x"], body.get("context")), options["seed"])

    def decode(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        z = body["z"] if isinstance(body["z"], np.ndarray) else numbers(body["z"], (model.dim,), "z")
        _few(len(z), schema)
        return model.decode(z, body.get("given"), options["sample"], options["seed"])

    def score(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        _affordable(body["x"], options["k"])
        return model.score(model.read(body["x"], body.get("context")), options["k"], options["seed"])

    def sample(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        _few(options["n"], schema)
        return model.sample(options["n"], body.get("given"), options.get("mean", False), options["seed"])

    def impute(options: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(model, Tables)
        _affordable(body["x"], options["k"])
        if (rows := len(body["x"])) * max(1, options["m"]) > ROWS:
            raise WrongFormError(f"{rows} rows of m = {options['m']} imputations are more than {ROWS}: ask in parts")
        return model.impute(body["x"], options["k"], options["seed"], options["m"])

    npy, count = model.npy, Whole("n", "how many rows", 1, 1, ROWS)
    drawn = Switch("sample", "draw from p(x|z) instead of giving its mean")
    mean = [Switch("mean", "give the mean of p(x|z) instead of a draw from it")] if npy else []
    found = [
        Operation("encode", "Mean and standard deviations of q(z|x) of each row.", [SEED], x, True,
                  {"mean": means, "sd": means}, encode, takes, shape, "mean"),
        Operation("decode", "The mean of p(x|z) at each z, or a draw; of a table the most probable row.",
                  [drawn, SEED], _body({"z": latents, "given": model.given()}, ["z"]), True,
                  {"x": {"type": "array", "items": model.shown(True)}}, decode, "z", (model.dim,),
                  "x" if npy else None),
        Operation("score", "log p(x) of each row in nats, by importance sampling, and the effective sample size of the "
                  "estimate. The score of a row does not depend on the rows beside it.", [_K, SEED], x, True,
                  {"log_likelihood": {"type": "array", "items": _NUMBER}, "ess": {"type": "array", "items": _NUMBER}},
                  score, takes, shape, "log_likelihood"),
        Operation("sample", "New rows: z from the prior, then x from p(x|z).", [count, *mean, SEED],
                  _body({"given": conditions}, _if_given(model)), bool(_if_given(model)),
                  {"x": {"type": "array", "items": model.shown(True)}, **({} if npy else {
                      "candidates": {"type": "integer"}, "ess": _NUMBER})}, sample, None, (), "x" if npy else None),
    ]  # fmt: skip
    if isinstance(model, Tables):
        many = Whole("m", "so many draws of each missing cell, as tables; 0 for one table of best values", 0, 0, 100)
        tables = {"type": "array", "items": model.shown(True)}
        found.append(Operation("impute", "The rows with their holes filled.", [_K, many, SEED], x, True,
                               {"x": tables, "imputations": {"type": "array", "items": tables}}, impute))  # fmt: skip
    return model, {o.name: o for o in found}


def _if_given(model: Arrays) -> list[str]:
    """given, where samples need it: contexts are, the conditions of a table need not be."""
    given = None if isinstance(model, Tables) else model.given()
    return ["given"] if given and given.get("required") else []


def _body(entries: dict[str, Any], needed: list[str]) -> dict[str, Any]:
    """The schema of a body; entries that are None are none, and contexts that must be known are needed."""
    known = {n: e for n, e in entries.items() if e is not None}
    needed = [*needed, *(n for n, e in known.items() if n not in needed and n != "x" and e.get("required"))]
    made = {"type": "object", "properties": known, "additionalProperties": False}
    return made | ({"required": needed} if needed else {})


def check(operation: Operation, body: dict[str, Any]) -> None:
    """Refuse entries that are none or lacking.

    Raises:
        WrongFormError: naming the entry.
    """
    known = operation.body["properties"]
    if strange := body.keys() - known.keys():
        name = min(strange)
        hint = nearest(name, known) if known else "it takes none"
        raise WrongFormError(f"the body has an entry {name[:40]!r} that {operation.name} does not take: {hint}")
    if lacking := [n for n in operation.body.get("required", ()) if n not in body]:
        raise WrongFormError(f"the body lacks {lacking[0]!r}: see /openapi.json for what {operation.name} takes")
    for name in ("given", "context"):
        if name in body and type(body[name]) is not dict:
            raise WrongFormError(f"{name} is an object of names and values")
    for name in ("x", "z"):
        if name in body and isinstance(body[name], list | np.ndarray) and len(body[name]) > ROWS:
            raise WrongFormError(f"{len(body[name])} rows are more than {ROWS} in one request: ask in parts")


def _affordable(rows: Any, k: int) -> None:
    n = len(rows) if isinstance(rows, list | np.ndarray) else 0
    if n * k > DRAWS:
        raise WrongFormError(f"{n} rows of k = {k} samples are more than {DRAWS} draws in one request: ask in parts")


def _few(n: int, schema: Schema) -> None:
    size = int(np.prod(schema.event_shape))
    if n * size > NUMBERS:
        raise WrongFormError(f"{n} rows of {size} numbers are more than {NUMBERS} in one answer: ask in parts")
