"""Networks as graphs: tracing, small passes, and the table of what each layer and operation is.

This room knows nothing of time.
"""

from . import _layers as _layers  # fills the table
from ._registry import keep, register
from ._site import ConvertConfig, Site

__all__ = ["ConvertConfig", "Site", "keep", "register"]
