"""One run at a time in a folder."""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ConfigError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        """Lock a byte behind the text, so that others can read it; the system frees it."""
        os.lseek(file, 2**20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        """Lock the file; the system frees it when the process ends, however it ends."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_NAME = ".running"
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_held: set[int] = set()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder, which exists, to this run; :class:`ConfigError` if another one is there."""
    file = _open_locked(folder / _NAME)
    _held.add(file)
    try:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):  # before it is free: nobody else's file is removed
            (folder / _NAME).unlink()
        _held.discard(file)
        os.close(file)


def _open_locked(path: Path) -> int:
    """Open and lock the file, and see that it is still the one of that name."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in _TAKEN:
                warnings.warn(
                    f"the file system of {path.parent} has no locks ({error}): make sure that no "
                    "second run starts there",
                    stacklevel=4,
                )
                return file
            os.lseek(file, 0, os.SEEK_SET)
            who = os.read(file, 200).decode(errors="replace") or "another process"
            os.close(file)
            raise ConfigError(
                f"another run is at work in {path.parent} ({who}); wait until it has ended, or "
                "choose another folder"
            ) from error
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # its owner removed it as it ended


def _leave_to_the_parent() -> None:
    """In a forked process: the run is its parent's, and ends with it."""
    for file in _held:
        os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)
