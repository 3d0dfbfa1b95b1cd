"""What ``accelerator.sh`` runs: the tests marked ``cuda``, and the times.

Each outcome stands in ``accelerator.json`` as soon as it is known, so that a run that was cut short
still tells what it found. What does not fit in the time is listed as left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from snntorch_ecl._util.devices import default_device
from snntorch_ecl.experiments import BenchConfig
from snntorch_ecl.experiments._bench import time_modes
from snntorch_ecl.experiments._files import versions_and_machine

ROOT = Path(__file__).resolve().parents[1]


class Outcomes:
    """A plugin of pytest: the outcome of each test, and how long it took."""

    def __init__(self, note: Callable[[str, dict[str, Any]], None]) -> None:
        self.note = note

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            error = {"error": str(report.longrepr)[-1500:]} if report.failed else {}
            found = {"outcome": report.outcome, "seconds": round(report.duration, 1), **error}
            self.note(report.nodeid.partition("::")[2] or report.nodeid, found)


def run_tests(note: Callable[[str, dict[str, Any]], None], device: torch.device) -> int:
    """All tests marked ``cuda``, without this project's settings for everyday runs."""
    os.environ["SNNTORCH_ECL_TEST_DEVICE"] = device.type
    given = ["-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider", "-q"]
    file = str(ROOT / "tests" / "test_cuda.py")  # others need more than a bare machine has
    code = pytest.main([*given, file], plugins=[Outcomes(note)])
    return int(code != pytest.ExitCode.OK)


def benches(quick: bool) -> Iterator[tuple[str, BenchConfig]]:
    """``snntorch-ecl bench`` case by case, what matters most first."""
    if quick:
        yield (
            "digit_net",
            BenchConfig(
                models=("digit_net",), image_sizes=(28,), batch_sizes=(2,), steps=(1, 2), repeats=2
            ),
        )
        return
    for form in ("bfloat16 channels-last", "float32"):
        for size in (256, 1, 32):
            for steps in ((4,), (8,), (1,)):
                yield (
                    f"resnet18, {form}, B = {size}, T = {steps[0]}",
                    BenchConfig(
                        models=("resnet18",),
                        batch_sizes=(size,),
                        steps=steps,
                        forms=(form,),
                        repeats=5,
                    ),
                )


def main() -> int:
    """Run all checks; the number of those that failed."""
    parser = argparse.ArgumentParser(description="Checks on an accelerator.")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="a small network; rehearses on a CPU")
    parser.add_argument("--seconds", type=float, default=440, help="no check begins after these")
    parser.add_argument("--only", choices=["tests", "bench"], help="one half of the checks")
    options = parser.parse_args()
    began, device = time.monotonic(), default_device()
    found: dict[str, Any] = {
        "device": str(device),
        "name": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        **versions_and_machine(),
        "tests": {},
        "bench": {},
    }

    def note(part: str, name: str, value: Any) -> None:
        found[part][name] = value
        (options.output_dir / "accelerator.json").write_text(json.dumps(found, indent=2))

    failed = 0
    if options.only != "bench":
        failed += run_tests(lambda name, value: note("tests", name, value), device)
    if options.only == "tests":
        return failed
    for name, config in benches(options.quick):
        start = time.monotonic()
        if start - began > options.seconds:
            note("bench", name, {"left out": True})
            continue
        try:
            result = time_modes(config, progress=False)
            print(f"{name}\n{result}\n[{time.monotonic() - began:.0f} s]", flush=True)
            taken = {"seconds": round(time.monotonic() - start, 1)}
            note("bench", name, {**result.to_dict(), **taken})
        except Exception as error:  # the other cases go on
            traceback.print_exc()
            note("bench", name, {"error": f"{type(error).__name__}: {error}"[:1000]})
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
