"""Checkpoints of a training that are never half written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from .._util.files import remedy, replacing
from ..errors import CheckpointError, StateError


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint and renames: a run killed while it writes loses nothing."""

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, or say which one is damaged."""
        try:
            state: dict[str, Any] = super().load_checkpoint(path, *args, **options)
        except (OSError, MemoryError, torch.OutOfMemoryError):
            raise  # the checkpoint may be good
        except Exception as error:  # unpickling what is damaged raises anything
            raise CheckpointError(
                f"checkpoint {path} is damaged ({error!r}); remove it and begin again, or copy "
                "another one, such as best.ckpt, to its place"
            ) from error
        return state

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint, all or nothing."""
        path = Path(path)
        try:
            with replacing(path) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # Where the system refuses, torch's writer says "enforce fail at inline_container.cc".
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise StateError(
                f"checkpoint {path} cannot be written: {reason}{remedy(reason)}"
            ) from error
