"""Networks as files for a chip: all of them load or read again, and nothing is half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from typer.testing import CliRunner

import snntorch_ecl as ecl
from snntorch_ecl.cli import app
from snntorch_ecl.errors import ConfigError, UnsupportedError
from snntorch_ecl.experiments import ExportConfig, chip_limits, limits_names, run_export
from snntorch_ecl.models import load_ann

pytestmark = pytest.mark.usefixtures("quick_pictures")


def config(checkpoint: Path, **settings: Any) -> ExportConfig:
    return ExportConfig(checkpoint=str(checkpoint), images=4, steps=(2,), **settings)


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("integers", ["integers"]),
        ("two-channels", ["integers", "two channels"]),
        ("settle", ["settle then fire", "integers"]),
    ],
)
def test_what_is_exported_loads_again(
    checkpoint: Path, target: str, kinds: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    flags = ["--target", target, "-T", "2", "--images", "4", "--limits", "speck"]
    done = CliRunner().invoke(
        app, ["export", "--checkpoint", str(checkpoint), *flags, "--output-dir", str(folder)]
    )
    assert done.exit_code == 0, done.output
    names = ["manifest.json", "manifest.svg", "network.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == names
    chip = ecl.load(folder / "network.safetensors", load_ann(checkpoint).ann)
    assert [one["kind"] for one in chip.lowerings] == kinds
    written = json.loads((folder / "manifest.json").read_text())["figures"]
    steps = chip.latency or 2
    assert written["num_steps"] == steps
    cost = ecl.energy(chip, [torch.rand(2, 3, 8, 8)], num_steps=steps, progress=False)
    assert written["totals"]["neurons"] == cost.total("neurons")
    limits = {one["limit"] for one in written["misfits"]}
    assert limits == {"settle": set(), "two-channels": {"programmable"}}.get(
        target, {"programmable", "signed_spikes"}
    )


def test_a_graph_spikes_as_the_network_that_was_trained(checkpoint: Path, tmp_path: Path) -> None:
    run_export(config(checkpoint, target="nir"), tmp_path)
    again = ecl.from_nir(nir.read(tmp_path / "network.nir"))
    x = torch.rand(2, 3, 8, 8)
    expected = ecl.convert(load_ann(checkpoint).ann, unit_spikes=True)(x, num_steps=2)
    torch.testing.assert_close(again(x, num_steps=2), expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_exported_leaves_nothing_behind(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"stage1\.6 \(SignedMaxPool\): NIR has no node"):
        run_export(ExportConfig(pretrained="digitnet-digits-l4", target="nir"), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"weight_bits=2"):
        run_export(config(checkpoint, weight_bits=2), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_shipped_limits_name_their_sources() -> None:
    for name in limits_names():
        assert len(chip_limits(name).sources) >= 1
    assert chip_limits("speck").signed_spikes is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "tin"}, "target must be one of nir, integers, two-channels, settle; got 'tin'"),
        ({"steps": (1, 2)}, r"exported for one T; got steps=\[1, 2\]"),
        ({"weight_bits": 20}, "weight_bits must be at most 16"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(**{"checkpoint": "ann.safetensors", **settings})


def test_limits_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chip.yaml"
    path.write_text("chip: mine\nfan_in: 3\n", encoding="utf-8")
    assert chip_limits(str(path)).fan_in == 3
    path.write_text("chip: mine\nfan_on: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="fan_on"):
        chip_limits(str(path))
    with pytest.raises(
        ConfigError, match="loihi2, speck, spinnaker2, or a file; there is no 'tin'"
    ):
        chip_limits("tin")
