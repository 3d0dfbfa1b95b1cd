"""A network of the user's own: from a factory by its name, and a file of weights."""

from __future__ import annotations

import difflib
import importlib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from ..models._checkpoint import differences

# Where files of weights keep the state dict, and what wrappers put before its names.
_NESTED = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def split_name(name: str) -> tuple[str, str]:
    """Module and factory of ``package.module:factory``."""
    module, _, factory = name.partition(":")
    if not (module and factory) or ":" in factory:
        raise ConfigError(
            f"model must be package.module:factory, such as torchvision.models:resnet18; got "
            f"{name!r}"
        )
    return module, factory


def network_from(name: str, weights: str | None) -> nn.Module:
    """Call the factory ``package.module:factory`` and load the weights, if given; in eval mode.

    Modules in the working folder are found as well.
    """
    module, factory = split_name(name)
    made = _called(_attribute(_imported(module), name, factory), name)
    if weights is not None:
        _load(made, read_state(Path(weights)), weights, name)
    return made.eval()


def _imported(module: str) -> ModuleType:
    """Import a module, also from the working folder."""
    folder = str(Path.cwd())
    if folder not in sys.path:  # a console script's path begins at the script
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"there is no module {error.name!r}: it is not installed, and not in {folder}"
            ) from error
        raise ConfigError(f"{module} cannot be imported: {error}") from error
    except Exception as error:  # whatever the user's module does
        raise ConfigError(
            f"{module} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _attribute(module: ModuleType, name: str, factory: str) -> Any:
    """The factory in its module; dots lead into classes."""
    found: Any = module
    for part in factory.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [n for n in dir(found) if n[0] != "_"])
            meant = f"; there is {', '.join(near)}" if near else ""
            raise ConfigError(f"{name}: {module.__name__} has no {factory!r}{meant}")
        found = getattr(found, part)
    return found


def _called(factory: Any, name: str) -> nn.Module:
    """What the factory returns; a network that stands there ready is taken as it is."""
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise ConfigError(f"{name} is {factory!r}, and not a function that returns a network")
    try:
        made = factory()
    except Exception as error:  # whatever the user's function does
        raise ConfigError(
            f"{name}() failed: {type(error).__name__}: {error}. It is called without arguments: "
            "write a function of your own that gives them, and name that"
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{name}() returned {type(made).__name__}, and not a torch.nn.Module")
    return made


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from what ``torch.save`` wrote; no code is run."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, and reading that could run foreign code. Where the "
            "file comes from, write the weights alone: torch.save(model.state_dict(), file)"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = content if isinstance(content, Mapping) else {}
    others = [str(key) for key, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or others:
        what = f"among others {', '.join(others[:3])}" if others else type(content).__name__
        raise CheckpointError(f"{path} holds no state dict (names and tensors), but {what}")
    return dict(tensors)


def _load(model: nn.Module, state: dict[str, Tensor], path: str, name: str) -> None:
    """Load the weights; names and shapes must be the network's, but for what wrappers add."""
    own = model.state_dict()
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state) and not set(state) & set(own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    differing = differences(state, own, but=("num_batches_tracked",))
    if differing:
        raise CheckpointError(f"{path} does not fit {name}: {differing}")
    model.load_state_dict(state, strict=False)
