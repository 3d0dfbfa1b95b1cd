"""The benchmark: that it times what it says; how long things take is not tested."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments import Bench, BenchConfig, Timing, run_bench
from snntorch_ecl.experiments import _bench as bench_module
from snntorch_ecl.experiments._bench import time_modes
from snntorch_ecl.experiments._bench_forms import formed, in_form
from snntorch_ecl.experiments._bench_modes import MODES, build_subject, folded, random_images
from snntorch_ecl.experiments._bench_peer import peer_modes
from snntorch_ecl.experiments._files import versions_and_machine

from ..cli.test_cli import invoke

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own


PLAIN = ("multi-step", "step by step")


# That compiled networks answer like plain ones is tested where they are compiled.
@pytest.mark.parametrize("modes", [PLAIN, pytest.param(tuple(MODES)[1:4], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["digit_net", "resnet20"])
def test_modes_compute_what_they_are_called(name: str, modes: tuple[str, ...]) -> None:
    subject = build_subject(name, image_size=28, seed=0)
    images = random_images(subject.model, 3, 28, seed=1)
    with torch.no_grad():
        snn = ecl.convert(subject.ann)
        expected = snn(images, num_steps=3)
        for mode in modes:
            assert torch.allclose(MODES[mode](subject, images)(3), expected, atol=1e-5), mode


def test_the_loop_by_hand_runs_snntorchs_neuron_from_a_fresh_state_each_time() -> None:
    # Not digit_net, which pools: by hand it pools spikes.
    subject = build_subject("resnet20", image_size=16, seed=0)
    images = random_images(subject.model, 3, 16, seed=1)
    with torch.no_grad():
        leaky = ecl.convert(subject.ann, handlers={ecl.ThresholdClip: snntorch_neuron})
        expected = leaky(images, num_steps=3)
        run = MODES["snn.Leaky(beta=1) in a loop"](subject, images)
        for _ in range(2):
            assert torch.allclose(run(3), expected, atol=1e-4)
        assert not torch.allclose(
            expected, ecl.convert(subject.ann)(images, num_steps=3), atol=1e-2
        )


def snntorch_neuron(module: Any, site: Any) -> torch.nn.Module:
    theta = module.threshold.detach()
    return snntorch.Leaky(
        1.0, threshold=theta, init_hidden=True, reset_delay=False, graded_spikes_factor=theta
    )


def test_the_ann_beside_it_is_the_same_network_without_batch_norms() -> None:
    subject = build_subject("resnet20", image_size=16, seed=0)
    net = folded(subject.model)
    images = random_images(subject.model, 2, 16, seed=1)
    with torch.no_grad():
        assert torch.allclose(net(images), subject.model(images), atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())


def test_building_a_subject_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    subject = build_subject("digit_net", image_size=28, seed=3)
    images = random_images(subject.model, 2, 28, seed=3)
    assert torch.equal(images, random_images(subject.model, 2, 28, seed=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_medians_are_of_turns_that_begin_with_another_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []

    def noting(name: str) -> Any:
        return lambda num_steps: calls.append((name, num_steps))

    durations = iter([1.0, 9.0, 30.0, 10.0, 2.0, 20.0])  # b a, then a b, then b a
    monkeypatch.setattr(bench_module, "seconds", lambda call, device: (call(), next(durations))[1])
    runs = {"a": noting("a"), "b": noting("b")}
    medians = bench_module._medians(runs, 5, 3, torch.device("cpu"))
    assert calls[4:] == [("b", 5), ("a", 5), ("a", 5), ("b", 5), ("b", 5), ("a", 5)]
    assert len(calls[:4]) == 4  # warm-up
    assert medians == {"b": 2.0, "a": 20.0}


def test_ratios_are_to_t_runs_of_the_ann() -> None:
    timing = Timing("net", 32, 4, ann=2.0, modes={"fast": 2.2, "slow": 5.0})
    result = Bench((timing,), {"net": 0.25}, repeats=7, threads=2, device="cpu")
    case = "net, batch 32"
    assert result.ratios() == {(case, "fast"): {4: 1.1}, (case, "slow"): {4: 2.5}}
    assert result.slopes() == {}
    assert result.to_dict()["timings"][0]["modes"] == {"fast": 2.2, "slow": 5.0}


def test_a_slope_is_what_a_step_more_takes() -> None:
    timings = (
        Timing("net", 1, 8, ann=16.0, modes={"fast": 9.0}, form="bfloat16"),
        Timing("net", 1, 2, ann=4.0, modes={"fast": 3.0}, form="bfloat16"),
    )
    result = Bench(timings, {}, repeats=7, threads=2, device="cpu")
    assert result.slopes() == {("net, batch 1, 32 px, bfloat16", "fast"): 0.5}


def test_what_more_of_each_takes_is_told_beside_what_it_takes_the_ann() -> None:
    def timing(batch: int, size: int, layers: int, fast: float, ann: float) -> Timing:
        return Timing(f"net{layers}", batch, 2, ann, {"fast": fast}, image_size=size, layers=layers)

    timings = (
        timing(1, 32, 10, fast=2.0, ann=4.0),
        timing(3, 32, 10, fast=5.0, ann=10.0),  # images: 3 / 6
        timing(2, 32, 10, fast=9.9, ann=5.0),  # between the two: has no say
        timing(1, 64, 10, fast=14.0, ann=20.0),  # size: 12 / 16
        timing(1, 32, 20, fast=8.0, ann=8.0),  # layers: 6 / 4
    )
    result = Bench(timings, {}, repeats=7, threads=2, device="cpu")
    assert result.growth() == {"fast": {"batch_size": 0.5, "image_size": 0.75, "layers": 1.5}}
    assert "larger images" in str(result)
    assert "a step more" not in str(result)  # one T only


def test_a_mode_that_fails_costs_no_other_its_figures() -> None:
    def raising(num_steps: int) -> None:
        if num_steps == 2:
            raise RuntimeError("no kernel")

    def unmakable(subject: Any, images: Any) -> Any:
        raise ValueError("no package")

    modes = {"some": lambda *_: raising, "never": unmakable, "good": lambda *_: lambda t: None}
    config = BenchConfig(models=("digit_net",), steps=(1, 2, 3), batch_sizes=(1,), repeats=1)
    with pytest.warns(UserWarning, match="left out, as it fails here") as told:
        result = time_modes(config, modes=modes)
    assert [str(one.message).split(": ")[1].split(" ")[0] for one in told] == ["never", "some"]
    assert [sorted(one.modes) for one in result.timings] == [
        ["good", "some"], ["good"], ["good", "some"],
    ]  # fmt: skip
    rows = [line for line in str(result).splitlines() if "some" in line]
    assert "–" in rows[0]
    assert list(result.growth()) == ["some", "good"]  # in the order of the modes


@pytest.mark.parametrize("form", ["bfloat16", "float32 channels-last"])
def test_every_plain_mode_runs_in_a_form(form: str) -> None:
    subject = in_form(build_subject("digit_net", image_size=28, seed=0), form)
    images = formed(random_images(subject.model, 2, 28, seed=1), form)
    with torch.no_grad():
        for name in (*PLAIN, "snn.Leaky(beta=1) in a loop"):
            output = MODES[name](subject, images)(2)
            assert output.dtype is images.dtype, name


@pytest.mark.parametrize("form", ["bfloat16", "float32 channels-last"])
def test_networks_run_in_a_form(form: str) -> None:
    subject = in_form(build_subject("digit_net", image_size=28, seed=0), form)
    images = formed(random_images(subject.model, 3, 28, seed=1), form)
    with torch.no_grad():
        output = MODES["multi-step"](subject, images)(2)
    assert output.dtype is (torch.bfloat16 if form == "bfloat16" else torch.float32)
    weight = next(p for p in subject.model.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last) is ("last" in form)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"forms must be some of float32, .*; got 'int8'"):
        BenchConfig(forms=("int8",))


@pytest.mark.parametrize("modes", [PLAIN, pytest.param(tuple(MODES), marks=pytest.mark.slow)])
def test_the_command_leaves_figures_that_repeat_it(
    tmp_path: Path, modes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        bench_module, "time_modes", partial(time_modes, modes={m: MODES[m] for m in modes})
    )
    out = tmp_path / "bench"
    result = invoke(
        "bench", "--output-dir", str(out), "--model", "digit_net", "-T", "1", "-T", "2",
        "--batch-size", "2", "--repeats", "2", "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for mode in modes:
        assert f"digit_net, batch 2: {mode}" in result.stdout
    written = json.loads((out / "bench.json").read_text())
    assert written["figures"]["threads"] == 1
    assert [t["num_steps"] for t in written["figures"]["timings"]] == [1, 2]
    assert all(s > 0 for t in written["figures"]["timings"] for s in t["modes"].values())
    assert written["machine"] == versions_and_machine()["machine"]
    assert (out / "bench.svg").read_text().startswith("<?xml")
    again = bench_module.BenchConfig(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in written["config"].items()}
    )
    assert again == BenchConfig(
        models=("digit_net",), steps=(1, 2), batch_sizes=(2,), repeats=2, threads=1
    )


def test_threads_are_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    config = BenchConfig(models=("no such network",), threads=before + 1)
    with pytest.raises(ConfigError, match="there is no network 'no such network'"):
        run_bench(config, tmp_path)
    assert torch.get_num_threads() == before
    assert not (tmp_path / "bench.json").exists()


@pytest.mark.parametrize(
    "settings",
    [{"steps": ()}, {"steps": (0,)}, {"batch_sizes": (0,)}, {"repeats": 0}, {"threads": -1},
     {"image_sizes": (0,)}],
)  # fmt: skip
def test_settings_outside_their_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} "):
        BenchConfig(**settings)


def test_modes_of_ones_own() -> None:
    config = BenchConfig(models=("digit_net",), steps=(1,), batch_sizes=(1,), repeats=1)
    result = time_modes(config, modes={"nothing": lambda subject, images: lambda t: None})
    assert list(result.timings[0].modes) == ["nothing"]
    assert (result.timings[0].image_size, result.timings[0].layers) == (32, 7)


def test_the_peer_takes_part_where_it_is_installed() -> None:
    pytest.importorskip("spikingjelly")
    subject = build_subject("resnet20", image_size=16, seed=0)
    images = random_images(subject.model, 2, 16, seed=1)
    whole, stepwise = (mode(subject, images) for mode in peer_modes().values())
    with torch.no_grad():
        assert torch.allclose(whole(3), whole(3))  # from a fresh state each time
        assert torch.allclose(whole(3), stepwise(3), atol=1e-4)
