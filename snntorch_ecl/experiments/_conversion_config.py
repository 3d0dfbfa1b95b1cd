"""The settings of a conversion: which network, which images, how."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from .._util.checks import check_neuron, check_num_steps, check_seed, check_whole_numbers
from ..conversion._convert_pretrained import Budget
from ..errors import ConfigError
from ._any_network import split_name


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """Which network to convert, with which images, and how.

    Attributes:
        model: ``package.module:factory``; the factory is called without arguments.
        images: Folder of images, in subfolders by class or not.
        weights: A state dict as safetensors or from ``torch.save``; None for those that the
            factory gives.
        num_steps: T.
        budget: ``fast``, ``good`` or ``best``; see :func:`snntorch_ecl.convert_pretrained`.
        spike_sizes: K: spikes of K sizes.
        signed: Signed spikes where values can be negative, for networks without ReLU.
        image_size: Side of the network's input, in pixels.
        mean: Mean of each channel on a scale of 0 to 1; ImageNet's by default. One number for
            grey images.
        std: Standard deviation of each channel.
        calibration: How many images to convert with; at most two thirds of all.
        held_out: How many others to judge by.
        batch_size: Images at a time.
        seed: Seed of the choice of images.

    Raises:
        ConfigError: A setting is outside its range.

    Example:
        >>> ConversionConfig(model="torchvision.models:resnet18", images="images").num_steps
        8
    """

    model: str
    images: str
    weights: str | None = None
    num_steps: int = 8
    budget: str = "good"
    spike_sizes: int = 1
    signed: bool = False
    image_size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    calibration: int = 256
    held_out: int = 256
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        split_name(self.model)
        check_num_steps(self.num_steps)
        if self.budget not in get_args(Budget):
            options = ", ".join(get_args(Budget))
            raise ConfigError(f"budget must be one of {options}; got {self.budget!r}")
        check_neuron(0.0, 0.5, self.spike_sizes)
        if not isinstance(self.signed, bool):
            raise ConfigError(f"signed must be true or false; got {self.signed!r}")
        for name in ("image_size", "calibration", "held_out", "batch_size"):
            check_whole_numbers(name, (getattr(self, name),), lowest=1)
        check_seed("seed", self.seed)
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if not (finite and len(self.mean) == len(self.std) in (1, 3) and min(self.std) > 0):
            raise ConfigError(
                "mean and std need three finite numbers (red, green, blue) or one (grey), std > 0; "
                f"got {self.mean} and {self.std}"
            )

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one image in a batch."""
        return (1, len(self.mean), self.image_size, self.image_size)

    def command(self, output_dir: Path) -> str:
        """The command that repeats the conversion."""
        words = ["snntorch-ecl", "convert"]
        for field in fields(self):
            value, flag = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(flag)
            elif value != field.default:
                shown = ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else value
                words += [flag, str(shown)]
        return shlex.join([*words, "--output-dir", str(output_dir)])
