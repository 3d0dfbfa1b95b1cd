"""Statistics of batch norms, measured again once the weights no longer move."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

__all__ = ["measure_norms"]

_BATCH = 250
# Beyond this many images the means no longer move.
_MOST_IMAGES = 50_000


@torch.no_grad()
def measure_norms(
    network: nn.Module,
    data: Dataset[tuple[Tensor, Any]],
    *,
    run: Callable[[Tensor], Any] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Replace the running statistics of batch norms by the mean over many batches, in place.

    While a network learns they follow weights that move, and in its own, lower precision. A spike
    is decided by a comparison, so that small errors there turn spikes. Nothing else changes.

    Args:
        network: Any network; without batch norms it stays as it is.
        data: Pairs of image and label, as they were trained on; 50,000 of them count.
        run: Runs the network on images ``[B, ...]``; by default ``network(images)``.
        seed: Of the order and the variation of the data.
        progress: Show a progress bar.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv 2105.07576, section 3.
    """
    kept = (m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats)
    norms = list(kept)
    if not norms:
        return
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's name for the plain mean over batches
    was_training = network.training
    network.train()
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    run = network if run is None else run
    device = next(network.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        size = min(_BATCH, len(cast(Sized, data)))
        loader = DataLoader(data, size, shuffle=True, drop_last=True)
        batches = min(len(loader), max(1, _MOST_IMAGES // size))
        bar = tqdm(
            loader, desc="norms", unit="batch", total=batches, disable=not progress, leave=False,
            delay=2,
        )  # fmt: skip
        for _, (images, _) in zip(range(batches), bar, strict=False):
            run(images.to(device))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.train(was_training)
