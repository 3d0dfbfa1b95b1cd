"""Options that several commands share, each written once, and how flags become settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from .._util.threads import use_threads
from ..errors import ConfigError
from ..experiments import recipe, recipe_names
from ..models import pretrained_names, pretrained_snn_names
from ..settings import from_dict, load_config
from ..settings._reader import merged
from ._console import errors_as_text
from ._signals import signals_as_text

T = TypeVar("T")

Folder = Annotated[
    Path, typer.Option("--output-dir", metavar="DIR", help="Folder for the results.")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file: YAML, or the JSON of an earlier run."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", help="CPU threads. [default: idle cores]"),
]


def given(**flags: Any) -> dict[str, Any]:
    """The flags that were given, as settings: not None, nothing empty."""
    values = {name: str(v) if isinstance(v, Path) else v for name, v in flags.items()}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return {name: v for name, v in values.items() if v is not None and v not in ((), {})}


@dataclass(frozen=True)
class Measured:
    """Which network, on which images."""

    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An ann.safetensors written by `train`.")
    ] = None
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Or a shipped one: {', '.join((*pretrained_names(), *pretrained_snn_names()))}.",
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the data, if it has moved.")
    ] = None
    images: Annotated[
        int | None,
        typer.Option(metavar="N", help="Test images, 0 for all. [default: all; energy: 200]"),
    ] = None

    def settings(self) -> dict[str, Any]:
        """The flags that were given."""
        return given(**{field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True)
class Tuned(Measured):
    """The same, or what a fine-tuning made of it."""

    tuned: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of a `finetune` run of it, to measure instead."),
    ] = None


@dataclass(frozen=True)
class Trained:
    """How long and where to train."""

    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the data. [default: the recipe's]")
    ] = None
    lr: Annotated[
        float | None,
        typer.Option(metavar="X", help="Learning rate at the start. [default: the recipe's]"),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in the folder.")
    ] = False
    devices: Annotated[int, typer.Option(metavar="N", help="Processes on this machine.")] = 1
    num_nodes: Annotated[int, typer.Option(metavar="N", help="Machines.")] = 1
    accelerator: Annotated[str, typer.Option(metavar="NAME", help="cpu, gpu, mps, …")] = "auto"

    def recipe(self) -> dict[str, Any]:
        """The flags of the recipe that were given."""
        return given(epochs=self.epochs, lr=self.lr)

    def place(self) -> dict[str, Any]:
        """Where the run is, as the runs take it."""
        names = ("resume", "devices", "num_nodes", "accelerator")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Experiment:
    """Where the settings of a training come from."""

    config: SettingsFile = None
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Or a shipped recipe: {', '.join(recipe_names())}. [default: digits]",
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the data; digits need none.")
    ] = None

    def settings(self, flags: dict[str, Any]) -> dict[str, Any]:
        """The experiment: the recipe's settings, if one is named, under the folder and flags."""
        if self.config is not None and self.recipe is not None:
            raise ConfigError("give --config or --recipe, not both")
        over = merged(given(data=given(root=self.data_root)), flags)
        return over if self.recipe is None else recipe(self.recipe, over).to_dict()


def settings_from(kind: type[T], file: Path | None, flags: dict[str, Any]) -> T:
    """A config from a file with the flags laid over it, or from the flags alone."""
    return from_dict(kind, flags) if file is None else load_config(kind, file, flags)


def command(example: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a function as a command, with an example for its help."""

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        run = _flat(function)
        run.example = example  # type: ignore[attr-defined]
        return run

    return mark


def _flat(function: Callable[..., None]) -> Callable[..., None]:
    """The function with its groups as options, and ``--threads``; errors are shown as text."""
    parameters = inspect.signature(function, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: p.annotation for name, p in parameters.items() if is_dataclass(p.annotation)
    }
    options: list[inspect.Parameter] = []
    for name, parameter in parameters.items():
        options += _options_of(groups[name]) if name in groups else [parameter]
    own_threads = "threads" in parameters
    if not own_threads:
        options.append(_option("threads", Threads, None))

    @functools.wraps(function)
    def run(**values: Any) -> None:
        with errors_as_text(), signals_as_text(values.get("output_dir")):
            if not own_threads:
                use_threads(values.pop("threads"), processes=values.get("devices") or 1)
            made = {
                name: group(**{f.name: values.pop(f.name) for f in fields(group)})
                for name, group in groups.items()
            }
            function(**made, **values)

    options.sort(key=lambda option: option.default is not inspect.Parameter.empty)
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [o.replace(kind=inspect.Parameter.KEYWORD_ONLY) for o in options]
    )
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """An option as a parameter of a command."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _options_of(group: Any) -> list[inspect.Parameter]:
    """The options of a group, from its constructor."""
    return list(inspect.signature(group, eval_str=True).parameters.values())
