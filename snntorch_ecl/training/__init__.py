"""Training with Lightning (extra ``train``): clipped networks, and fine-tuning of spiking ones."""

from ._distillation import Committee, Teacher
from ._fit import fit
from ._norms import measure_norms

__all__ = ["Committee", "Teacher", "fit", "measure_norms"]
