"""Training with Lightning (extra ``train``): clipped networks, and fine-tuning of spiking ones."""

from ._device_images import DeviceImages
from ._distillation import Committee, Teacher
from ._fit import fit
from ._norms import measure_norms

__all__ = ["Committee", "DeviceImages", "Teacher", "fit", "measure_norms"]
