"""``snntorch-ecl bench`` with spikingjelly 2.0.0 in the same process, run in turns with all others.

    pip install --no-deps spikingjelly==2.0.0 && pip install loguru requests h5py SciencePlots
    python benchmarks/inference.py --output-dir runs/bench

The peer converts the same network with its defaults; thresholds have no influence on time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor

from snntorch_ecl.experiments import BenchConfig
from snntorch_ecl.experiments._bench import time_modes
from snntorch_ecl.experiments._bench_modes import MODES, Run, Subject
from snntorch_ecl.experiments._files import write_result


def _converted(subject: Subject, images: Tensor) -> Any:
    recipe = ann2snn.RateCodingRecipe(dataloader=[images], mode="max")
    converter = ann2snn.Converter(recipe=recipe, device=str(images.device))
    return converter.convert(subject.model).eval()


def _step_by_step(subject: Subject, images: Tensor) -> Run:
    net = _converted(subject, images)

    def run(num_steps: int) -> Any:
        functional.reset_net(net)
        return sum(net(images) for _ in range(num_steps)) / num_steps

    return run


def _multi_step(subject: Subject, images: Tensor) -> Run:
    net = _converted(subject, images)
    functional.set_step_mode(net, "m")

    def run(num_steps: int) -> Any:
        functional.reset_net(net)
        return net(images.expand(num_steps, *images.shape)).mean(0)

    return run


PEER = {
    "spikingjelly 2.0.0, multi-step": _multi_step,
    "spikingjelly 2.0.0, step by step": _step_by_step,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(BenchConfig.models))
    parser.add_argument("--steps", nargs="+", type=int, default=list(BenchConfig.steps))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BenchConfig.batch_sizes))
    parser.add_argument("--repeats", type=int, default=BenchConfig.repeats)
    parser.add_argument("--threads", type=int, default=BenchConfig.threads)
    given = vars(parser.parse_args())
    output_dir = given.pop("output_dir")
    for name in ("models", "steps", "batch_sizes"):
        given[name] = tuple(given[name])
    config = BenchConfig(**given)
    result = time_modes(config, modes={**MODES, **PEER})
    write_result(output_dir, "bench", config, result)
    print(result)


if __name__ == "__main__":
    main()
