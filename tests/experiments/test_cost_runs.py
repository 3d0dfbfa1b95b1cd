"""Energy and early exit from the command line, on a checkpoint of a few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments import EnergyConfig, ExitConfig, load_data
from snntorch_ecl.measurement import exit_curve
from snntorch_ecl.models import load_ann

from ..cli.test_cli import invoke

pytestmark = pytest.mark.usefixtures("quick_pictures")


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_energy_counts_what_the_library_counts(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "energy"
    result = invoke(
        "energy", "--checkpoint", str(checkpoint), "-T", "3", "--images", "4",
        "--negative-threshold", "-inf", "--output-dir", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "T = 3" in result.stdout
    opened = load_ann(checkpoint)
    test = load_data(opened.config.data)[0].test
    images = torch.stack([test[i * len(test) // 4][0] for i in range(4)])  # type: ignore[arg-type]
    plain = ecl.convert(opened.ann, negative_threshold=-torch.inf)
    expected = ecl.energy(plain, [images], num_steps=3, progress=False)
    found = written(out / "energy.json")
    assert found["figures"]["snn_joules"] == pytest.approx(expected.snn_total)
    assert found["figures"]["samples"] == 4
    assert sum(layer["negative"] for layer in found["figures"]["layers"]) == 0
    assert (out / "energy.svg").is_file()

    again = tmp_path / "again"
    result = invoke("energy", "--config", str(out / "energy.json"), "--output-dir", str(again))
    assert result.exit_code == 0, result.output
    assert written(again / "energy.json") == found


@pytest.mark.parametrize("command", ["energy", "early-exit"])
def test_a_tuned_network_is_measured_in_place_of_the_converted_one(
    checkpoint: Path, command: str, tmp_path: Path
) -> None:
    """One whose neurons never fire costs no operation and always gives the same answer."""
    tuned = ecl.convert(load_ann(checkpoint).ann)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            parameter.fill_(-1.0 if name.endswith("bias") else 0.0)
    tuned.save(tmp_path / "tuned" / "snn.safetensors")
    result = invoke(
        command, "--checkpoint", str(checkpoint), "--tuned", str(tmp_path / "tuned"), "-T", "3",
        "--output-dir", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    figures = written(tmp_path / f"{command.replace('-', '_')}.json")["figures"]
    if command == "energy":
        assert sum(layer["spikes"] for layer in figures["layers"]) == 0
    else:
        assert {point["accuracy"] for point in figures["points"]} == {0.5}


def test_a_tuned_network_keeps_its_own_negative_threshold(checkpoint: Path, tmp_path: Path) -> None:
    tuned = ecl.convert(load_ann(checkpoint).ann, negative_threshold=-torch.inf)
    tuned.save(tmp_path / "tuned" / "snn.safetensors")
    arguments = (
        "energy", "--checkpoint", str(checkpoint), "--tuned", str(tmp_path / "tuned"), "-T", "4",
        "--output-dir", str(tmp_path),
    )  # fmt: skip
    negative = []
    for flags in ((), ("--negative-threshold", "-0.001")):
        result = invoke(*arguments, *flags)
        assert result.exit_code == 0, result.output
        layers = written(tmp_path / "energy.json")["figures"]["layers"]
        negative.append(sum(layer["negative"] for layer in layers))
    assert negative[0] == 0 < negative[1]


def test_constants_of_ones_own_come_from_a_file(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "costs.yaml"
    file.write_text(f"checkpoint: {checkpoint}\nconstants: {{mac: 0, ac: 0, update: 2}}\n")
    result = invoke("energy", "--config", str(file), "--output-dir", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    figures = written(tmp_path / "out" / "energy.json")["figures"]
    updates = sum(layer["updates"] for layer in figures["layers"])
    assert figures["snn_joules"] == pytest.approx(2e-12 * updates)


def test_early_exit_draws_the_librarys_curve(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "exit"
    result = invoke(
        "early-exit", "--checkpoint", str(checkpoint), "-T", "4", "--confidence", "0.4",
        "--confidence", "1.0", "--min-steps", "1", "--output-dir", str(out),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    opened = load_ann(checkpoint)
    test = load_data(opened.config.data)[0].test
    curve = exit_curve(
        ecl.convert(opened.ann), DataLoader(test, 25), max_steps=4,
        confidences=(0.4, 1.0), min_steps=1, progress=False,
    )  # fmt: skip
    figures = written(out / "early_exit.json")["figures"]
    assert figures == json.loads(json.dumps(curve.to_dict()))
    assert figures["points"][-1]["mean_steps"] == 4.0
    assert (out / "early_exit.svg").is_file()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ExitConfig, {"confidences": (0.0,)}, "confidence must lie in"),
        (ExitConfig, {"min_steps": 0}, "min_steps must be"),
        (EnergyConfig, {"steps": (0,)}, "steps must be"),
    ],
)
def test_settings_outside_their_range(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(checkpoint="ann.safetensors", **settings)
