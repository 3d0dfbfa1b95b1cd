"""``python -m snntorch_ecl.cli``, for launchers such as ``torchrun``."""

from . import app

app()
