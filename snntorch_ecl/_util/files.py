"""Write files completely or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

# A full disk, a quota, a file that is too large.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces the file when the block ends.

    If the block fails, the file stays as it was. Missing folders are made. What a killed process
    left of the same file is removed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figures.json"
        >>> with replacing(path) as part:
        ...     _ = part.write_text("{}")
        >>> path.read_text()
        '{}'
    """
    # The thread as well: two of them may write the same file.
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_parts(path.parent, path.name)
        yield part
        # Before the rename: a power cut must not leave the new name with half the content.
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # there may not even be a folder
            part.unlink()


def remove_parts(folder: Path, name: str | None = None) -> None:
    """Remove what processes that were killed had written of one file in a folder, or of any."""
    for part in folder.glob(f".{'*' if name is None else escape(name)}.*.*.part"):
        *_, process, thread, _ = part.name.split(".")
        if process.isdecimal() and thread.isdecimal() and not _lives(int(process), int(thread)):
            with suppress(OSError):  # another process may have been faster
                part.unlink()


def _lives(process: int, thread: int) -> bool:
    """Whether a thread may still be writing; true where the system cannot tell."""
    if process == os.getpid():  # in a container, each run may have the same number
        return any(own.ident == thread for own in threading.enumerate())
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def remedy(error: BaseException) -> str:
    """What to do about a file that cannot be written, as a sentence to add to an error."""
    number = getattr(error, "errno", None)
    if number in _NO_ROOM:
        return ". Make room there, or choose another folder; what was written before is whole"
    if number in _FORBIDDEN:
        return ". Choose a folder that you may write to; what was written before is whole"
    return ""
