"""Statistics of batch norms, measured again once the weights no longer move."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .._util.rng import own_random_numbers
from .._util.torch_internals import BatchNorm

_BATCH = 250
# Beyond this many images the means no longer move.
_MOST_IMAGES = 50_000


def measure_norms(
    network: nn.Module,
    data: Dataset[tuple[Tensor, Any]],
    *,
    device: torch.device | None = None,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Replace the running statistics of batch norms by the mean over many batches, in place.

    During training they lag behind the weights, and may be kept in lower precision. A spike is
    decided by a comparison, so small errors in them flip spikes. Weights are not changed.

    Args:
        network: A network for images ``[B, ...]``. Without batch norms nothing happens.
        data: The training data, pairs of image and label; at most 50,000 are used.
        device: Where the network is; images are moved there.
        seed: Seed of the order of the images, and of their random changes.
        progress: Show a progress bar.

    Raises:
        DataError: An image cannot be read. The network is left as it was.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, arXiv 2105.07576, section 3.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> norm, images = nn.BatchNorm1d(3), torch.randn(100, 3) + 5
        >>> measure_norms(norm, TensorDataset(images, torch.zeros(100)), progress=False)
        >>> torch.allclose(norm.running_mean, images.mean(0), atol=1e-5)
        True
    """
    size = min(_BATCH, len(cast(Sized, data)))

    def images() -> Iterator[Tensor]:
        loader = DataLoader(data, size, shuffle=True, drop_last=True)
        total = min(len(loader), max(1, _MOST_IMAGES // size))
        batches = islice(loader, total)
        bar = {"desc": "measure batch norms", "unit": "batch", "total": total}
        for batch, _ in tqdm(batches, disable=not progress, leave=False, delay=2, **bar):
            yield batch

    with own_random_numbers(seed), _whole_or_not(network):
        update_bn(images(), network, device)


@contextmanager
def _whole_or_not(network: nn.Module) -> Iterator[None]:
    """If the block fails, norms and modes are as they were before it."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    before = [{name: t.clone() for name, t in norm.state_dict().items()} for norm in norms]
    modes = [
        (module, module.training, getattr(module, "momentum", None)) for module in network.modules()
    ]
    try:
        yield
    except BaseException:
        for norm, state in zip(norms, before, strict=True):
            norm.load_state_dict(state)
        for module, training, momentum in modes:
            module.training = training
            if momentum is not None:
                module.momentum = momentum
        raise
