"""The errors a user can meet, all below :class:`EclError`.

Every message says what was given, where, what is allowed and what to do. The classes also derive
from the built-in error that Python users expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EclError",
    "InputError",
    "MissingDependencyError",
    "NotPreparedError",
    "RegistrationError",
    "StateError",
    "ThresholdUnsetError",
    "TraceError",
    "UnsupportedError",
]


class EclError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(EclError, ValueError):
    """A setting is outside what is allowed (θ ≤ 0, levels < 1, num_steps < 1, …)."""


class InputError(EclError, ValueError):
    """A tensor given as input has the wrong shape, or holds NaN or infinity."""


class StateError(EclError, RuntimeError):
    """A neuron's state does not fit its input: a sequence went on with other data."""


class TraceError(EclError, RuntimeError):
    """The network's code cannot be traced into a graph."""


class UnsupportedError(EclError, TypeError):
    """The network holds layers or operations that have no spiking counterpart.

    Args:
        sites: One line for each offending place; all of them are reported at once.
        remedy: What to do about it.
    """

    def __init__(self, sites: Iterable[str], remedy: str) -> None:
        self.sites = tuple(sites)
        self.remedy = remedy
        lines = "\n".join(f"  - {site}" for site in self.sites)
        super().__init__(f"{len(self.sites)} place(s) cannot be converted:\n{lines}\n{remedy}")

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...], str]]:
        return type(self), (self.sites, self.remedy)


class NotPreparedError(EclError, RuntimeError):
    """``convert`` was given a network that has no ``ThresholdClip``."""


class ThresholdUnsetError(EclError, RuntimeError):
    """A ``ThresholdClip`` has no usable threshold yet."""


class RegistrationError(EclError, ValueError):
    """A handler is registered twice, or for something that is not a module type."""


class CheckpointError(EclError, RuntimeError):
    """A file is not one of ours, is damaged, or belongs to another network."""


class DataError(EclError, ValueError):
    """A data source is empty or has the wrong form."""


class MissingDependencyError(EclError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""
