"""snntorch-ecl: from a PyTorch network to a spiking one that needs one to eight time steps.

>>> import torch, snntorch_ecl as ecl
>>> from torch import nn
>>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
>>> ann = ecl.prepare(model, levels=4)      # every ReLU gets a learnable threshold
>>> _ = ann.train()(torch.rand(32, 8))      # … train it; the first batch starts the thresholds
>>> snn = ecl.convert(ann)                  # threshold λ becomes firing threshold θ
>>> snn(torch.rand(3, 8), num_steps=2).shape
torch.Size([3, 2])
"""

from . import errors, functional, models, surrogate
from ._version import __version__
from .conversion import calibrate, compensate, convert, convert_pretrained, load, prepare
from .errors import EclError
from .graph import ConvertConfig, Site, keep, register
from .hardware import (
    Allocation,
    allocate_levels,
    from_nir,
    graded,
    levelled,
    plain,
    settle_then_fire,
    to_integers,
    to_nir,
    two_channels,
)
from .measurement import Energy, Evaluation, Verification, energy, evaluate, plot_spikes, verify
from .network import SpikingNetwork
from .nn import DualThreshold, SignedMaxPool, Stepwise, Temporal, ThresholdClip, reset

__all__ = [
    "Allocation",
    "ConvertConfig",
    "DualThreshold",
    "EclError",
    "Energy",
    "Evaluation",
    "SignedMaxPool",
    "Site",
    "SpikingNetwork",
    "Stepwise",
    "Temporal",
    "ThresholdClip",
    "Verification",
    "__version__",
    "allocate_levels",
    "calibrate",
    "compensate",
    "convert",
    "convert_pretrained",
    "energy",
    "errors",
    "evaluate",
    "from_nir",
    "functional",
    "graded",
    "keep",
    "levelled",
    "load",
    "models",
    "plain",
    "plot_spikes",
    "prepare",
    "register",
    "reset",
    "settle_then_fire",
    "surrogate",
    "to_integers",
    "to_nir",
    "two_channels",
    "verify",
]
