"""What Lightning's Trainer needs from us: a module and data.

Imports Lightning, which is optional and slow to import: ``fit`` alone imports this module, and no
sooner than it trains.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

from .._util.batches import check_labels
from .._util.checks import check_whole_numbers
from .._util.processes import Place, share
from ..errors import ConfigError, StateError
from ..network._compiled_gradients import check_compiled_gradients
from ..network._guards import Finite
from ..nn import ThresholdClip
from ..nn._threshold_clip import settled
from ..settings import TrainConfig
from ._atomic_checkpoints import AtomicCheckpoints
from ._distillation import Teacher
from ._learned_levels import LearnedLevels
from ._progress import EpochBar
from ._sampling import EpochSampler, Indexed
from ._stopping import StopOnSignal as StopOnSignal
from ._thresholds import parameter_groups

Pairs = Dataset[tuple[Tensor, Any]]

# An accelerator works ahead of the host, which waits for it where it reads a value.
_STEPS_BETWEEN_READS = 50


class Classifier(LightningModule):
    """Cross-entropy training of a classifier, with SGD and a cosine schedule."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        classes: int,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.teacher = teacher
        self.loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self._logits: Any = model.__call__
        self._finite = Finite()
        self.levels = LearnedLevels(model) if config.level_penalty else None
        self._waits_to_compile = config.compile
        if teacher is not None and config.compile:
            teacher.model.forward = torch.compile(teacher.model.forward)

    def on_train_epoch_start(self) -> None:
        """Dropout draws from the epoch's own random numbers: a resumed run goes on alike."""
        torch.manual_seed(
            hash((self.config.seed, self.current_epoch, self.global_rank)) & 2**32 - 1
        )

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """The loss of one batch; a loss that is not finite stops the run."""
        images, labels = self._laid_out(batch[0]), batch[1]
        # In compiled code, thresholds do not follow the activations.
        if self._waits_to_compile and settled(self.model):
            self._waits_to_compile = False
            self._compile(images, labels)
        if self.levels is not None:
            self.levels.begin_epoch(self.current_epoch, self.config.epochs)
        loss = self._loss_of(self._logits, images, labels)
        if self.levels is not None:
            loss = loss + self.config.level_penalty * self.levels.penalty()
        about = (self.global_step, self.current_epoch, loss.detach())
        self._finite.see(loss.detach().isfinite().view(1), [about], self._not_finite)
        if index % _STEPS_BETWEEN_READS == 0:
            self._finite.read()
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def _not_finite(self, about: tuple[int, int, Tensor]) -> StateError:
        step, epoch, loss = about
        return StateError(
            f"the loss became {loss.item()} at step {step} (epoch {epoch}); lower the learning "
            f"rate (lr={self.config.lr:g}) or clip gradients. Checkpoints written so far are good."
        )

    def _loss_of(self, network: Any, images: Tensor, labels: Tensor) -> Tensor:
        logits = network(images)
        try:
            loss: Tensor = self.loss(logits, labels)
        except (IndexError, RuntimeError):
            check_labels(labels, logits.shape[1])
            raise  # the error has another cause
        return loss if self.teacher is None else self.teacher.mixed(loss, images, logits)

    def _compile(self, images: Tensor, labels: Tensor) -> None:
        """Go on in compiled code, unless its gradients are not those of plain code."""
        # The bound method, not a compiled module: that would be a second child with the same
        # parameters under other names.
        plain, compiled = self.model.__call__, torch.compile(self.model.__call__)
        try:
            check_compiled_gradients(
                self.model,
                lambda: self._loss_of(plain, images.clone(), labels),
                lambda: self._loss_of(compiled, images.clone(), labels),
            )
            self._logits = compiled
        except StateError as error:
            warnings.warn(f"training goes on in plain code: {error}", stacklevel=2)

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep learned levels between 1 and those at the start."""
        if self.levels is not None:
            self.levels.keep_within()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """No checkpoint after a loss that was not finite."""
        self._finite.read()

    def on_train_epoch_end(self) -> None:
        """Log each layer's threshold (the mean over its channels)."""
        self._finite.read()
        for name, module in self.model.named_modules():
            if isinstance(module, ThresholdClip) and module.is_set:
                self.log(f"threshold/{name}", module.threshold.detach().mean(), sync_dist=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Count right answers."""
        images, labels = batch
        logits = self._logits(self._laid_out(images))
        check_labels(labels, logits.shape[1])
        self.accuracy.update(logits, labels)
        self.log("accuracy", self.accuracy, prog_bar=True, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        """SGD or AdamW; the learning rate falls to 0 along a cosine, step by step."""
        config = self.config
        groups = parameter_groups(self.model, config)
        groups += [] if self.levels is None else [self.levels.group()]
        optimizer: torch.optim.Optimizer
        if config.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999))
        else:
            optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _laid_out(self, images: Tensor) -> Tensor:
        """The images in the memory layout that the recipe asks for."""
        if self.config.channels_last and images.ndim == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images


class Data(LightningDataModule):
    """Loaders whose order depends on seed and epoch alone; batch sizes count all processes."""

    def __init__(self, train: Pairs, validation: Pairs | None, config: TrainConfig) -> None:
        super().__init__()
        self.varied = Indexed(train, config.seed)
        self.validation = validation
        self.config = config
        self.begun = (0, 0)  # the epoch in which a run goes on, and its batches that are done

    def train_dataloader(self) -> DataLoader[Any]:
        """This process' share of each global batch."""
        rank, world = self._place()
        if self.config.batch_size % world:
            raise ConfigError(
                f"batch_size counts all processes: {self.config.batch_size} cannot be split over "
                f"{world}"
            )
        sampler = EpochSampler(
            self.varied, num_replicas=world, rank=rank, seed=self.config.seed, drop_last=True
        )
        batch_size = self.config.batch_size // world
        epoch, batches = self.begun
        sampler.set_epoch(epoch)  # Lightning does so after workers have begun to load
        sampler.begun = (epoch, batches * batch_size)
        return self._loader(self.varied, batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """This process' share of the validation data; none if there is none."""
        if self.validation is None:
            return []
        return self._loader(share(self.validation, self._place()), 250)

    def _place(self) -> Place:
        """Which process this is, as Lightning counts them."""
        if self.trainer is None:
            return Place(0, 1)
        return Place(self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, data: Pairs, batch_size: int, **options: Any) -> DataLoader[Any]:
        """A loader with the recipe's workers; training leaves out a last, incomplete batch."""
        workers = self.config.workers
        return DataLoader(
            data,
            batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last="sampler" in options,
            **options,
        )


def make_trainer(
    config: TrainConfig,
    *,
    output_dir: Path | None,
    validate: bool,
    accelerator: str,
    devices: int,
    num_nodes: int,
    progress: bool,
    stop: StopOnSignal,
) -> Trainer:
    """Lightning's Trainer for ``fit``; ConfigError if there is no such accelerator or too few."""
    check_whole_numbers("devices", (devices,), lowest=1)
    check_whole_numbers("num_nodes", (num_nodes,), lowest=1)
    callbacks: list[Any] = [stop, *([EpochBar()] if progress else [])]
    loggers: list[Any] = []
    if output_dir is not None:
        callbacks.append(
            ModelCheckpoint(
                output_dir,
                "best",
                monitor="accuracy" if validate else None,
                mode="max",
                save_last=True,
                enable_version_counter=False,
            )
        )
        callbacks.append(LearningRateMonitor("epoch"))
        # A version for each slice of a resumed run: Lightning would overwrite the last one. Written
        # at once: a run that is killed has lost no epoch of which it has left a checkpoint.
        loggers.append(CSVLogger(output_dir, name="logs", flush_logs_every_n_steps=1))
        if importlib.util.find_spec("tensorboard") is not None:
            loggers.append(TensorBoardLogger(output_dir, name="tensorboard", version=0))
    on_gpu = torch.cuda.is_available()
    try:
        return Trainer(
            max_epochs=config.epochs,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy="auto" if devices * num_nodes == 1 else "ddp",
            precision=config.precision,
            # Batch norms see the global batch, as in one process; CPUs have no such thing.
            sync_batchnorm=devices * num_nodes > 1 and on_gpu and accelerator != "cpu",
            gradient_clip_val=config.gradient_clip or None,
            logger=loggers or False,
            callbacks=callbacks,
            plugins=[AtomicCheckpoints()],
            enable_checkpointing=output_dir is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            f"cannot train with accelerator={accelerator!r}, devices={devices}, "
            f"num_nodes={num_nodes}, precision={config.precision!r} here: {error}"
        ) from error
