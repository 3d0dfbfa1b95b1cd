r"""A training step with ``ThresholdClip`` beside one with ``nn.ReLU``: time and peak memory.

    python benchmarks/training_step.py [--model resnet18] [--batch-size 32] [--compile]

Times are taken in turns in one process. Memory is what torch's allocator hands out at most during
a step, beyond what it held before (weights, the optimiser's state): activations, gradients and
what operations need in between.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.devices import default_device
from snntorch_ecl._util.tables import table
from snntorch_ecl.experiments._bench import seconds
from snntorch_ecl.nn._threshold_clip import clips_of

# Levels, and whether fused; None for the original.
KINDS: dict[str, tuple[int | None, bool] | None] = {
    "relu": None,
    "clip without levels": (None, False),
    "clip without levels, fused": (None, True),
    "clip, L = 4": (4, False),
    "clip, L = 4, fused": (4, True),
}


def network(kind: str, model: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    net = ecl.models.build(model, classes=10)
    settings = KINDS[kind]
    if settings is not None:
        levels, fused = settings
        net = ecl.prepare(net, levels=levels)
        with torch.no_grad():
            net.train()(torch.randn(8, 3, 32, 32))
        for clip in clips_of(net).values():  # given, they do not follow the first batches
            clip.threshold = clip.threshold
        if fused:
            net.compile()
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


def peak(step: Callable[[], None], device: torch.device) -> int:
    """Bytes in use during a step at most, beyond those before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    used = most = 0
    for _, change in changes:
        used += change
        most = max(most, used)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description="A training step with ThresholdClip and ReLU.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="Compile the networks.")
    given = parser.parse_args()
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
        first = turn % len(KINDS)
        for kind in (*list(KINDS)[first:], *list(KINDS)[:first]):
            found[kind].append(seconds(steps[kind], device))
    time = {kind: statistics.median(values) for kind, values in found.items()}
    memory = {kind: peak(steps[kind], device) for kind in KINDS}
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
