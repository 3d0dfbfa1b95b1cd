"""What ``accelerator.sh`` runs: every verb against the CPU, a training that must learn, the times.

Each check stands in ``accelerator.json`` as soon as it is done, so that a run that was cut short
still tells what it found. Checks that do not fit in the time are listed as left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.devices import default_device
from snntorch_ecl.experiments import BenchConfig
from snntorch_ecl.experiments._bench import time_modes
from snntorch_ecl.experiments._bench_modes import build_subject, random_images
from snntorch_ecl.experiments._files import versions_and_machine
from snntorch_ecl.models import build
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import DeviceImages
from snntorch_ecl.training._device_loop import DeviceLoop
from snntorch_ecl.training._thresholds import start_thresholds

T = 4


class Verbs:
    """Each verb on the device; where it can be, beside the same on the CPU in float64."""

    def __init__(self, device: torch.device, model: str) -> None:
        size = 28 if model == "digit_net" else 32
        subject = build_subject(model, image_size=size, seed=0)
        self.device, self.model, self.ann = device, subject.model, subject.ann
        self.images = random_images(subject.model, 32, size, seed=1)
        with torch.no_grad():
            self.labels = subject.ann(self.images).argmax(1)
        self.data = [(self.images.to(device), self.labels.to(device))]
        self.snn = ecl.convert(subject.ann).to(device).eval()
        self.on_device = self.images.to(device)

    def in_double(self) -> dict[str, float]:
        """The same sums on both devices: only in float64 do hardly any spikes flip."""
        with torch.no_grad():
            wanted = ecl.convert(self.ann).double()(self.images.double(), num_steps=T)
            snn = ecl.convert(self.ann).double().to(self.device)
            found = snn(self.on_device.double(), num_steps=T).cpu()
        error = float((found - wanted).abs().max() / wanted.abs().max())
        assert error < 1e-6, f"outputs differ from the CPU's by {error:.2g}"
        return {"error": error}

    def ways_to_run(self) -> dict[str, float]:
        """Whole, over time, in pieces, from a sequence and step by step: the same outputs."""
        snn, x = self.snn.double(), self.on_device.double()
        with torch.no_grad():
            wanted = snn(x, num_steps=T)
            snn.reset()
            ways = {
                "over time": snn.logits_over_time(x, num_steps=T)[-1],
                "pieces": snn(x, num_steps=T, piece=1),
                "sequence": snn.forward_steps(x.expand(T, *x.shape)),
            }
            snn.reset()
            ways["steps"] = torch.stack([snn.step(x) for _ in range(T)]).mean(0)
        snn.float()
        errors = {way: float((y - wanted).abs().max()) for way, y in ways.items()}
        assert all(error < 1e-6 for error in errors.values()), errors
        return errors

    def measured(self) -> dict[str, float]:
        """evaluate, verify, energy, predict and compensate run, and give sensible numbers."""
        result = ecl.evaluate(self.snn, self.data, num_steps=T, ann=self.ann, progress=False)
        ecl.verify(self.snn, self.ann, self.data, num_steps=T, progress=False)
        energy = ecl.energy(self.snn, self.data, num_steps=T, progress=False)
        prediction = self.snn.predict(self.on_device, max_steps=T)
        fitted = ecl.compensate(self.snn, self.ann, self.data, num_steps=T, progress=False)
        ecl.calibrate(ecl.prepare(self.model), self.data, num_steps=T, progress=False)
        assert 1 <= prediction.mean_steps <= T
        assert energy.table() is not None
        assert bool(fitted(self.on_device, num_steps=T).isfinite().all())
        return {"agreement": result.agreement[-1] if result.agreement else float("nan")}

    def saved(self) -> dict[str, float]:
        """A file written from the device loads, and computes the same there."""
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            path = self.snn.save(Path(folder) / "snn.safetensors")
            again = ecl.load(path, self.model).to(self.device).eval()
            error = (
                again(self.on_device, num_steps=T) - self.snn(self.on_device, num_steps=T)
            ).abs()
        assert float(error.max()) < 1e-4
        return {"error": float(error.max())}

    def compiled(self) -> dict[str, float]:
        """Compiled, in float64: the outputs of plain code, for several batches."""
        snn = ecl.convert(self.ann).to(self.device).double().compile(progress=False)
        plain = ecl.convert(self.ann).to(self.device).double()
        errors = []
        with torch.no_grad():
            for count in (32, 16, 32, 1):
                x = self.on_device[:count].double()
                errors.append(float((snn(x, num_steps=T) - plain(x, num_steps=T)).abs().max()))
        assert max(errors) < 1e-6, errors
        return {"error": max(errors)}

    def half_precision(self) -> dict[str, float]:
        """bfloat16 and float16: nearly always the class of float32."""
        agreement = {}
        with torch.no_grad():
            wanted = self.snn(self.on_device, num_steps=T).argmax(1)
            for dtype in (torch.bfloat16, torch.float16):
                snn = ecl.convert(self.ann).to(self.device, dtype)
                found = snn(self.on_device.to(dtype), num_steps=T).argmax(1)
                agreement[str(dtype)] = float((found == wanted).float().mean())
        return agreement


def small() -> nn.Module:
    """A network to rehearse the training with."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 10))


def learns(device: torch.device, quick: bool) -> dict[str, float]:
    """A compiled training on images that are patterns and noise reaches 90 % on other noise."""
    torch.manual_seed(0)
    net = small() if quick else build("resnet18", classes=10)
    patterns = torch.randint(256, (10, 3, 32, 32)).float()

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % 10
        noisy = patterns[labels] * 0.75 + torch.rand(count, 3, 32, 32) * 63
        return noisy.to(torch.uint8).to(device), labels.to(device)

    images, labels = drawn(2560)
    ann: Any = ecl.prepare(net, levels=4).to(device)
    data = DeviceImages(images, labels)
    start_thresholds(ann, next(data.plain(256))[0])
    precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    config = TrainConfig(batch_size=128, lr=0.05, precision=precision, compile=True)  # type: ignore[arg-type]
    loop = DeviceLoop(ann, data, config)
    losses = [float(loop.epoch(number, number / 6, (number + 1) / 6).mean()) for number in range(6)]
    test, wanted = next(DeviceImages(*drawn(1000)).plain(1000))
    snn = ecl.convert(ann.eval()).to(device)
    with torch.no_grad():
        shares = [
            float((net_(test).argmax(1) == wanted).float().mean())
            for net_ in (ann, lambda x: snn(x, num_steps=T))
        ]
    assert min(shares) > 0.9, (losses, shares)
    return {"loss": losses[-1], "accuracy": shares[0], "spiking": shares[1]}


def timed(model: str, quick: bool) -> dict[str, Any]:
    """``snntorch-ecl bench`` in all forms."""
    config = BenchConfig(
        models=(model,),
        steps=(1, 2) if quick else (1, 4, 8),
        batch_sizes=(2,) if quick else (1, 32, 256),
        image_size=28 if model == "digit_net" else 32,
        forms=("float32",) if quick else ("float32", "bfloat16 channels-last"),
        repeats=2 if quick else 5,
    )
    result = time_modes(config, progress=False)
    print(result)
    return result.to_dict()


def main() -> int:
    """Run all checks; the number of those that failed."""
    parser = argparse.ArgumentParser(description="Checks on an accelerator.")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="a small network; rehearses on a CPU")
    parser.add_argument("--seconds", type=float, default=440, help="no check begins after these")
    options = parser.parse_args()
    began, device = time.monotonic(), default_device()
    model = "digit_net" if options.quick else "resnet18"
    verbs = Verbs(device, model)
    checks: dict[str, Callable[[], Any]] = {
        "in double": verbs.in_double, "ways to run": verbs.ways_to_run,
        "measured": verbs.measured, "saved": verbs.saved, "half precision": verbs.half_precision,
        "compiled": verbs.compiled, "learns": lambda: learns(device, options.quick),
        "bench": lambda: timed(model, options.quick),
    }  # fmt: skip
    found: dict[str, Any] = {"device": str(device), **versions_and_machine(), "checks": {}}
    failed = 0
    for name, check in checks.items():
        start = time.monotonic()
        if start - began > options.seconds:
            entry: dict[str, Any] = {"left out": True}
        else:
            try:
                entry = {"passed": True, "found": check()}
            except Exception as error:  # the other checks go on
                traceback.print_exc()
                entry = {"passed": False, "error": f"{type(error).__name__}: {error}"[:1000]}
                failed += 1
            entry["seconds"] = round(time.monotonic() - start, 1)
        found["checks"][name] = entry
        print(name, {key: value for key, value in entry.items() if name != "bench"}, flush=True)
        (options.output_dir / "accelerator.json").write_text(json.dumps(found, indent=2))
    return failed


if __name__ == "__main__":
    sys.exit(main())
