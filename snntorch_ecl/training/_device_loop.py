"""A bare training loop over images on the device: the host starts work and never waits for it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, StateError
from ..network._compiled_gradients import check_compiled_gradients
from ..nn._threshold_clip import clips_of
from ..settings import TrainConfig
from ._device_images import DeviceImages
from ._distillation import Teacher
from ._thresholds import parameter_groups


class DeviceLoop:
    """Train a classifier epoch by epoch, with SGD, warm-up and a cosine.

    No value is read by the host within an epoch; whether a loss is finite can be read once, from
    what :meth:`epoch` returns. The caller says epoch by epoch how far the cosine has come:
    a run with a time budget plans as it goes.

    Args:
        model: On the device; ``model(images)`` gives logits ``[B, classes]``. Its thresholds are
            set.
        data: The images.
        config: The recipe. ``epochs`` and ``workers`` have no effect.
        teacher: A trained network to learn from, besides the labels.
        nesterov: Nesterov's momentum.
        warmup: Steps in which the learning rate rises from 0.

    Example:
        >>> pixels = torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8)
        >>> data = DeviceImages(pixels, torch.arange(32) % 2)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        >>> loop = DeviceLoop(model, data, TrainConfig(batch_size=16))
        >>> loop.epoch(0, 0.0, 1.0).shape
        torch.Size([2])
    """

    def __init__(
        self,
        model: nn.Module,
        data: DeviceImages,
        config: TrainConfig,
        *,
        teacher: Teacher | None = None,
        nesterov: bool = True,
        warmup: int = 0,
    ) -> None:
        if config.level_penalty:
            raise ConfigError("a DeviceLoop learns no levels: train with fit, or level_penalty=0")
        device = data.labels.device
        if config.channels_last:
            for network in (model, teacher):
                if network is not None:
                    network.to(memory_format=torch.channels_last)
        self.model, self.data, self.config, self.teacher = model, data, config, teacher
        self.classes = max(2, int(data.labels.max()) + 1)
        self.warmup, self.steps = warmup, 0
        self.lr = config.lr
        # Most CPUs have no fast bfloat16: there the recipe says 32-true.
        self._cast: Any = lambda: torch.autocast(
            device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"
        )
        self._loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        # The bound method, as a compiled module would show all parameters under other names.
        self._compiled = torch.compile(model.__call__) if config.compile else None
        self._unchecked = config.compile
        self.same_gradients: bool | None = None  # whether a check found them so; None without one
        if teacher is not None and config.compile:
            teacher.model.forward = torch.compile(teacher.model.forward)
        self._read_thresholds()
        self.optimiser = torch.optim.SGD(
            [group for group in parameter_groups(model, config) if group["params"]],
            lr=config.lr,
            momentum=config.momentum,
            nesterov=nesterov,
            fused=device.type == "cuda",
        )

    def epoch(self, number: int, begin: float, end: float) -> Tensor:
        """One pass over the data.

        Args:
            number: The epoch; decides the order and the random changes.
            begin: How far the cosine has come before it, within [0, 1].
            end: How far it has come after it.

        Returns:
            The loss of each step, on the device.
        """
        size = self.config.batch_size
        count = len(self.data) // size
        torch.manual_seed(hash((self.config.seed, number)) & 0xFFFF_FFFF)  # of dropout
        self.model.train()
        losses = []
        for step, (images, labels) in enumerate(self.data.epoch(number, size)):
            rate = self.rate(begin + (end - begin) * step / count)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses.append(self.step(images, labels))
        return torch.stack(losses)

    def rate(self, progress: float) -> float:
        """The learning rate of the next step."""
        rise = min(1.0, (self.steps + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * rise * (1 + math.cos(math.pi * progress)) / 2

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Learn from one batch.

        Args:
            images: ``[B, ...]``.
            labels: ``[B]``.

        Returns:
            The loss, a scalar on the device.
        """
        if not self.config.channels_last:
            images = images.contiguous()
        if self._unchecked and not self.settling:
            self._unchecked = False
            self._check(images, labels)
        loss = self._loss_of(self._logits(), images, labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        self.steps += 1
        return loss.detach()

    def _loss_of(self, network: Any, images: Tensor, labels: Tensor) -> Tensor:
        with self._cast():
            logits = network(images)
            loss: Tensor = self._loss(logits.float(), labels)
            if self.teacher is not None:
                loss = self.teacher.mixed(loss, images, logits)
        return loss

    def _check(self, images: Tensor, labels: Tensor) -> None:
        """See once that compiled code learns what plain code does; if not, go on without it."""
        try:
            checked = check_compiled_gradients(
                self.model,
                lambda: self._loss_of(self.model.__call__, images.clone(), labels),
                lambda: self._loss_of(self._compiled, images.clone(), labels),
            )
            self.same_gradients = checked or None
        except StateError as error:
            warnings.warn(f"training goes on in plain code: {error}", stacklevel=3)
            self.same_gradients = False
            self.without_compiler()

    def _logits(self) -> Any:
        """What runs the network: plain code while thresholds settle."""
        plain = self._compiled is None or self.settling
        return self.model.__call__ if plain else self._compiled

    @property
    def settling(self) -> bool:
        """Whether thresholds still follow the activations of the first batches."""
        return any(clip.follows for clip in clips_of(self.model).values())

    @property
    def compiles(self) -> bool:
        """Whether compiled code runs, or will; ``same_gradients`` says whether it was checked."""
        return self._compiled is not None

    def without_compiler(self) -> None:
        """Go on in plain code, the teacher included."""
        self._compiled = None
        if self.teacher is not None:
            self.teacher.model.__dict__.pop("forward", None)

    def _read_thresholds(self) -> None:
        """See once that thresholds are set: compiled code cannot ask; an unset one is an error."""
        for network in (self.model, self.teacher):
            for clip in clips_of(network).values() if network is not None else ():
                _ = clip.threshold

    def state(self) -> dict[str, Any]:
        """All that a later loop needs to go on, as copies on the device."""
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimiser": _copied(self.optimiser.state_dict()),
            "steps": self.steps,
            "lr": self.lr,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._read_thresholds()
        self.steps, self.lr = state["steps"], state["lr"]


def _copied(value: Any) -> Any:
    """Tensors in nested dicts and lists, copied."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
