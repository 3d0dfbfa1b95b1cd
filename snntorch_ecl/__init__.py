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
from .activation import ThresholdClip
from .calibrate import calibrate
from .compensate import compensate
from .convert import ConvertConfig, convert, prepare
from .energy import Energy, energy
from .errors import EclError
from .evaluate import Evaluation, evaluate
from .fuse import fuse
from .handlers import Site, keep, register
from .network import SpikingNetwork
from .neuron import DualThreshold
from .pool import SignedMaxPool
from .storage import load
from .temporal import Stepwise, Temporal, reset
from .verify import Verification, verify

__all__ = [
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
    "calibrate",
    "compensate",
    "convert",
    "energy",
    "errors",
    "evaluate",
    "functional",
    "fuse",
    "keep",
    "load",
    "models",
    "prepare",
    "register",
    "reset",
    "surrogate",
    "verify",
]
