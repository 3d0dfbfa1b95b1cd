"""Tensors on disk: safetensors with settings and figures as metadata, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .._util.files import remedy, replacing
from .._version import __version__
from ..errors import CheckpointError

# Names that promise another kind of file.
_FOREIGN = (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".onnx")


@dataclass(frozen=True)
class Format:
    """A kind of safetensors file.

    Attributes:
        name: What it holds.
        version: To be raised whenever older releases cannot read the files.
        writer: The function that writes it, for errors.
    """

    name: str
    version: int
    writer: str

    def metadata(self) -> dict[str, str]:
        """The metadata that marks a file of this format."""
        return {"format": self.name, "format_version": str(self.version)}


NETWORK = Format("snntorch-ecl spiking network", version=1, writer="SpikingNetwork.save")


def write_network(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> Path:
    """Write a spiking network's file; see :meth:`SpikingNetwork.save`."""
    metadata = {
        **NETWORK.metadata(),
        "settings": json.dumps({"version": __version__, **settings}),
        "figures": json.dumps(dict(figures)),
    }
    return write_tensors(path, tensors, metadata)


def read_figures(path: str | Path) -> dict[str, Any]:
    """The figures in a network's file, as :meth:`SpikingNetwork.save` was given them."""
    metadata = read_tensors(Path(path), NETWORK)[1]
    try:
        figures: dict[str, Any] = json.loads(metadata.get("figures", "{}"))
    except ValueError as error:
        raise CheckpointError(f"the figures in {path} are damaged: {error!r}") from error
    return figures


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> Path:
    """Write a safetensors file, all or nothing; shared tensors are written more than once."""
    path = Path(path)
    if path.suffix in _FOREIGN:
        raise CheckpointError(
            f"{path} would be a safetensors file, which readers of {path.suffix} cannot read; name "
            f"it {path.with_suffix('.safetensors')}"
        )
    # Copies: safetensors refuses tensors that share memory, such as tied weights.
    copies = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    try:
        with replacing(path) as part:
            part.write_bytes(to_bytes(copies, metadata))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}{remedy(error)}") from error
    return path


def read_tensors(path: Path, expected: Format) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, which must have the expected format."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or not a safetensors file: {error}") from error
    if metadata.get("format") != expected.name:
        raise CheckpointError(
            f"{path} was not written by {expected.writer}: its format is "
            f"{metadata.get('format')!r}, not {expected.name!r}"
        )
    if metadata.get("format_version") != str(expected.version):
        raise CheckpointError(
            f"{path} has format version {metadata.get('format_version')}; this release reads "
            f"{expected.version}. Update snntorch-ecl."
        )
    return tensors, metadata
