"""Anybody's trained network as a spiking one, with a report: the run behind ``convert``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .._util.files import remedy, replacing
from ..conversion import convert_pretrained
from ..errors import ConfigError, DataError
from ..measurement import evaluate, verify
from ..network import SpikingNetwork
from ._any_network import network_from
from ._conversion_config import ConversionConfig
from ._conversion_report import report_of
from ._conversion_result import ConversionResult, Outcome
from ._files import check_alone, versions_and_machine, write_json
from ._folder import own_folder
from ._image_folder import Found, Images, Preparation, find_images

# Images that the comparison layer by layer takes; more change little.
_VERIFIED = 64


def run_conversion(
    config: ConversionConfig, output_dir: Path, *, progress: bool = True
) -> ConversionResult:
    """Convert a network, compare it with the original on other images, write network and report.

    Args:
        config: What to convert, and how.
        output_dir: Where ``network.safetensors``, ``report.html`` and ``conversion.json`` go, once
            all is done.
        progress: Show progress bars.

    Returns:
        What was measured, and the files.

    Raises:
        ConfigError: The factory cannot be called, or does not return a network; or there are
            several processes.
        CheckpointError: The weights cannot be read, or do not fit.
        DataError: There are too few images, one is damaged, or a file cannot be written.
        TraceError, UnsupportedError: The network cannot be converted.

    Example:
        >>> config = ConversionConfig(model="torchvision.models:resnet18", images="images")
        >>> run_conversion(config, Path("out"))  # doctest: +SKIP
    """
    check_alone("convert")
    started = time.perf_counter()
    ann = network_from(config.model, config.weights)
    found = find_images(Path(config.images))
    with own_folder(output_dir):
        parts = _split(config, found)
        labels = found.numbered(_outputs(ann, parts.calibration, config))
        fitted = _batches(config, found, parts.calibration, labels)
        snn = convert_pretrained(
            ann,
            fitted,
            num_steps=config.num_steps,
            budget=config.budget,  # type: ignore[arg-type]  # __post_init__ has checked it
            spike_sizes=config.spike_sizes,
            signed=config.signed,
            example=torch.zeros(config.example_shape),
            progress=progress,
        )
        outcome = _judged(config, snn, ann, found, parts.held_out, labels, progress)
        seconds = time.perf_counter() - started
        result = ConversionResult(config, output_dir, len(parts.calibration), seconds, outcome)
        _write(result, snn)
    return result


class _Parts(NamedTuple):
    """Which images are converted with, and which judge."""

    calibration: list[int]
    held_out: list[int]


def _split(config: ConversionConfig, found: Found) -> _Parts:
    """A random choice, of which a third at least is left to judge by."""
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(found.files), generator=generator).tolist()
    first = min(config.calibration, max(1, 2 * len(order) // 3))
    return _Parts(order[:first], order[first : first + config.held_out])


def _batches(
    config: ConversionConfig, found: Found, chosen: Sequence[int], labels: Sequence[int] | None
) -> DataLoader[tuple[Tensor, int]]:
    """Some images in batches; without labels, all are 0."""
    known = [0 if labels is None else labels[index] for index in chosen]
    preparation = Preparation(config.image_size, config.mean, config.std)
    images = Images([found.files[index] for index in chosen], known, preparation)
    return DataLoader(images, batch_size=config.batch_size)


def _outputs(ann: nn.Module, chosen: Sequence[int], config: ConversionConfig) -> int:
    """The number of classes that the network tells apart; it is run once, on zeros."""
    shape = (min(2, len(chosen)), *config.example_shape[1:])
    try:
        with torch.no_grad():
            answer = ann(torch.zeros(shape))
    except Exception as error:  # whatever the user's network does
        raise ConfigError(
            f"{config.model} does not take images of shape {list(shape)}: {type(error).__name__}: "
            f"{error}. Give its own --image-size, and --mean and --std of one channel if it sees "
            "grey images"
        ) from error
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        what = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ConfigError(
            f"{config.model} returns {what} for images of shape {list(shape)}, and not logits "
            "[B, classes]: convert judges classifiers. Use ecl.convert_pretrained in Python"
        )
    return int(answer.shape[1])


def _judged(
    config: ConversionConfig,
    snn: SpikingNetwork,
    ann: nn.Module,
    found: Found,
    held_out: Sequence[int],
    labels: Sequence[int] | None,
    progress: bool,
) -> Outcome:
    """Answers on the images held out, and layers on some of them."""
    options = {"num_steps": config.num_steps, "progress": progress}
    data = _batches(config, found, held_out, labels)
    some = _batches(config, found, held_out[:_VERIFIED], labels)
    return Outcome(
        evaluation=evaluate(snn, data, ann=ann, **options),  # type: ignore[arg-type]
        verification=verify(snn, ann, some, **options),  # type: ignore[arg-type]
        labelled=labels is not None,
        classes=found.classes,
        compensation=snn.compensation,
    )


def _write(result: ConversionResult, snn: SpikingNetwork) -> None:
    """Write the files; each is whole or not there."""
    with _as_data_errors(result.report), replacing(result.report) as part:
        report_of(result).write(part)
    snn.save(result.network, figures=result.figures())
    write_json(result.record, {**result.to_dict(), **versions_and_machine()})


@contextmanager
def _as_data_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}{remedy(error)}") from error
