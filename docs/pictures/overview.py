r"""The picture at the top of the README: a neuron takes a spike back, and what that is worth.

The right half is measured on 1,000 held-out MNIST digits. For each number of steps T, networks are
trained with L = T levels (three seeds, the demo's recipe), and each is converted twice: with the
dual-threshold neuron, and with plain integrate-and-fire. Twelve trainings of a minute each.

    python docs/pictures/overview.py measure   # writes overview.json; goes on where it stopped
    python docs/pictures/overview.py draw      # writes overview.png, and one for phones
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch.utils.data import DataLoader

import snntorch_ecl as ecl
from snntorch_ecl.experiments import digits
from snntorch_ecl.experiments._files import versions_and_machine
from snntorch_ecl.models import DigitNet
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit

HERE = Path(__file__).parent
FIGURES = HERE / "overview.json"
STEPS, SEEDS = (1, 2, 4, 8), (0, 1, 2)
NEURONS = {"dual threshold": -1e-3, "IF": -math.inf}
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
CURRENT = (1.2, 0.9, -0.4, -0.9, 0.3, -0.2, 0.1, 0.1)


def accuracies(levels: int, seed: int) -> dict[str, float]:
    """Accuracy in % of one training: of the ANN, and of each neuron at T = L."""
    torch.manual_seed(seed)
    data = digits()
    ann = ecl.prepare(DigitNet().train(), levels=levels)
    recipe = TrainConfig(epochs=8, batch_size=64, lr=0.05, seed=seed)
    fit(ann, data.train, recipe, accelerator="cpu", progress=False)
    found = {}
    for name, negative in NEURONS.items():
        snn = ecl.convert(ann, negative_threshold=negative)
        held_out = DataLoader(data.test, batch_size=50)
        result = ecl.evaluate(snn, held_out, num_steps=levels, ann=ann, progress=False)
        found[name], found["ANN"] = 100 * result.accuracy[-1], 100 * result.ann_accuracy
    return found


def measure() -> None:
    """Train and measure what is missing; write after each training."""
    torch.set_num_threads(1)
    rows = json.loads(FIGURES.read_text())["rows"] if FIGURES.exists() else []
    done = {(row["levels"], row["seed"]) for row in rows}
    for seed in SEEDS:
        for levels in STEPS:
            if (levels, seed) not in done:
                rows.append({"levels": levels, "seed": seed, **accuracies(levels, seed)})
                content = {"rows": rows, **versions_and_machine()}
                FIGURES.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
                print(rows[-1], flush=True)


def neuron_axes(ax: Axes) -> None:
    """The membrane of both neurons under a current that turns negative."""
    times = [0] + [step for step in range(1, len(CURRENT) + 1) for _ in range(2)]
    rows = {"dual threshold": (BLUE, "-", 2.6, "right"), "IF": (GREY, "--", 2.1, "one too many")}
    for name, (color, line, row, verdict) in rows.items():
        neuron = ecl.DualThreshold(negative_threshold=NEURONS[name], init_hidden=True)
        trace, total = [0.5], 0.0
        for step, value in enumerate(CURRENT, start=1):
            spike = neuron(torch.tensor([value])).item()
            trace += [neuron.membrane.item() + spike, neuron.membrane.item()]
            total += spike
            if spike:
                ax.text(step, row, f"{spike:+.0f}".replace("-", "−"), ha="center", va="center",
                        color=ORANGE if spike < 0 else color, weight="bold")  # fmt: skip
        ax.plot(times, trace, color=color, linewidth=2, linestyle=line)
        ax.text(4.6, row, f"{name}: {total:.0f}, {verdict}", color=color, va="center", size=11)
    for height, text in ((1, "θ"), (0, "0")):
        ax.axhline(height, color="black", linewidth=0.8, linestyle=":")
        ax.text(8.3, height, text, va="center")
    ax.set(xlim=(-0.2, 8.2), ylim=(-1, 2.9), xlabel="time step", yticks=[])
    ax.set_ylabel("membrane", y=0.4)
    ax.set_title("A spike is taken back", loc="left")


def accuracy_axes(ax: Axes) -> None:
    """Accuracy at T = L: every training, and their means."""
    rows = json.loads(FIGURES.read_text())["rows"]
    styles = {"ANN": ("black", ":"), "dual threshold": (BLUE, "-"), "IF": (GREY, "--")}
    for name, (color, line) in styles.items():
        values = [[row[name] for row in rows if row["levels"] == steps] for steps in STEPS]
        ax.plot(range(len(STEPS)), [mean(v) for v in values], line, color=color, linewidth=2,
                label="their ANN" if name == "ANN" else name)  # fmt: skip
        for position, found in enumerate(values):
            if name != "ANN":
                ax.plot([position] * len(found), found, "o", color=color, markersize=4)
    ax.set_xticks(range(len(STEPS)), [str(steps) for steps in STEPS])
    ax.set(xlabel="time steps T = levels L", ylabel="digits right, %", ylim=(None, 101))
    ax.set_title("Same weights, two neurons", loc="left")
    ax.legend(loc="lower left", frameon=False)


def draw() -> None:
    """Both halves, on white: the README is read on dark pages too."""
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False,
                         "axes.titleweight": "bold", "axes.titlesize": 12.5})  # fmt: skip
    for name, rows, size in (("overview", 1, (9, 3.7)), ("overview_narrow", 2, (4.5, 7.4))):
        figure, axes = plt.subplots(rows, 2 // rows, figsize=size, layout="constrained")
        neuron_axes(axes[0])
        accuracy_axes(axes[1])
        figure.savefig(HERE / f"{name}.png", dpi=150)


if __name__ == "__main__":
    {"measure": measure, "draw": draw}[sys.argv[1]]()
