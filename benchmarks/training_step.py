r"""A training step with ``ThresholdClip`` beside one with ``nn.ReLU``: time and peak memory.

    python benchmarks/training_step.py [--model resnet18] [--batch-size 32] [--compile]

Times are taken in turns in one process; memory is the growth of the resident set of one process
for each network (on a GPU, what torch's allocator reports).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl.bench import seconds
from snntorch_ecl.processes import default_device
from snntorch_ecl.tables import table

KINDS = ("relu", "clip without levels", "clip, L = 4")


def network(kind: str, model: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    net = ecl.models.build(model, classes=10)
    if kind != "relu":
        net = ecl.prepare(net, levels=4 if kind == "clip, L = 4" else None)
        with torch.no_grad():
            net.train()(torch.randn(8, 3, 32, 32))
    return net.train().to(device)


def step_of(net: nn.Module, batch_size: int, device: torch.device) -> Callable[[], None]:
    images = torch.randn(batch_size, 3, 32, 32, device=device)
    labels = torch.randint(10, (batch_size,), device=device)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad()
        logits: Tensor = net(images)
        nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()

    return step


def peak(kind: str, given: argparse.Namespace) -> int:
    """Bytes that a process grows by while it takes three steps."""
    command = [sys.executable, __file__, "--peak-of", kind, "--model", given.model]
    command += ["--batch-size", str(given.batch_size)] + ["--compile"] * given.compile
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def report_peak(given: argparse.Namespace) -> None:
    device = default_device()
    net = network(given.peak_of, given.model, device)
    step_of(torch.compile(net) if given.compile else net, 1, device)()  # libraries are loaded
    step = step_of(torch.compile(net) if given.compile else net, given.batch_size, device)
    before = resident("VmRSS")
    for _ in range(3):
        step()
    if device.type == "cuda":
        print(torch.cuda.max_memory_allocated())
    else:
        print(resident("VmHWM") - before)


def resident(which: str) -> int:
    """Bytes of the resident set, now or at its largest; Linux only."""
    # Not a child's ru_maxrss, which begins with that of its parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split(f"{which}:")[1].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step with ThresholdClip and ReLU.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="Compile the networks.")
    parser.add_argument("--peak-of", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        report_peak(given)
        return
    device = default_device()
    nets = {kind: network(kind, given.model, device) for kind in KINDS}
    if given.compile:
        nets = {kind: torch.compile(net) for kind, net in nets.items()}  # type: ignore[misc]
    steps = {kind: step_of(net, given.batch_size, device) for kind, net in nets.items()}
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for step in steps.values():
        step()
        step()
    for turn in range(given.repeats):
        for kind in (*KINDS[turn % 3 :], *KINDS[: turn % 3]):
            found[kind].append(seconds(steps[kind], device))
    time = {kind: statistics.median(values) for kind, values in found.items()}
    memory = {kind: peak(kind, given) for kind in KINDS}
    rows = [
        (
            kind,
            f"{time[kind]:.3f}",
            f"{time[kind] / time['relu']:.2f}",
            f"{memory[kind] / 2**20:.0f}",
            f"{memory[kind] / memory['relu']:.2f}",
        )
        for kind in KINDS
    ]
    title = (
        f"{given.model}, batch {given.batch_size}, {device}, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}{', compiled' if given.compile else ''}: one training step"
    )
    Console().print(table(title, ("", "s", "ratio", "peak, MiB", "ratio"), rows))


if __name__ == "__main__":
    main()
