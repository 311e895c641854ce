"""explore: the latent space as a page, in one file or from a server."""

from __future__ import annotations

import socket
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from reparam.cli.common import check_seed, dataset, opened, prepare, say, writable
from reparam.cli.options import ExploreOptions
from reparam.data import Dataset, Schema
from reparam.data.frame_files import read_frame
from reparam.data.streams import is_large
from reparam.data.streams import look as stream_look
from reparam.data.table import TableSchema, with_values
from reparam.errors import InputError, nearest
from reparam.explorer import View, file_page, look
from reparam.explorer.projection import umap_learn
from reparam.explorer.server import server
from reparam.run import Run, atomic_write
from reparam.web import address, bind, check_binding

_IN_FILE, _SERVED = 5_000, 50_000  # rows shown unless --rows is given


def explore(options: ExploreOptions) -> int:
    """``reparam explore``."""
    path = None if options.html is None else writable(options.html, (".html", ".htm"))
    if options.rows is not None and options.rows < 2:
        raise InputError(f"--rows must be at least 2, not {options.rows}")
    if options.umap:
        umap_learn()  # before the work, which is long
    token = check_binding(options.host, options.token) if path is None else ""
    at = bind(options.host, options.port) if path is None else None  # before the work, as it may be refused
    prepare(options.threads)
    seed = check_seed(options.seed)
    run, schema = opened(options.run)
    data = _data(options, run, schema)
    view = look(
        run, schema, data, rows=options.rows or (_SERVED if path is None else _IN_FILE),
        name=Path(options.run).resolve().name, seed=seed, doctor=not options.no_doctor,
        umap=options.umap, say=say,
    )  # fmt: skip
    if path is None:
        assert at is not None
        return _serve(view, options, at, token)
    content = file_page(view)
    atomic_write(path, content)
    say(f"{path}, {len(content) / 1e6:.1f} MB: open it in any browser, it needs nothing else")
    return 0


def _serve(view: View, options: ExploreOptions, at: socket.socket, token: str) -> int:
    """Serve the page until it is interrupted."""
    found, where = server(view, token, options.host), address(options.host, at, f"{token}/")
    print(where, flush=True)
    say("open this address in a browser; Ctrl-C ends it. Who knows it can ask the model, so share it with care")
    if options.open:
        webbrowser.open(where)
    with suppress(KeyboardInterrupt):
        found.run(sockets=[at])
    return 0


def _data(options: ExploreOptions, run: Run, schema: Schema) -> Dataset:
    """The rows of DATA, or those that the run was trained on, with the labels of the training."""
    made: Any = run.config.get("options")
    made = made if isinstance(made, dict) else {}
    path = options.data or made.get("data")
    if path is None:
        raise InputError(f"{options.run} was trained from Python, and nobody knows on which file: give DATA")
    labels = options.labels or (made.get("labels") if path == made.get("data") else None)
    if schema.table is not None:
        return _table(schema.table, str(path), labels, options.seed)
    return dataset(schema, str(path), labels, options.binarize or made.get("binarize"))


def _table(schema: TableSchema, path: str, labels: str | None, seed: int) -> Dataset:
    """The rows of a mixed table of which something is seen, with a column of it as their labels."""
    frame = stream_look(path, seed=seed) if is_large(path) else read_frame(path)
    data = schema.dataset(frame)
    if labels is not None:
        if labels not in frame.columns:
            raise InputError(f"{path} has no column {labels!r} to take labels from: {nearest(labels, frame.columns)}")
        column = frame[labels].astype(object)
        data.labels = np.array(column.where(column.notna(), "missing").tolist())
    return with_values(data)
