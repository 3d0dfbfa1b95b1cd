"""Write files completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces the file when the block ends.

    If the block fails, the file stays as it was. Missing folders are made.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "figures.json"
        >>> with replacing(path) as part:
        ...     _ = part.write_text("{}")
        >>> path.read_text()
        '{}'
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        # Before the rename: a power cut must not leave the new name with half the content.
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # there may not even be a folder
            part.unlink()
