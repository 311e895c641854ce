"""A server of the library in a thread, and requests to it."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reparam import web

TOKEN = "a-token-of-the-tests"


class Serving:
    """A server at a port of its own, while the block lasts."""

    def __init__(self, server: Any) -> None:
        self.server, self.socket = server, web.bind("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.headers: Any = {}
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.socket]), daemon=True)

    def __enter__(self) -> Any:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of the answer; GET without a body, POST with one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            answer = connection.getresponse()
            self.headers = answer.headers
            return answer.status, answer.read()
        finally:
            connection.close()


def memory(what: str = "VmRSS", process: str = "self") -> int:
    """Bytes that a process holds, or has held at most: VmHWM."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        pytest.skip("memory is read from /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024
