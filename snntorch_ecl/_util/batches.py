"""Read users' data batch by batch: find the tensors, check them, show a progress bar."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from ..errors import ConfigError, DataError


def images_in(
    data: Iterable[Any], *, key: str | None = None, desc: str = "", progress: bool | str = False
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
    data: Iterable[Any],
    *,
    desc: str = "",
    progress: bool | str = False,
    sequences: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch as a pair of images ``[B, ...]`` and labels ``[B]``, checked.

    With ``sequences``, images are ``[T, B, ...]``.
    """
    for index, batch in enumerate(_with_bar(data, desc, progress)):
        pair = isinstance(batch, (tuple, list)) and len(batch) == 2
        if not pair or not all(isinstance(part, Tensor) for part in batch):
            raise DataError(
                f"batch {index} must be a pair of tensors (images, labels); got {_kind(batch)}"
                f"{_pair_from(batch)}"
            )
        images, labels = batch
        size = images.shape[1:2] if sequences else images.shape[:1]
        if labels.shape != size or labels.is_floating_point():
            raise DataError(
                f"batch {index}: labels must be class numbers of shape {list(size)}; got "
                f"{labels.dtype} of shape {list(labels.shape)}{_remedy(images, labels)}"
            )
        yield images, labels


def _kind(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of ({', '.join(type(part).__name__ for part in batch)})"
    return f"a {type(batch).__name__}"


def _pair_from(batch: Any) -> str:
    """How to make a pair of a batch of another kind."""
    if isinstance(batch, Mapping):
        names = ", ".join(map(repr, batch))
        return f" with {names}. Name them: ((batch[...], batch[...]) for batch in data)"
    return ". Choose and convert them: ((batch[0], torch.as_tensor(batch[1])) for batch in data)"


def _remedy(images: Tensor, labels: Tensor) -> str:
    """What to do about targets that are no class numbers."""
    if images.ndim > 1 and labels.shape == images.shape[1:2] and not labels.is_floating_point():
        return (
            ". If the images are sequences [T, B, ...], one input for each step, give "
            "sequences=True (evaluate), or run them with snn.forward_steps"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        return ". Drop the last dimension: labels.squeeze(1)"
    if labels.ndim == 2 and bool(((labels == 0) | (labels == 1)).all()):
        return ". One-hot targets: give labels.argmax(1)"
    return (
        ". Accuracy is for one class an image. For regression, segmentation or other targets, "
        "compare them with snn.logits_over_time(images, num_steps=T), an output for each t ≤ T"
    )


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise :class:`DataError` unless labels are classes of the network."""
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise DataError(
            f"labels range from {int(labels.min())} to {int(labels.max())}, but the network has "
            f"classes 0 to {classes - 1}"
        )


def check_length(sequence: Tensor, num_steps: int) -> None:
    """Raise :class:`DataError` unless a sequence ``[T, B, ...]`` has T steps."""
    if sequence.ndim < 2 or len(sequence) != num_steps:
        raise DataError(
            f"sequences must be [T, B, ...] with T = num_steps = {num_steps}; got a batch of shape "
            f"{list(sequence.shape)}"
        )


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


def _with_bar(data: Iterable[Any], desc: str, progress: bool | str) -> Iterable[Any]:
    """The batches, with a progress bar; a text in place of True names it."""
    if isinstance(data, Tensor):
        raise DataError(
            f"data must be batches; got one tensor of shape {list(data.shape)}, whose rows would "
            "be taken for batches. Give a DataLoader, or a list: [images]"
        )
    desc = progress if isinstance(progress, str) else desc
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
