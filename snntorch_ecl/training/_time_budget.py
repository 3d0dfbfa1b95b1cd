"""Training that ends when the time does: epochs are planned anew after each one."""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

from .._util.files import replacing
from ..errors import StateError
from ._device_loop import DeviceLoop

_MOST_RETURNS = 5  # diverged epochs that are taken back, before it is an error


def train_within(
    loop: DeviceLoop,
    file: Path,
    *,
    seconds: float,
    epochs: int,
    save_every: float = 30.0,
) -> list[dict[str, float]]:
    """Train until the time or the epochs are used up; the cosine ends just then.

    How many epochs are left is planned after each one, from what the last ones took. An epoch
    that diverges is taken back, and the learning rate halved. One epoch is trained in any case.

    Args:
        loop: What trains.
        file: Checkpoint; a run that was interrupted goes on from it.
        seconds: Time for this call.
        epochs: Most epochs of the whole run.
        save_every: Seconds between checkpoints; the last epoch always writes one.

    Returns:
        For each epoch its mean loss, the rate at its end, seconds, and how many were taken back
        before it.

    Raises:
        StateError: The training diverged again and again.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from snntorch_ecl.settings import TrainConfig
        >>> from snntorch_ecl.training import DeviceImages
        >>> pixels = torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        >>> data = DeviceImages(pixels, torch.arange(32) % 2)
        >>> config = TrainConfig(batch_size=16, lr=0.001)
        >>> file = Path(tempfile.mkdtemp()) / "last.ckpt"
        >>> curve = train_within(DeviceLoop(model, data, config), file, seconds=9, epochs=3)
        >>> [round(point["rate"], 5) for point in curve]
        [0.00075, 0.00025, 0.0]
    """
    curve: list[dict[str, float]] = []
    progress, began = 0.0, time.monotonic()
    if file.is_file():
        device = loop.data.labels.device
        saved = torch.load(file, map_location=device, weights_only=True)
        loop.load(saved["loop"])
        curve, progress = saved["curve"], saved["progress"]
    good, timed, back, written = loop.state(), list[float](), 0, began
    untrained = math.log(loop.classes)  # the loss of guessing, or that of the first batch
    # Epochs that may compile; while thresholds follow the activations, none does.
    cold = (2 if loop.settling else 1) if loop.compiles else 0
    while progress < 1:
        rest = _planned(epochs - len(curve), seconds - (time.monotonic() - began), timed)
        start, end = time.monotonic(), 1.0 if rest == 1 else progress + (1 - progress) / rest
        losses = losses_of_epoch(loop, len(curve) + back, progress, end)
        taken = time.monotonic() - start
        if cold > 0:
            cold -= 1
        else:
            timed.append(taken)
        untrained = max(untrained, losses[0]) if not curve and not back else untrained
        if not _converges(losses, 1.5 * untrained):
            back += 1
            if back > _MOST_RETURNS:
                raise StateError(
                    f"the training diverged again and again, the last time at learning rate "
                    f"{loop.lr:g} after {len(curve)} epochs; {file} holds the last good one"
                )
            loop.load({**good, "lr": loop.lr / 2})
            good = loop.state()
            continue
        point = {"loss": statistics.fmean(losses), "rate": loop.rate(end), "seconds": taken}
        curve.append({**point, "taken back": back})
        good, progress = loop.state(), end
        if progress >= 1 or time.monotonic() - written >= save_every:
            written = time.monotonic()
            with replacing(file) as part:
                torch.save({"loop": good, "curve": curve, "progress": progress}, part)
            shown = ", ".join(f"{name} {value:.3g}" for name, value in curve[-1].items())
            tqdm.write(
                f"{file.stem}: epoch {len(curve)} ({100 * progress:.0f} %), {shown}",
                file=sys.stderr,
            )
    return curve


def losses_of_epoch(loop: DeviceLoop, number: int, begin: float, end: float) -> list[float]:
    """The losses of an epoch, read once; in plain code, and a warning, if compiling fails."""
    before = loop.state()
    try:
        return list(loop.epoch(number, begin, end).tolist())
    except (StateError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a compiler's failures have no common base
        if not loop.compiles:
            raise
        warnings.warn(
            f"training goes on in plain code, as the network cannot be compiled: "
            f"{type(error).__name__}: {str(error)[:500]}",
            stacklevel=2,
        )
    loop.without_compiler()
    loop.load(before)
    return list(loop.epoch(number, begin, end).tolist())


def _planned(most: int, left: float, timed: list[float]) -> int:
    """Epochs that still fit, this one included; at least one."""
    if left <= 0:
        return 1
    if timed:
        most = min(most, int(left / statistics.median(timed[-5:])))
    return max(1, most)


def _converges(losses: list[float], most: float) -> bool:
    """Finite, and at the epoch's end not above ``most``."""
    end = losses[-max(1, len(losses) // 4) :]
    return all(map(math.isfinite, losses)) and statistics.fmean(end) <= most
