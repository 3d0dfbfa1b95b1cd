"""Generated images on which anybody can measure a shipped network again, without its data."""

from __future__ import annotations

import torch
from torch import Tensor

import snntorch_ecl as ecl
from snntorch_ecl.models import Checkpoint


def patterns(checkpoint: Checkpoint, *, count: int = 200) -> Tensor:
    """Smooth random images of the network's size: the same on every machine.

    Args:
        checkpoint: Gives number of channels and size.
        count: How many.

    Returns:
        ``[count, C, H, W]``, about as bright and contrasted as normalised images.
    """
    first = next(p for p in checkpoint.ann.parameters() if p.ndim == 4)
    channels = int(first.shape[1])
    size = 28 if checkpoint.config.data.name == "digits" else checkpoint.config.data.image_size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, channels, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=True
    )


def agreement_on_patterns(
    checkpoint: Checkpoint,
    snn: ecl.SpikingNetwork | None = None,
    *,
    steps: tuple[int, ...] = (1, 2, 4, 8),
) -> dict[str, float]:
    """On what share of :func:`patterns` the spiking network chooses the ANN's class.

    Args:
        checkpoint: The ANN.
        snn: The spiking network, where it is not the converted ANN.
        steps: The T to report.

    Returns:
        Shares within [0, 1] by T; T as text, as JSON has it.
    """
    images = patterns(checkpoint)
    with torch.no_grad():
        expected = checkpoint.ann(images).argmax(1)
        spiking = ecl.convert(checkpoint.ann) if snn is None else snn
        some = images.split(50)  # a quarter of the memory
        logits = torch.cat([spiking.logits_over_time(x, num_steps=max(steps)) for x in some], 1)
    shares = (logits.argmax(2) == expected).double().mean(1)
    return {str(t): float(shares[t - 1]) for t in steps}
