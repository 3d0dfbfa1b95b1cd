"""What a fine-tuning of the converted network has left: to measure, or to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..conversion import convert, load
from ..errors import CheckpointError
from ..models._checkpoint import differences
from ..network import SpikingNetwork

# What stands before the network's own names in the checkpoints of a fine-tuning.
_PREFIX = "model.snn."


def load_tuned(folder: str | Path, ann: nn.Module) -> SpikingNetwork:
    """The network that a fine-tuning has left.

    Args:
        folder: The folder of a finished run of :func:`snntorch_ecl.experiments.run_tuning`.
        ann: The prepared network that was tuned, thresholds set.

    Returns:
        The spiking network, batch norms folded, where ``ann`` is.

    Raises:
        CheckpointError: The folder holds no such network, the file is damaged, or it is of
            another network or of other thresholds.

    Example:
        >>> from snntorch_ecl.models import load_ann
        >>> ann = load_ann("runs/digits/ann.safetensors").ann  # doctest: +SKIP
        >>> snn = load_tuned("runs/digits-t2", ann)  # doctest: +SKIP
    """
    path = Path(folder) / "snn.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"there is no {path}; name the output folder of a fine-tuning that has ended"
        )
    snn = load(path, ann)
    differing = _other_thresholds(snn.state_dict(), convert(ann).state_dict())
    if differing:
        raise CheckpointError(
            f"{path} was tuned from another ANN: {differing}. Give the checkpoint that it was "
            "tuned from"
        )
    return snn


def start_from_run(snn: SpikingNetwork, folder: str | Path) -> None:
    """Take over the weights and batch norms that a fine-tuning of the same ANN has learned.

    They are read from ``last.ckpt``: in ``snn.safetensors`` the norms are folded. If the run is
    of another network or of other thresholds, :class:`CheckpointError`, and ``snn`` is as it was.
    """
    path = Path(folder) / "last.ckpt"
    own = snn.state_dict()
    state = _network_in(path)
    differing = differences(state, own) or _other_thresholds(state, own)
    if differing:
        raise CheckpointError(
            f"{path} belongs to another ANN: {differing}. Start from a fine-tuning of the same "
            "checkpoint"
        )
    snn.load_state_dict(state)


def _other_thresholds(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The first threshold that differs: they do not learn here, so the run began elsewhere."""
    for name, mine in own.items():
        if name.endswith(".threshold") and not torch.equal(state[name], mine):
            return f"{name} is not the same"
    return ""


def _network_in(path: Path) -> dict[str, Tensor]:
    """The network's tensors in a checkpoint of Lightning's."""
    if not path.is_file():
        raise CheckpointError(
            f"there is no {path} to start from; name the output folder of a fine-tuning"
        )
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        own = [name for name in saved if name.startswith(_PREFIX)]
        state = {name.removeprefix(_PREFIX): saved[name] for name in own}
    except Exception as error:  # unpickling what is damaged raises anything
        raise CheckpointError(
            f"{path} is damaged or no checkpoint ({error!r}); name the output folder of a "
            "fine-tuning"
        ) from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path} is no checkpoint of a fine-tuning; name the output folder of one, or give an "
            "ann.safetensors as the checkpoint"
        )
    return state
