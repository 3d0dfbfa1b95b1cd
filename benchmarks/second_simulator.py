"""Do other simulators spike the same? brian2 and sinabs against the files of a trained network.

    bash benchmarks/second_simulator.sh FOLDER     # makes the environments, runs all of this

    python benchmarks/second_simulator.py brian FOLDER     # where brian2 is, and nothing of ours
    python benchmarks/second_simulator.py sinabs FOLDER    # where sinabs is, and nothing of ours

``second_simulator_write.py`` writes the files. ``brian`` builds neurons and synapses of its own
from matrices; ``sinabs`` reads an NIR file of plain neurons that settle, then fire. Both compare
every neuron's spikes at every step, and the outputs, and end with an error if one differs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

STEPS, IMAGES = 8, 10


# -------------------------------------------------------------------------------- brian2 alone


def brian(folder: Path) -> int:
    """Build each network anew in brian2, and compare."""
    import brian2 as b

    b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = 1 * b.ms
    wrong = 0
    for name in ("reference", "two_channels"):
        with np.load(folder / f"{name}.npz") as file:
            data = dict(file)
        differ, values, outputs = 0, 0, 0
        for image in range(IMAGES):
            found, out = simulate(b, data, image, two_lines=name == "two_channels")
            for layer, spikes in found.items():
                expected = data[f"spikes/{layer}"][:, image]
                differ += int((spikes != expected).sum())
                values += expected.size
            outputs += int((out / STEPS != data["out"][image]).sum())
        print(
            f"brian2 {b.__version__}, {name}: {differ} of {values} differ (spikes of all layers, "
            f"neuron by neuron, step by step); {outputs} of {data['out'].size} outputs differ"
        )
        wrong += differ + outputs
    return wrong


def simulate(
    b: Any, data: dict[str, Any], image: int, *, two_lines: bool
) -> tuple[dict[str, Any], Any]:
    """One image; a − event adds weights of its own, or subtracts those of the + event.

    A layer of depth d runs d − 1 steps behind, as spikes arrive one step later.
    """
    names = [key.split("/")[1] for key in data if key.startswith("theta/")]
    edges = [key.split("/")[1:] for key in data if key.startswith("synapses/")]
    depth: dict[str, int] = {}
    for target in (*names, "out"):
        sources = [source for source, end, _ in edges if end == target]
        depth[target] = 1 + max((depth[source] for source in sources), default=0)
    groups: dict[str, Any] = {}
    for name in (*names, "out"):
        count = data[f"current/{name}"].shape[1]
        theta = float(data[f"theta/{name}"]) if name in names else np.inf
        group = b.NeuronGroup(
            count,
            "v : 1\nn : 1\narriving : 1\nshown : 1 (constant)",
            threshold="v >= theta",
            reset="v -= theta; n += 1",
            events={"back": "v <= lower and n > 0"},
            namespace={"theta": theta, "lower": float(data.get(f"lower/{name}", -np.inf))},
            method="euler",
        )
        group.run_on_event("back", "v += theta; n -= 1")
        group.v = theta / 2 if name in names else 0
        group.shown = data[f"current/{name}"][image]
        late = depth[name] - 1
        during = f"int(t/dt + 0.5) >= {late} and int(t/dt + 0.5) < {late + STEPS}"
        group.run_regularly(
            f"v += arriving + shown * int({during})\narriving = 0", when="groups", order=1
        )
        groups[name] = group
    parts: list[Any] = list(groups.values())
    for source, target, line in edges:
        if line == "back" and not two_lines:
            continue
        weights, events = data[f"synapses/{source}/{target}/{line}"], {line: "+"}
        if not two_lines:
            events = {"spike": "+", "back": "-"}
        pre, post = weights.nonzero()
        synapses = b.Synapses(
            groups[source],
            groups[target],
            "w : 1",
            on_pre={event: f"arriving_post {sign}= w" for event, sign in events.items()},
            on_event={event: event for event in events},
        )
        synapses.connect(i=pre, j=post)
        synapses.w = weights[pre, post]
        for event in events:
            delay = (depth[target] - depth[source] - 1) * b.ms
            getattr(synapses, event).delay = delay
        parts.append(synapses)
    monitors = {
        name: [b.EventMonitor(groups[name], e) for e in ("spike", "back")] for name in names
    }
    net = b.Network(*parts, *(m for pair in monitors.values() for m in pair))
    net.run((STEPS + depth["out"] - 1) * b.ms)
    found = {}
    for name in names:
        spikes = np.zeros((STEPS, data[f"current/{name}"].shape[1]))
        for monitor, sign in zip(monitors[name], (1, -1), strict=True):
            steps = np.rint(np.asarray(monitor.t / b.ms)).astype(int) - (depth[name] - 1)
            inside = (steps >= 0) & (steps < STEPS)
            spikes[steps[inside], np.asarray(monitor.i)[inside]] += sign
        found[name] = spikes
    return found, np.asarray(groups["out"].v)


# -------------------------------------------------------------------------------- sinabs alone


def sinabs(folder: Path) -> int:
    """Read the NIR graph, run its neurons in sinabs, and compare.

    sinabs reads an IF as a neuron that may fire several spikes a step and whose membrane is clipped
    at −θ; here it gets single spikes and no clip, and the start and the clock pulses of the
    node's metadata. Several edges into a node are summed.
    """
    import nir
    import sinabs.layers as sl
    import torch
    from sinabs import __version__
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.nir import _import_sinabs_module

    graph = nir.read(folder / "settle.nir")
    with np.load(folder / "settle.npz") as file:
        data = dict(file)
    steps, images = int(data["latency"]), torch.tensor(data["images"])
    neurons = [node for node in graph.nodes.values() if isinstance(node, nir.IF)]
    values: dict[str, Any] = {}
    waiting = dict(graph.nodes)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Input):
            shown = torch.zeros(steps, *images.shape)
            shown[: int(neurons[0].metadata["ecl_shown"])] = images
            values[name] = shown.flatten(0, 1)
            del waiting[name]
    differ = total = 0
    while waiting:
        for name, node in list(waiting.items()):
            sources = [a for a, b in graph.edges if b == name]
            if not set(sources) <= set(values):
                continue
            current = sum(values[source] for source in sources)
            del waiting[name]
            if isinstance(node, nir.Output):
                values[name] = current
            elif isinstance(node, nir.IF):
                theta = torch.tensor(node.v_threshold)
                layer = sl.IAF(
                    spike_threshold=theta,
                    spike_fn=SingleSpike,
                    reset_fn=MembraneSubtract(),
                    min_v_mem=None,
                )
                pulses = torch.zeros(steps, node.metadata["ecl_pulses"].shape[1])
                given = torch.tensor(node.metadata["ecl_pulses"])[:steps]
                pulses[: len(given)] = given
                trains = current.view(steps, IMAGES, *theta.shape)
                trains = trains + pulses.view(steps, 1, -1, *[1] * (theta.ndim - 1))
                trains[0] += float(node.metadata["ecl_start"]) * theta
                fired = layer(trains.transpose(0, 1)).transpose(0, 1).detach()
                expected = data[name].reshape(fired.shape)
                differ += int((fired.numpy() != expected).sum())
                total += expected.size
                values[name] = fired.flatten(0, 1)
            elif isinstance(node, nir.AvgPool2d):  # sinabs reads SumPool2d only
                sizes = (tuple(map(int, v)) for v in (node.kernel_size, node.stride))
                values[name] = torch.nn.functional.avg_pool2d(current, *sizes)
            elif isinstance(node, nir.Scale):
                values[name] = current * torch.tensor(node.scale)
            else:
                values[name] = _import_sinabs_module(node, IMAGES, steps)(current)
    (out,) = [values[n] for n, node in graph.nodes.items() if isinstance(node, nir.Output)]
    means = out.view(steps, IMAGES, -1).mean(0).detach().numpy()
    outputs = int((~np.isclose(means, data["out"], atol=1e-5)).sum())
    print(
        f"sinabs {__version__}, settle then fire, by NIR: {differ} of {total} differ (spikes of "
        f"all layers, neuron by neuron, step by step); {outputs} of {means.size} outputs differ"
    )
    return differ + outputs


if __name__ == "__main__":
    where = Path(sys.argv[2])
    sys.exit(min(1, {"brian": brian, "sinabs": sinabs}[sys.argv[1]](where)))
