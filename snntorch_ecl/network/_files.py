"""Tensors on disk: safetensors with settings and figures as metadata, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .._util.files import remedy, replacing
from .._version import __version__
from ..errors import CheckpointError, ConfigError

# Ten times what the deepest of networks have.
_MOST_TENSORS = 50_000
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
    metadata = {"figures": "{}", **read_tensors(Path(path), NETWORK)[1]}
    figures = read_settings(Path(path), metadata, "figures")
    if not isinstance(figures, dict):
        raise CheckpointError(f"the figures in {path} are damaged: {figures!r:.100}")
    return figures


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> Path:
    """Write a safetensors file, all or nothing; shared tensors are written more than once."""
    path = as_path(path, "save(path)")
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


def as_path(path: Any, call: str) -> Path:
    """The path; :class:`ConfigError` if something else is given, as where arguments are swapped."""
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"{call}: path must name a file; got {type(path).__name__}")
    return Path(path)


def read_tensors(path: Path, expected: Format) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, which must have the expected format."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, file.keys()
            _check_format(path, expected, metadata)
            if len(names) > _MOST_TENSORS:
                raise CheckpointError(
                    f"{path} holds {len(names):,} tensors, more than any network of this package"
                )
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or not a safetensors file: {error}") from error
    _check_finite(path, tensors)
    return tensors, metadata


def _check_format(path: Path, expected: Format, metadata: Mapping[str, str]) -> None:
    """Refuse a file of another kind, or of a version that this release does not know."""
    found, version = (metadata.get(key, "")[:100] for key in ("format", "format_version"))
    if found != expected.name:
        raise CheckpointError(
            f"{path} was not written by {expected.writer}: its format is {found or None!r}, not "
            f"{expected.name!r}"
        )
    if version != str(expected.version):
        raise CheckpointError(
            f"{path} has format version {version or None}; this release reads "
            f"{expected.version}. Update snntorch-ecl."
        )


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are NaN or infinite; a threshold that is unset is NaN."""
    for name, values in tensors.items():
        # θ of a neuron has a check, and words, of its own.
        if not name.endswith("threshold") and not bool(values.isfinite().all()):
            bad = int((~values.isfinite()).sum())
            raise CheckpointError(
                f"{path}: {name} holds {bad} values that are NaN or infinite; the training that "
                "wrote it had diverged. Take an earlier checkpoint"
            )


def check_types(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse whole or complex numbers in place of real ones: torch would convert them silently."""
    for name, own in expected.items():
        found = tensors.get(name)
        if found is not None and found.is_floating_point() != own.is_floating_point():
            raise CheckpointError(
                f"{path}: {name} is of type {found.dtype}; this network's is {own.dtype}"
            )


def read_settings(path: Path, metadata: Mapping[str, str], name: str) -> Any:
    """One of a file's settings, from JSON."""
    try:
        return json.loads(metadata[name])
    except KeyError as error:
        raise CheckpointError(f"{path} lacks its {name}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its {name}: {error!r}") from error
