"""Groups of images that go from one neuron to the next arrive where a whole run arrives."""

import torch
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl._util.shelf import Shelf
from snntorch_ecl.conversion._walk import Walk
from snntorch_ecl.nn import unfold

STEPS = 3


class Crossed(nn.Module):
    """A shortcut over two neurons, and a layer that is called long before it is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.early, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.early(x)
        first = self.a(x).relu()
        second = self.b(first).relu()
        third = (self.c(second) + early + first).relu()
        return self.out(third), second


def network() -> ecl.SpikingNetwork:
    torch.manual_seed(0)
    ann = ecl.prepare(Crossed())
    ann.train()(torch.randn(50, 4))
    return ecl.convert(ann.eval())


def test_the_walk_ends_where_a_whole_run_ends() -> None:
    snn, images = network(), torch.randn(10, 4)
    walk = Walk(snn.net, snn.neurons.keys(), STEPS)
    passed = []
    with torch.no_grad(), Shelf() as shelf:
        groups = [walk.start(group, shelf) for group in images.split(4)]
        for name in walk.ends():
            passed.append(name)
            if name is None:
                found = [arrived.current for arrived in walk.arrivals(groups)]
                means = list(walk.means(groups))
            else:
                walk.cross(None)
        snn.reset()
        expected = snn(images, num_steps=STEPS)
    assert passed == [*snn.neurons, None]
    for index, whole in enumerate(expected):
        sums = [unfold(group[index], STEPS).sum(0) for group in found]
        torch.testing.assert_close(torch.cat(sums) / STEPS, whole)
        torch.testing.assert_close(torch.cat([mean[index] for mean in means]), whole)


def test_a_layer_runs_again_when_its_neuron_is_reached_and_not_before() -> None:
    """So it can be changed then, wherever in the code it is called."""
    snn, images = network(), torch.randn(5, 4)
    early = snn.net.get_submodule("early")
    calls = []
    early.register_forward_hook(lambda *args: calls.append(1))
    walk = Walk(snn.net, snn.neurons.keys(), STEPS)
    counts = []
    with torch.no_grad(), Shelf() as shelf:
        walk.start(images, shelf)
        for name in walk.ends():
            for arrived in walk.arrivals([0], early):
                assert (arrived.input is not None) == (name == list(snn.neurons)[2])
            if name is not None:
                walk.cross(None)
            counts.append(len(calls))
    assert counts == [0, 0, 2, 2]


def test_shifts_are_added_at_their_step() -> None:
    snn, images = network(), torch.randn(5, 4)
    first = next(iter(snn.neurons))
    theta = snn.neurons[first].threshold.item()
    shifts = torch.tensor([[-100.0], [100.0], [0.0]]).expand(3, 6) * theta
    walk = Walk(snn.net, snn.neurons.keys(), STEPS)
    with torch.no_grad(), Shelf() as shelf:
        walk.start(images, shelf)
        ends = walk.ends()
        next(ends)
        walk.cross(shifts)
        next(ends)
        spikes = next(iter(walk.arrivals([0], snn.net.get_submodule("b")))).input
    assert spikes is not None
    # -100 θ at the first step: no spike until the membrane has come back, which takes 100 θ.
    assert not unfold(spikes, STEPS)[0].any()
