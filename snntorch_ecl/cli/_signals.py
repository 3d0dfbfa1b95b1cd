"""Ctrl-C and SIGTERM: one line that says how to resume, and the exit status of a signal."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console

from .._util.processes import is_main


class _Terminated(BaseException):
    """SIGTERM came; like `KeyboardInterrupt`, it is no error that a program would handle."""


@contextmanager
def signals_as_text(output_dir: Path | None) -> Iterator[None]:
    """End with exit status 130 or 143, and the command that resumes what is in the folder."""
    before = signal.getsignal(signal.SIGTERM)
    # Where somebody else handles it, or wants it ignored, it stays so.
    ours = before is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as error:
        number = signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT
        if is_main():
            text = f"Stopped by {number.name}. {_how_to_resume(output_dir)}"
            Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(128 + number) from error
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _how_to_resume(output_dir: Path | None) -> str:
    """The command that resumes the run, or starts it again if there is nothing to resume."""
    program = Path(sys.argv[0]).name
    if program == "__main__.py":
        program = "python -m snntorch_ecl.cli"
    command = f"{program} {shlex.join(sys.argv[1:])}"
    if output_dir is not None and (output_dir / "last.ckpt").is_file():
        return f"Resume with: {command}{'' if '--resume' in sys.argv else ' --resume'}"
    if output_dir is not None and (output_dir / "sweep.json").is_file():
        return f"Resume with: {command}"
    return f"Nothing is finished; start again with: {command}"
