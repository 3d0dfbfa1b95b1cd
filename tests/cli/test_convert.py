"""``convert``: anybody's network, from its factory to a file that loads."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import snntorch_ecl as ecl
from tests.cli.test_cli import invoke

NETS = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)
    )

def grey():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))

class Odd(nn.Module):
    def forward(self, x):
        return nn.functional.hardshrink(x).mean((2, 3))

class Smooth(nn.Module):  # no rectifier, and code that asks for sizes
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        batch, _, height, width = x.shape
        assert height == width
        x = nn.functional.gelu(self.first(x)).reshape(batch, 6, height * width)
        return self.last(x.mean(2))

number = 3

def fails():
    raise ValueError("no such thing")

def nothing():
    return None

def wide():
    return nn.Conv2d(3, 3, 1)
"""
COLOURS = {"red": (250, 20, 20), "green": (20, 250, 20), "blue": (20, 20, 250)}


def weights() -> dict[str, Tensor]:
    """Red is class 4, green 2 and blue 0; the other two are never chosen."""
    last = torch.zeros(5, 3)
    last[4, 0] = last[2, 1] = last[0, 2] = 1.0
    return {
        "0.weight": torch.eye(3).view(3, 3, 1, 1),
        "0.bias": torch.zeros(3),
        "4.weight": last,
        "4.bias": torch.tensor([0.0, -9.0, 0.0, -9.0, 0.0]),
    }


def draw(folder: Path, colour: str, name: str = "") -> None:
    """Six images of one colour, in shades and shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    for shade in range(6):
        pixel = tuple(max(0, value - 9 * shade) for value in COLOURS[colour])
        Image.new("RGB", (8 + shade, 8), pixel).save(folder / f"{name}{shade}.png")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of networks, weights and images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("user_nets", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Path("user_nets.py").write_text(NETS)
    Path("broken.py").write_text("1 / 0\n")
    save_file(weights(), "w.safetensors")
    for number, colour in ((4, "red"), (2, "green"), (0, "blue")):
        draw(Path("images", f"{number}_{colour}"), colour)
    return tmp_path


def convert(**flags: Any) -> Any:
    given = {"model": "user_nets:net", "weights": "w.safetensors", "images": "images"}
    given |= {"image_size": 8, "num_steps": 4, "budget": "fast", "output_dir": "out", **flags}
    words = [
        word
        for name, value in given.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
    ]
    return invoke("convert", *words)


def test_a_network_is_converted_judged_and_loaded_by_three_lines(place: Path) -> None:
    done = convert(spike_sizes=2)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "conversion.json", "network.safetensors", "report.html",
    ]  # fmt: skip
    record = json.loads(Path("out/conversion.json").read_text())
    assert record["config"]["spike_sizes"] == 2
    found = record["figures"]["evaluation"]
    assert (found["samples"], found["ann_accuracy"], found["levels_per_step"]) == (6, 1.0, 5)
    assert found["accuracy"][-1] == 1.0  # folders that begin with a number stand for that output
    assert record["figures"]["calibration_images"] == 12  # two thirds of 18
    assert record["code"] in done.output.replace("\r", "")
    scope: dict[str, Any] = {"images": torch.rand(2, 3, 8, 8)}
    exec(record["code"], scope)
    assert scope["logits"].shape == (2, 5)
    assert all(neuron.spike_sizes == 2 for neuron in scope["snn"].neurons.values())
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "user_nets:net" in page
    assert page.count("<svg") == 3
    assert "spikes of 2 sizes" in page


def test_a_network_without_relu_converts_with_signed_spikes(place: Path) -> None:
    refused = convert(model="user_nets:Smooth", weights=None)
    assert refused.exit_code == 1
    assert "signed=True" in refused.output
    done = convert(model="user_nets:Smooth", weights=None, signed=True)
    assert done.exit_code == 0, done.output
    record = json.loads(Path("out/conversion.json").read_text())
    assert record["config"]["signed"] is True
    scope: dict[str, Any] = {"images": torch.rand(2, 3, 8, 8)}
    exec(record["code"], scope)
    assert any(neuron.signed for neuron in scope["snn"].neurons.values())
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "--signed --image-size" in page


@pytest.mark.filterwarnings("ignore:compensate.*no closer:UserWarning")  # there is no error left
def test_without_class_folders_there_is_no_accuracy_but_agreement(place: Path) -> None:
    for colour in COLOURS:
        draw(Path("flat"), colour, colour)
    done = convert(images="flat", budget="good")
    assert done.exit_code == 0, done.output
    assert "agreement with ANN" in done.output
    assert "accuracy" not in done.output
    figures = json.loads(Path("out/conversion.json").read_text())["figures"]
    assert "accuracy" not in figures["evaluation"]
    assert figures["evaluation"]["agreement"][-1] == 1.0
    assert figures["compensation"]["num_steps"] == 4
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "There is no accuracy" in page
    assert "Corrections, error in %" in page


def test_the_command_in_the_report_repeats_the_run(place: Path) -> None:
    convert(seed=3, held_out=4)
    page = Path("out/report.html").read_text(encoding="utf-8")
    command = page.split("<dt>command</dt><dd>")[1].split("</dd>")[0]
    _, *words = command.split()
    before = json.loads(Path("out/conversion.json").read_text())["figures"]
    assert invoke(*words).exit_code == 0
    assert json.loads(Path("out/conversion.json").read_text())["figures"] == before


def test_grey_images_and_weights_of_a_trainers_checkpoint(place: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, "w.pt")
    done = convert(model="user_nets:grey", weights="w.pt", mean="0.5", std="0.25")
    assert done.exit_code == 0, done.output
    snn = ecl.load("out/network.safetensors", module)
    image = torch.rand(3, 1, 8, 8)
    assert torch.allclose(snn(image, num_steps=64), module(image), atol=0.3)
    assert torch.equal(snn.net.get_submodule("3").bias, module[3].bias)  # type: ignore[arg-type]


WRONG = {
    "no factory": ({"model": "user_nets"}, r"must be package\.module:factory.*'user_nets'"),
    "no module": ({"model": "nowhere.at_all:net"}, "there is no module 'nowhere'"),
    "a module that fails": ({"model": "broken:net"}, "broken cannot be imported: ZeroDivision"),
    "no attribute": ({"model": "user_nets:nett"}, "has no 'nett'; there is net"),
    "no function": ({"model": "user_nets:number"}, "is 3, and not a function"),
    "a factory that fails": ({"model": "user_nets:fails"}, r"fails\(\) failed: ValueError: no"),
    "no network": ({"model": "user_nets:nothing"}, "returned NoneType"),
    "no classifier": ({"model": "user_nets:wide", "weights": None}, "and not logits"),
    "unsupported": ({"model": "user_nets:Odd", "weights": None}, "hardshrink"),
    "no file of weights": ({"weights": "none.pt"}, "there is no file none.pt"),
    "other weights": ({"weights": "other.pt"}, r"other\.pt does not fit .*: 0\.bias \(.*in the f"),
    "pickled code": ({"weights": "code.pt"}, r"code\.pt holds more than tensors.*state_dict\(\)"),
    "damaged weights": ({"weights": "bad.safetensors"}, "bad.safetensors cannot be read as w"),
    "no tensors": ({"weights": "list.pt"}, r"list\.pt holds no state dict.* list"),
    "no images": ({"images": "empty"}, "hold 0 images, and at least two are needed"),
    "no folder": ({"images": "none"}, "there is no folder none"),
    "a damaged image": ({"images": "spoilt"}, r"spoilt/1\.png is not a readable image"),
    "another size": ({"model": "user_nets:grey", "weights": None}, r"images of shape \[2, 3, 8"),
    "no numbers": ({"mean": "a,b"}, "--mean takes numbers between commas; got 'a,b'"),
    "two channels": ({"mean": "0,0", "std": "1,1"}, "mean and std need three finite numbers"),
    "no budget": ({"budget": "all"}, "budget must be one of fast, good, best; got 'all'"),
    "nine sizes": ({"spike_sizes": 9}, "spike_sizes must be an integer from 1"),
}


@pytest.mark.parametrize(("flags", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_written(
    place: Path, flags: dict[str, Any], message: str
) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), "other.pt")
    torch.save(nn.Linear(2, 2), "code.pt")
    torch.save([1, 2], "list.pt")
    Path("bad.safetensors").write_bytes(b"no such thing")
    Path("empty").mkdir()
    draw(Path("spoilt"), "red")
    Path("spoilt/1.png").write_bytes(b"no image")
    done = convert(**flags)
    assert done.exit_code == 1, done.output
    assert done.output.startswith("Error: ")
    assert re.search(message, " ".join(done.output.split())), done.output
    assert not Path("out").exists()
