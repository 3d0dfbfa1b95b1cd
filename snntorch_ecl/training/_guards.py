"""Contexts that a training runs in: named errors, the model's own norms, quiet logs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from .._util.files import remedy
from .._util.torch_internals import BatchNorm
from ..errors import DataError, StateError


@contextmanager
def own_norms_kept(model: nn.Module) -> Iterator[None]:
    """Put the model's own batch norms back afterwards, with what they have learned.

    Where several GPUs train, Lightning puts synchronised ones in their place, and then a class of
    its own that nothing else knows.
    """
    own = {name: m for name, m in model.named_modules() if isinstance(m, BatchNorm)}
    try:
        yield
    finally:
        for name, norm in own.items():
            trained = model.get_submodule(name)
            if trained is not norm:
                norm.load_state_dict(trained.state_dict())
                parent, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(parent), attribute, norm)


@contextmanager
def named_errors(output_dir: Path | None) -> Iterator[None]:
    """Turn errors of loaders, of a full disk and of a read-only folder into the package's own."""
    try:
        yield
    except DataError as error:  # a worker's comes with its traceback before it
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from error
    except OSError as error:
        what_to_do = remedy(error)
        if output_dir is None or not what_to_do:
            raise
        raise StateError(f"{output_dir} cannot be written to: {error}{what_to_do}") from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's notes on hardware and workers, which say nothing about the training."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
