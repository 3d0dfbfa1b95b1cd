"""The progress bar of a training; Lightning's own counts epochs from 0."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm


class EpochBar(Callback):
    """A bar for each epoch in the first process, with the loss at its end."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown = -math.inf  # when the loss was read last

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of an epoch, counted from 1."""
        self._begin(trainer, 0)

    def _begin(self, trainer: Trainer, batches: int) -> None:
        """A bar that begins after so many batches."""
        self._bar = tqdm(
            total=int(trainer.num_training_batches),
            initial=batches,
            desc=f"train, epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
            unit="batch",
            disable=not trainer.is_global_zero,
            leave=trainer.current_epoch + 1 == trainer.max_epochs,
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin the bar of a run that goes on within an epoch."""
        if self._bar is None:
            self._begin(trainer, batch_idx)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Show one more batch, and the loss."""
        now, last = time.monotonic(), self._bar.n + 1 == self._bar.total
        # Once a second: reading a value of an accelerator waits for all that it has to do.
        if now >= self._shown + 1 or last:
            self._shown = now
            loss = trainer.callback_metrics.get("loss_step")
            if loss is not None:
                self._bar.set_postfix({"loss": f"{float(loss):.3f}"}, refresh=False)
        self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar, with the figures of the epoch."""
        self._bar.close()

    def on_exception(self, *_: Any) -> None:
        """Leave the bar where it is, so that the error stands in a line of its own."""
        if self._bar is not None:
            self._bar.close()
