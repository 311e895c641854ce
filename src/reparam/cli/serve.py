"""serve: a model over HTTP."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reparam.cli.common import opened, prepare, say
from reparam.cli.options import ServeOptions
from reparam.serve import server
from reparam.web import address, bind, check_binding


def serve(options: ServeOptions) -> int:
    """``reparam serve``."""
    token = check_binding(options.host, options.token)
    prepare(options.threads)
    run, schema = opened(options.run)
    found = server(run, schema, token, options.host, Path(options.run).resolve().name)
    at = bind(options.host, options.port)
    where = address(options.host, at)
    print(where, flush=True)
    if options.token is None:
        print(f"token {token}", flush=True)
    shown = token if options.token is None else "TOKEN"
    say(f"what it answers: curl -H 'Authorization: Bearer {shown}' {where}openapi.json\nCtrl-C ends it")
    with suppress(KeyboardInterrupt):
        found.run(sockets=[at])
    return 0
