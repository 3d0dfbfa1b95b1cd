"""Read users' data batch by batch: find the tensors, check them, show a progress bar."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from ..errors import ConfigError, DataError


def images_in(
    data: Iterable[Any], *, key: str | None = None, desc: str = "", progress: bool = False
) -> Iterator[Tensor]:
    """The input ``[B, ...]`` of each batch: a tensor, a tuple's first item, or a dict's ``key``.

    Example:
        >>> import torch
        >>> [list(x.shape) for x in images_in([torch.rand(4, 2), (torch.rand(3, 2), "labels")])]
        [[4, 2], [3, 2]]
    """
    for index, batch in enumerate(_with_bar(data, desc, progress)):
        yield _image(batch, index, key)


def pairs_in(
    data: Iterable[Any], *, desc: str = "", progress: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch as a pair of images ``[B, ...]`` and labels ``[B]``, checked."""
    for index, batch in enumerate(_with_bar(data, desc, progress)):
        pair = isinstance(batch, (tuple, list)) and len(batch) == 2
        if not pair or not all(isinstance(part, Tensor) for part in batch):
            kind = type(batch).__name__
            raise DataError(
                f"batch {index} must be a pair of tensors (images, labels); got a {kind}"
            )
        images, labels = batch
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise DataError(
                f"batch {index}: labels must be class numbers of shape [{images.shape[0]}]; got "
                f"{labels.dtype} of shape {list(labels.shape)}"
            )
        yield images, labels


def check_one_input(network: nn.Module, what: str) -> None:
    """Raise :class:`ConfigError` if a network needs more than one input; ``what`` is the caller."""
    parameters = inspect.signature(network.forward).parameters.values()
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in ("num_steps", "held")
    ]
    if len(needed) > 1:
        raise ConfigError(
            f"{what} feeds networks with one input; this one takes {len(needed)} "
            f"({', '.join(needed)}). Wrap it in a module that takes them as one tensor"
        )


def _with_bar(data: Iterable[Any], desc: str, progress: bool) -> Iterable[Any]:
    if isinstance(data, Tensor):
        raise DataError(
            f"data must be batches; got one tensor of shape {list(data.shape)}, whose rows would "
            "be taken for them. Give a DataLoader, or a list: [images]"
        )
    bar: Iterable[Any] = tqdm(
        data, desc=desc, unit="batch", disable=not progress, leave=False, delay=2
    )
    return bar


def _image(batch: Any, index: int, key: str | None) -> Tensor:
    found = batch
    if isinstance(batch, Mapping):
        if key is None or key not in batch:
            known = ", ".join(map(repr, batch))
            raise DataError(f"batch {index} is a dict with {known}; name the input with key=")
        found = batch[key]
    elif isinstance(batch, (tuple, list)) and batch:
        found = batch[0]
    if not isinstance(found, Tensor):
        raise DataError(
            f"batch {index} must be a tensor, a tuple that begins with one, or a dict; got a "
            f"{type(found).__name__}"
        )
    if not len(found):
        raise DataError(f"batch {index} is empty: its input has shape {list(found.shape)}")
    return found
