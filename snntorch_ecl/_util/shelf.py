"""Keep tensors for later without holding them in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..errors import StateError
from .torch_internals import tree_map

# Bytes that a shelf keeps in memory before it begins to write files.
_IN_MEMORY = 256 * 2**20


class Shelf:
    """Takes tensors; the first few stay in memory, the others go to temporary files.

    Spikes of one size for each channel take one byte each. All tensors come back equal, on the
    device they were on. Use it as a context manager: the files go with it.

    Example:
        >>> with Shelf() as shelf:
        ...     kept = shelf.put(torch.arange(3.0))
        ...     kept.load().tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(self) -> None:
        self._room = _IN_MEMORY
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._written = 0

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def put(self, tensor: Tensor) -> Kept:
        """Take one tensor."""
        return Kept(tensor, self)

    def put_all(self, tree: Any) -> Any:
        """Take every tensor in nested lists, tuples and dicts; anything else stays as it is."""
        return tree_map(lambda v: self.put(v) if isinstance(v, Tensor) else v, tree)

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes may stay in memory; if so, they are counted."""
        if size > self._room:
            return False
        self._room -= size
        return True

    def give_back(self, size: int) -> None:
        """Count these bytes no longer."""
        self._room += size

    def write(self, tensor: Tensor) -> Path:
        """Write a contiguous tensor's bytes to a new file."""
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="snntorch-ecl-")
            path = Path(self._folder.name, str(self._written))
            self._written += 1
            tensor.flatten().view(torch.uint8).numpy().tofile(path)
        except OSError as error:
            raise StateError(
                f"a temporary file of {tensor.nbytes / 2**20:.0f} MiB cannot be written in "
                f"{tempfile.gettempdir()}: {error}. Use fewer images, or set TMPDIR to a folder "
                "with more room"
            ) from error
        return path


class Kept:
    """One tensor on a shelf, in memory or in a file of its own."""

    def __init__(self, tensor: Tensor, shelf: Shelf) -> None:
        self._shelf, self._device = shelf, tensor.device
        self._sizes = _spike_sizes(tensor)
        data = tensor.detach() if self._sizes is None else tensor.sign().to(torch.int8)
        # A copy of its own: a view would keep the whole tensor that it looks at alive.
        data = data.cpu().clone(memory_format=torch.contiguous_format)
        self._shape, self._dtype = data.shape, data.dtype
        self._held: Tensor | Path = data if shelf.take(data.nbytes) else shelf.write(data)

    def load(self) -> Tensor:
        """The tensor."""
        if isinstance(self._held, Tensor):
            data = self._held
        else:
            size = self._shape.numel() * self._dtype.itemsize
            data = torch.empty(size, dtype=torch.uint8)
            with self._held.open("rb") as file:
                read = file.readinto(memoryview(data.numpy()))  # type: ignore[arg-type]
            if read != size:
                raise StateError(
                    f"the temporary file {self._held} holds {read} bytes, and {size} were written: "
                    "something else changes files there. Set TMPDIR to a folder of your own"
                )
            data = data.view(self._dtype).reshape(self._shape)
        data = data.to(self._device)
        return data if self._sizes is None else data * self._sizes

    def drop(self) -> None:
        """Free its memory or its file."""
        if isinstance(self._held, Path):
            self._held.unlink(missing_ok=True)
        else:
            self._shelf.give_back(self._held.nbytes)
        self._held = torch.empty(0)


class Row(Sequence[Any]):
    """A sequence of trees of tensors on a shelf; each is loaded when it is asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._trees: list[Any] = []

    def append(self, tree: Any) -> None:
        """Put a tree of tensors at the end."""
        self._trees.append(self._shelf.put_all(tree))

    def __len__(self) -> int:
        return len(self._trees)

    def __getitem__(self, index: Any) -> Any:
        return loaded(self._trees[index])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def clear(self) -> None:
        """Drop everything."""
        dropped(self._trees)
        self._trees = []


def loaded(tree: Any) -> Any:
    """A tree with every tensor that is on a shelf in its place."""
    return _on_kept(tree, Kept.load)


def dropped(tree: Any) -> None:
    """Drop every tensor of a tree from its shelf."""
    _on_kept(tree, Kept.drop)


def _on_kept(tree: Any, function: Callable[[Kept], Any]) -> Any:
    return tree_map(lambda v: function(v) if isinstance(v, Kept) else v, tree)


def _spike_sizes(values: Tensor) -> Tensor | None:
    """The size of the spikes of each channel (dimension 1), if the values are spikes."""
    if values.ndim < 2 or not values.is_floating_point() or not values.numel():
        return None
    others = [dim for dim in range(values.ndim) if dim != 1]
    sizes = values.abs().amax(others, keepdim=True)
    return sizes if torch.equal(values.sign() * sizes, values) else None
