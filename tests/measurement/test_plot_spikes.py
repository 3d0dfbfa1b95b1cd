"""Pictures of spikes: each mark is a spike."""

from __future__ import annotations

from collections import Counter

import pytest
import snntorch
import torch
from matplotlib import colors
from matplotlib.axes import Axes
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.figures import NEGATIVE, POSITIVE
from snntorch_ecl.errors import ConfigError, InputError
from snntorch_ecl.measurement import (
    plot_spikes,
    raster_axes,
)
from tests.helpers.figures import draws, legend

pytestmark = pytest.mark.usefixtures("pyplot_stays_untouched")


SPIKES = torch.tensor([[1, 0, -1, 0], [0, 0, 1, 1], [-1, 0, 0, 1]])


# ----------------------------------------------------------------------------------- raster


def marks(axes: Axes) -> dict[str, list[list[float]]]:
    """Places of the marks by colour."""
    return {
        colors.to_hex(drawn.get_edgecolor()[0]).upper(): drawn.get_offsets().tolist()
        for drawn in axes.collections
    }


@pytest.mark.parametrize("scale", [1, 0.25, 3])
def test_each_spike_is_a_mark_in_its_signs_colour(axes: Axes, scale: float) -> None:
    raster_axes(axes, SPIKES * scale)
    assert POSITIVE != NEGATIVE
    assert marks(axes) == {
        POSITIVE: [[1, 0], [2, 2], [2, 3], [3, 3]],
        NEGATIVE: [[1, 2], [3, 0]],
    }


def test_the_legend_counts_the_spikes_of_either_sign(axes: Axes) -> None:
    raster_axes(axes, SPIKES)
    assert legend(axes) == ["+1 (4)", "−1, taken back (2)"]
    assert draws(axes)


def test_every_step_is_in_view(axes: Axes) -> None:
    raster_axes(axes, SPIKES)
    assert axes.get_xlim() == (0.5, 3.5)
    assert axes.get_xticks().tolist() == [1, 2, 3]


def test_a_long_run_has_few_ticks(axes: Axes) -> None:
    raster_axes(axes, torch.zeros(64, 2))
    assert 8 <= len(axes.get_xticks()) <= 20


def test_silence_draws_no_mark(axes: Axes) -> None:
    raster_axes(axes, torch.zeros(3, 4))
    assert [len(drawn.get_offsets()) for drawn in axes.collections] == [0, 0]
    assert draws(axes)


@pytest.mark.parametrize("spikes", [SPIKES[0], SPIKES.unsqueeze(0), torch.tensor(1.0)])
def test_spikes_of_another_shape_are_refused(axes: Axes, spikes: Tensor) -> None:
    with pytest.raises(InputError, match=r"spikes \[T, neurons\]; got shape") as caught:
        raster_axes(axes, spikes)
    assert str(list(spikes.shape)) in str(caught.value)


def spiking_line(*thetas: float) -> ecl.SpikingNetwork:
    """Neurons one after the other, without weights."""
    return ecl.convert(nn.Sequential(*(ecl.ThresholdClip(4, theta) for theta in thetas)))


# At θ = 1 and v(0) = 0.5: two spikes by step 2, one of them taken back at step 4; and silence.
CURRENT = torch.tensor([[1.2, 0], [0.9, 0], [-0.4, 0], [-0.9, 0], [0.3, 0]]).view(5, 1, 2)


def test_spikes_over_time_are_drawn_with_their_signs() -> None:
    (axes,) = plot_spikes(spiking_line(1.0), CURRENT).axes
    assert marks(axes) == {POSITIVE: [[1, 0], [2, 0]], NEGATIVE: [[4, 0]]}
    assert axes.get_title() == "0: 2 × +1, 1 × −1"
    assert axes.get_ylabel() == "1 of 1 active neurons"
    assert draws(axes)


def test_an_image_is_held_and_only_the_first_of_a_batch_is_drawn() -> None:
    images = torch.tensor([[0.25, 0.75], [1.0, 1.0]])  # of θ: spikes at step 2; 1, 2 and 4
    (axes,) = plot_spikes(spiking_line(1.0), images, num_steps=4).axes
    assert marks(axes) == {POSITIVE: [[1, 1], [2, 0], [2, 1], [4, 1]], NEGATIVE: []}


def test_of_many_neurons_those_shown_are_spread_over_the_layer_and_sorted() -> None:
    images = torch.arange(101).flip(0).view(1, -1) / 100
    (axes,) = plot_spikes(spiking_line(1.0), images, num_steps=4, neurons=5).axes
    counts = Counter(neuron for _, neuron in marks(axes)[POSITIVE])
    assert [counts[neuron] for neuron in range(5)] == [1, 1, 2, 3, 4]
    assert axes.get_ylabel() == "5 of 88 active neurons"  # from 1/8 of θ on


def test_of_many_layers_six_are_drawn_or_those_that_are_named() -> None:
    snn, image = spiking_line(*[1.0] * 21), torch.ones(1, 3)
    figure = plot_spikes(snn, image, num_steps=2)
    assert [a.get_title().split(":")[0] for a in figure.axes] == ["0", "4", "8", "12", "16", "20"]
    figure = plot_spikes(snn, image, num_steps=2, layers=["3", "1"])
    assert [a.get_title().split(":")[0] for a in figure.axes] == ["3", "1"]


def test_a_network_that_is_silent_is_drawn() -> None:
    (axes,) = plot_spikes(spiking_line(1.0), torch.zeros(1, 3), num_steps=2).axes
    assert axes.get_ylabel() == "0 of 0 active neurons"
    assert draws(axes)


def test_layers_without_neurons_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no dual-threshold neurons in 'x'.* are 0, 1"):
        plot_spikes(spiking_line(1.0, 1.0), torch.ones(1, 3), num_steps=2, layers=["0", "x"])
    leaky = {nn.Tanh: lambda module, site: snntorch.Leaky(beta=0.5, init_hidden=True)}
    ann = nn.Sequential(ecl.ThresholdClip(4, 1.0), nn.Tanh())
    snn = ecl.convert(ann, handlers={ecl.ThresholdClip: leaky[nn.Tanh], **leaky})
    with pytest.raises(ConfigError, match="no dual-threshold neuron: it has no spikes"):
        plot_spikes(snn, torch.ones(1, 3), num_steps=2)
    with pytest.raises(ConfigError, match="neurons"):
        plot_spikes(spiking_line(1.0), torch.ones(1, 3), num_steps=2, neurons=0)
