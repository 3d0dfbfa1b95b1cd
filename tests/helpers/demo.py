"""One run of the demo that its tests share, and its report as people read it."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from snntorch_ecl._util.tables import render
from snntorch_ecl.experiments import DemoConfig, DemoResult, Split, _demo, digits, run_demo


class Run(NamedTuple):
    """A run and what it did to its surroundings."""

    result: DemoResult
    random_before: Tensor
    random_after: Tensor
    connections: list[Any]


@contextmanager
def no_network() -> Iterator[list[Any]]:
    """Refuse connections beyond this machine, and note them in case the error is swallowed."""
    tried: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def local(host: Any) -> bool:
        return host in ("localhost", "127.0.0.1", "::1", None)

    def guarded_connect(own: socket.socket, address: Any) -> None:
        if own.family in (socket.AF_INET, socket.AF_INET6) and not local(address[0]):
            tried.append(address)
            raise OSError(f"no network here: {address}")
        connect(own, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not local(host):
            tried.append(host)
            raise socket.gaierror(f"no network here: {host}")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield tried


def some_digits() -> Split:
    """Every eighth digit to train on, and every twentieth of those held out."""
    train, test = digits()
    return Split(Subset(train, range(0, 4000, 8)), Subset(test, range(0, 1000, 20)))


@functools.cache
def quick_run(base: Path, data: Callable[[], Split] = digits) -> Run:
    """The one run; other test modules of the session share it."""
    config = DemoConfig(quick=True, output_dir=base / data.__name__ / "made on demand")
    torch.manual_seed(123)
    before = torch.get_rng_state()
    with no_network() as tried, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_demo, "digits", data)
        if data is some_digits:  # as many steps as on all digits
            training = replace(config.training, batch_size=8)
            patch.setattr(DemoConfig, "training", training)
        result = run_demo(config, progress=False)
    return Run(result, before, torch.get_rng_state(), tried)


def cells(result: DemoResult) -> list[list[str]]:
    """The table as people see it."""
    lines = [line for line in render(result.table()).splitlines() if line[0] in "┃│"]
    return [[cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
            for line in lines]  # fmt: skip


class Text(HTMLParser):
    """Tables and visible text of the report."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.words = ""
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.in_cell:
            self.rows[-1].append(data)
