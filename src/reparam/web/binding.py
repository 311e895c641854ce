"""Where a server listens, the secret that who asks must know, and the names that it answers to."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from typing import Any

from reparam.errors import InputError, require

_LEAST_TOKEN = 16


def check_binding(host: str, token: str | None) -> str:
    """The token: given, or drawn at random where nobody else can reach the host.

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


def may_be_host(name: str, host: str) -> bool:
    """Whether a request for this name is one for the server: a name that a stranger could point here is none."""
    name = name.strip("[]").lower()
    if name in (host.lower(), "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return not is_loopback(host) and name == socket.gethostname().lower()
    return address.is_loopback or not is_loopback(host)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: for a host that is none of this machine, or a port that is taken.
    """
    found = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # by which asyncio answers without delay
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()  # so that the port is refused here where somebody else listens, not after the work
    except (OSError, OverflowError) as error:
        if found is not None:
            found.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "it is in use: give another --port, or 0 for any that is free" if taken else _why(error)
        raise InputError(f"nothing can be served at {host} port {port}: {why}") from error
    return found


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def address(host: str, at: socket.socket, path: str = "") -> str:
    """Where the server is."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{at.getsockname()[1]}/{path}"


def server(application: Any, purpose: str) -> Any:
    """A uvicorn server of the application: ``server(...).run(sockets=[bind(...)])``."""
    uvicorn = require("uvicorn", "web", purpose)
    config = uvicorn.Config(
        application, log_level="critical", access_log=False, limit_concurrency=1000, timeout_keep_alive=5,
        h11_max_incomplete_event_size=32 << 10, server_header=False, lifespan="off", ws="none",
    )  # fmt: skip
    return uvicorn.Server(config)
