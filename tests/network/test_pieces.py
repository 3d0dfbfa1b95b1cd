"""Runs in pieces and groups against whole ones: equal spikes, equal state, bounded memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import SpikingNetwork
from snntorch_ecl.conversion._convert import with_step_biases
from snntorch_ecl.errors import ConfigError, StateError
from snntorch_ecl.functional import _fused
from snntorch_ecl.network import _pieces as pieces
from snntorch_ecl.network import _runner
from snntorch_ecl.network._pieces import Footprint, Plan, plan
from snntorch_ecl.nn._temporal import Temporal, unfold
from tests.helpers.compilers import only_traced
from tests.helpers.nets import BY_NAME, Net, exact, over_kinds, spiking
from tests.helpers.parts import close, equal, on_grid, wired

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Room for so little that every run is cut; the plans that were made."""
    plans: list[Plan] = []
    real = pieces.plan

    def noted(*args: Any) -> Plan:
        plans.append(real(*args))
        return plans[-1]

    monkeypatch.setattr(pieces, "_ROOM_ON_CPU", 1)
    monkeypatch.setattr(pieces, "plan", noted)
    return plans


def on_grid_inputs(net: Net) -> tuple[Tensor, ...]:
    return tuple(on_grid(x, 8) for x in net.inputs())


def state_of(snn: SpikingNetwork) -> list[Tensor]:
    neurons = snn.neurons.values()
    return [*(n.mem for n in neurons), *(n.spike_count for n in neurons)]


# -------------------------------------------------------------------------------------- equality


@over_kinds
def test_pieces_of_any_length_give_equal_spikes_and_state(net: Net) -> None:
    snn, inputs = exact(net.name), on_grid_inputs(net)
    with torch.no_grad():
        whole = snn.logits_over_time(*inputs, num_steps=7, piece=7)
        state = state_of(snn)
        for piece in (1, 2, 3, 100):
            cut = snn.logits_over_time(*inputs, num_steps=7, piece=piece)
            assert close(cut, whole)
            assert equal(state_of(snn), state)
            assert close(snn(*inputs, num_steps=7, piece=piece), snn(*inputs, num_steps=7))


@over_kinds
def test_groups_of_images_give_equal_spikes_and_state(net: Net, little_room: list[Plan]) -> None:
    snn, inputs = exact(net.name), on_grid_inputs(net)
    with torch.no_grad():
        whole = snn.logits_over_time(*inputs, num_steps=5, piece=5)
        state = state_of(snn)
        cut = snn.logits_over_time(*inputs, num_steps=5)
        assert little_room[-1] == Plan(images=1, steps=1)
        assert close(cut, whole)
        assert close(state_of(snn), state)
        counts = len(snn.neurons)
        assert equal(state_of(snn)[counts:], state[counts:])
        assert close(snn(*inputs, num_steps=5), snn(*inputs, num_steps=5, piece=5))


def test_after_groups_a_run_can_be_continued(little_room: list[Plan]) -> None:
    snn, inputs = spiking("max-pool overlapping")[1], BY_NAME["max-pool overlapping"].inputs()
    with torch.no_grad():
        snn(*inputs, num_steps=3, piece=3)
        expected = [snn.step(*inputs) for _ in range(2)]
        snn(*inputs, num_steps=3)
        assert little_room
        assert all(map(close, [snn.step(*inputs) for _ in range(2)], expected))


def test_input_that_changes_over_time_runs_in_pieces(little_room: list[Plan]) -> None:
    snn, (images,) = spiking("residual")[1], BY_NAME["residual"].inputs()
    sequence = torch.rand(6, *images.shape)
    with torch.no_grad():
        whole = snn.forward_steps(sequence, piece=6)
        assert close(snn.forward_steps(sequence, piece=4), whole)
        assert close(snn.forward_steps(sequence), whole)
    assert little_room[-1] == Plan(images=len(images), steps=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_neurons_run_in_groups(
    little_room: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fused, "_PIECE", 2)
    monkeypatch.setattr(_runner, "MOST_STEPS", 4)  # that one graph holds
    inputs = BY_NAME["sequential"].inputs()
    snn = ecl.convert(BY_NAME["sequential"].prepared()).compile()
    with torch.no_grad(), only_traced():
        whole = snn(*inputs, num_steps=5, piece=5)
        count = [n.spike_count for n in snn.neurons.values()]
        assert close(snn(*inputs, num_steps=5), whole)
        assert all(map(equal, [n.spike_count for n in snn.neurons.values()], count))


def test_corrections_of_steps_begin_anew_with_each_group(little_room: list[Plan]) -> None:
    snn, inputs = spiking("residual")[1], BY_NAME["residual"].inputs()
    name, neuron = next(iter(snn.neurons.items()))
    with torch.no_grad():
        snn(*inputs, num_steps=1, piece=1)
        bias = torch.linspace(-0.3, 0.3, 3).view(3, 1).repeat(1, neuron.mem.shape[1])
        snn = with_step_biases(ecl.convert(BY_NAME["residual"].prepared()), {name: bias})
        assert close(snn(*inputs, num_steps=4), snn(*inputs, num_steps=4, piece=4))


# ------------------------------------------------------------------------ when a run stays whole


def whole_runs(snn: SpikingNetwork, rows: list[int]) -> None:
    """Note how many rows reach the first neuron at once, by a hook of the neuron's own making."""
    neuron = next(iter(snn.neurons.values()))
    run = neuron._advance
    neuron._advance = lambda f, steps, one: (rows.append(steps.shape[0]), run(f, steps, one))[1]  # type: ignore[method-assign]


def test_a_run_stays_whole_where_somebody_would_notice(little_room: list[Plan]) -> None:
    snn, inputs = ecl.convert(BY_NAME["residual"].prepared()), BY_NAME["residual"].inputs()
    rows: list[int] = []
    whole_runs(snn, rows)
    snn(*inputs, num_steps=3)  # gradients
    with torch.no_grad():
        handle = next(iter(snn.neurons.values())).register_forward_hook(lambda *args: None)
        snn(*inputs, num_steps=3)
        handle.remove()
        handle = nn.modules.module.register_module_forward_pre_hook(lambda *args: None)
        snn(*inputs, num_steps=3)
        handle.remove()
        snn.train()(*inputs, num_steps=3)
        assert (rows, little_room) == ([3, 3, 3, 3], [])
        snn.eval()(*inputs, num_steps=3)
    assert rows[4:].count(1) == len(rows) - 4 > 1


def test_outputs_that_are_no_images_keep_a_batch_together(little_room: list[Plan]) -> None:
    ann = wired(lambda m, x: (m.clip(x), x.shape[0]), clip=ecl.ThresholdClip(4, 1.0))
    snn, images = ecl.convert(ann), torch.rand(3, 5)
    with torch.no_grad():
        spikes, count = snn(images, num_steps=4)
    assert count == 3
    assert equal(spikes, snn(images, num_steps=4)[0])
    assert little_room == [Plan(images=3, steps=1)]


def test_layers_that_cannot_park_keep_a_batch_together(little_room: list[Plan]) -> None:
    class Halve(nn.Module):
        pass

    seen: set[int] = set()

    class Halving(nn.Module, Temporal):
        def forward(self, x: Tensor, *, num_steps: int = 1, held: int = 1) -> Tensor:
            seen.add(len(x) // (1 if held == num_steps else num_steps))
            return 0.5 * unfold(x, num_steps, held).flatten(0, 1)

        def reset_mem(self) -> None:
            pass

    ann = nn.Sequential(nn.Linear(5, 5), Halve(), ecl.ThresholdClip(4, 1.0))
    snn = ecl.convert(ann, handlers={Halve: lambda module, site: Halving()})
    with torch.no_grad():
        snn(torch.rand(3, 5), num_steps=4)
    assert little_room == [Plan(images=3, steps=1)]
    assert seen == {3}  # never a batch of another size


@pytest.mark.parametrize("piece", [0, -1, True, 1.5])
def test_a_piece_is_a_whole_number_of_steps(piece: Any) -> None:
    snn, inputs = spiking("residual")[1], BY_NAME["residual"].inputs()
    for run in (snn, snn.logits_over_time):
        with pytest.raises(ConfigError, match=r"piece must be an integer >= 1; got"):
            run(*inputs, num_steps=4, piece=piece)


def test_an_overflow_in_a_later_group_is_found_and_leaves_nothing(little_room: list[Plan]) -> None:
    snn = ecl.convert(nn.Sequential(nn.Linear(2, 2), ecl.ThresholdClip(4, 1.0)))
    images = torch.rand(4, 2)
    with torch.no_grad():
        expected = snn(images, num_steps=2)
        broken = images.clone()
        broken[2] = 3e38
        with pytest.raises(StateError, match=r"the membrane of 1 is NaN or infinite"):
            snn(broken, num_steps=8)
        assert equal(snn(images, num_steps=2), expected)
        assert next(iter(snn.neurons.values())).mem.shape == (4, 2)


# ---------------------------------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("largest", "in_groups", "images", "num_steps", "expected"),
    [
        (2**18, True, 32, 2, Plan(32, 2)),  # 16 MiB: fits
        (2**18, True, 32, 64, Plan(8, 8)),
        (2**18, True, 32, 3, Plan(16, 3)),
        (2**18, True, 1, 64, Plan(1, 64)),
        (2**18, True, 256, 1, Plan(64, 1)),
        (2**18, False, 256, 5, Plan(256, 1)),
        (2**18, False, 12, 20, Plan(12, 4)),
        (2**26, True, 5, 5, Plan(1, 1)),  # larger than the room
    ],
)
def test_plans_fit_the_room(
    largest: int, in_groups: bool, images: int, num_steps: int, expected: Plan
) -> None:
    cut = plan(Footprint(largest, in_groups), images, num_steps, CPU)
    assert cut == expected
    rows = min(cut.images, images) * min(cut.steps, num_steps)
    assert rows * largest <= pieces._ROOM_ON_CPU or 1 in (cut.images, cut.steps)


def test_the_footprint_is_the_largest_tensor_of_one_image() -> None:
    wide = nn.Sequential(nn.Linear(3, 700), nn.ReLU(), nn.Linear(700, 2))
    ann = ecl.prepare(wide)
    ann.train()(torch.rand(8, 3))
    snn = ecl.convert(ann)
    with torch.no_grad():
        assert pieces.footprint(snn.net, (torch.rand(8, 3),), 8) == Footprint(700 * 4, True)


@pytest.mark.slow  # test_memory.py counts the tensors of a run; this, what the system sees
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_steps() -> None:
    # 8 MiB for one tensor of one step; whole, 64 steps would need several times 512 MiB.
    script = textwrap.dedent(
        """
        import pathlib, sys, torch, snntorch_ecl as ecl
        from torch import nn
        def peak():
            # Not ru_maxrss, which begins with the parent's.
            status = pathlib.Path("/proc/self/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0])
        ann = ecl.prepare(nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(),
                                        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
                                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)))
        images = torch.rand(32, 3, 32, 32)
        with torch.no_grad():
            ann.train()(images[:1])
            snn = ecl.convert(ann)
            snn(images, num_steps=2)
            before = peak()
            snn(images, num_steps=int(sys.argv[1]))
        print(peak() - before)
        """
    )
    grown = subprocess.run(
        [sys.executable, "-c", script, "64"], capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) < 128 * 1024  # KiB
