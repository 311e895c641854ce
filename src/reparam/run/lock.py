"""One process at a time in a run folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from reparam.errors import RunFolderError


class FolderLock:
    """Held from ``take`` to ``release``, or to the end of the process however it ends: the system gives it back.

    It is a lock on the folder itself and leaves no file. Where the system has none (Windows, some network disks),
    nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def take(self) -> None:
        """Lock the folder, which must exist.

        Raises:
            RunFolderError: if another run holds it.
        """
        if self._handle is not None or sys.platform == "win32":
            return
        import fcntl

        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise RunFolderError(
                f"another process is training in {self.folder}: wait until it ends, or choose another folder"
            ) from error
        except OSError:  # a file system without locks
            os.close(handle)
            return
        self._handle = handle

    def release(self) -> None:
        """Let others in."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
