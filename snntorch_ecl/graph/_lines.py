"""File and line of the network's code."""

from __future__ import annotations

import os
from pathlib import Path
from types import FrameType

import torch

_HERE = f"{Path(__file__).parent}{os.sep}"
TRACING = "_record"  # the function below which the network's code runs
_TORCH = f"{Path(torch.__file__).parent}{os.sep}"  # not torchvision


def _is_user(file: str) -> bool:
    """Whether a file is the network's, not torch's, ours, or code that fx has generated."""
    return not file.startswith((_HERE, _TORCH, "<"))


def line_of_frame(frame: FrameType | None) -> str:
    """``net.py:12`` of the innermost call in the network's code; empty if there is none."""
    while frame is not None and frame.f_code.co_name != TRACING:
        if _is_user(frame.f_code.co_filename):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def line_of_error(error: BaseException) -> str:
    """``/path/net.py:12 in forward``, where an error left the network's code; empty if nowhere."""
    found, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_user(code.co_filename):
            found = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return found
