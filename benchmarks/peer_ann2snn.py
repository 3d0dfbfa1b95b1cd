"""Runs in an environment with spikingjelly 2.0.0; called by ``training_free.py``.

python peer_ann2snn.py INPUT.pt OUTPUT.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import ann2snn, functional

SETTINGS: dict[str, dict[str, Any]] = {
    "spikingjelly, max (its default)": {"mode": "max"},
    "spikingjelly, channel-wise, half threshold, max": {"mode": "max", "channel_wise": True},
    "spikingjelly, channel-wise, half threshold, 99.9 %": {"mode": "99.9%", "channel_wise": True},
    "spikingjelly, channel-wise, half threshold, 99 %": {"mode": "99%", "channel_wise": True},
}


@torch.inference_mode()
def accuracy(net: torch.nn.Module, given: dict[str, Any]) -> dict[str, float]:
    """Share of right answers after each number of steps; the outputs of all steps are summed."""
    right = dict.fromkeys(given["steps"], 0)
    for images, labels in zip(given["images"].split(25), given["labels"].split(25), strict=True):
        functional.reset_net(net)
        total: Any = 0
        for t in range(1, max(right) + 1):
            total = total + net(images)
            if t in right:
                right[t] += int((total.argmax(1) == labels).sum())
    return {str(t): count / len(given["labels"]) for t, count in right.items()}


def main(source: Path, target: Path) -> None:
    given = torch.load(source, weights_only=False)
    figures = {}
    for name, settings in SETTINGS.items():
        half = {"half_threshold": True} if settings.get("channel_wise") else {}
        start = time.perf_counter()
        recipe = ann2snn.RateCodingRecipe(
            dataloader=list(given["calibration"].split(64)), **settings, **half
        )
        net = ann2snn.Converter(recipe=recipe, device="cpu").convert(given["graph"])
        seconds = time.perf_counter() - start
        figures[name] = {**accuracy(net, given), "seconds": {"8": seconds}}
        print(name, figures[name], file=sys.stderr)
    target.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
