"""Ctrl-C and SIGTERM during a training: a checkpoint first, then the signal takes its course."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KEY = "snntorch_ecl_within_epoch"


class _Stop(BaseException):
    """Leaves Lightning's loops, which handle `KeyboardInterrupt` by an exit of their own."""


class StopOnSignal(Callback):
    """Ends a training at the next step after a signal, with a checkpoint of that step.

    A second signal ends it at once, as does the first where there is no folder for a checkpoint,
    or where several processes train: they would stop at different steps.
    """

    def __init__(self, last: Path | None) -> None:
        self._last = last
        self._waits = False
        self._came: int | None = None
        self._before: dict[int, Any] = {}
        self._trainer: Trainer | None = None
        self._random: dict[str, torch.Tensor] | None = None
        self._process = os.getpid()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a training: handlers are as before at its end, and a signal that came goes on."""
        stopped = False
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {n: h for n, h in found.items() if h not in (None, signal.SIG_IGN)}
        try:
            yield
        except _Stop:
            stopped = True
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if self._came is not None:
            signal.raise_signal(self._came)
        if stopped:  # the caller's own handler did not end the program
            raise KeyboardInterrupt

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which ends a training as if it were complete."""
        self._trainer = trainer
        self._waits = self._last is not None and trainer.world_size == 1
        for number in self._before:
            signal.signal(number, self._on_signal)
        if trainer.received_sigterm:  # while Lightning's was there
            signal.raise_signal(signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, or stop at once."""
        if os.getpid() != self._process:
            return  # a loader's process; it ends with its parent
        again, self._came = self._came is not None, number
        if self._waits and not again:
            return
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(number)
        raise _Stop

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Between two steps: go on with the random numbers of a run that stopped here, or stop."""
        if self._random is not None:
            torch.set_rng_state(self._random["cpu"])
            if "cuda" in self._random and torch.cuda.is_available():
                torch.cuda.set_rng_state(self._random["cuda"])
            self._random = None
        if self._came is not None and self._last is not None:
            trainer.save_checkpoint(self._last)
            raise _Stop

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add how far the epoch has come, if the run stops within it."""
        if self._came is None:
            return
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        checkpoint[_KEY] = {"batches": progress.completed, "random": random}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on within the epoch: with the batches and random numbers that come next."""
        within, epoch = checkpoint.get(_KEY), checkpoint["epoch"]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if within is None:
            data.begun = (epoch + 1, 0)
        else:
            data.begun = (epoch, within["batches"])
            self._random = within["random"]
