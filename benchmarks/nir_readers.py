"""What becomes of one ``IF`` of an NIR graph in each reader, and how to make it the neuron it is.

    python benchmarks/nir_readers.py READER     # where READER and nir are, and nothing of ours

READER is sinabs, snntorch, norse, spikingjelly, spyx or rockpool. The first line is what the reader
makes of an ``IF`` with θ = 1 for eight currents. The second runs the reader's neuron, set up as the
page on chips says, on 1,000 neurons for 200 steps of random currents, and counts the spikes that
differ from those of a plain neuron: start at θ/2, add, compare, subtract θ, at most one spike.
"""

from __future__ import annotations

import sys
from typing import Any

import nir
import numpy as np

CURRENTS = np.array([0.6, 0.6, 2.6, -3, 0.9, 0.9, 0, 1], "f4")
RANDOM = np.random.default_rng(0).normal(0.3, 1, (200, 1000)).astype("f4")


def graph() -> Any:
    """An IF behind weights of 1, as readers want some."""
    one = np.ones(1, "f4")
    return nir.NIRGraph.from_list(nir.Linear(np.eye(1, dtype="f4")), nir.IF(one, one, 0 * one))


def plain() -> Any:
    """The spikes that a plain neuron has."""
    v, spikes = np.full(1000, 0.5, "f4"), []
    for current in RANDOM:
        v = v + current
        spikes.append((v >= 1).astype("f4"))
        v = v - spikes[-1]
    return np.stack(spikes)


def started() -> Any:
    """The currents, with the start in the first."""
    return np.concatenate([RANDOM[:1] + np.float32(0.5), RANDOM[1:]])


def by_steps(module: Any, currents: Any) -> list[float]:
    """Run a torch module that takes and gives a state."""
    import torch

    state, spikes = None, []
    for current in currents:
        out = module(torch.tensor([[current]]), state)
        out, state = out if isinstance(out, tuple) else (out, None)
        while isinstance(out, tuple):
            out = out[0]
        spikes.append(float(out.detach()))
    return spikes


def sinabs() -> tuple[Any, Any]:
    import torch
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.layers import IAF
    from sinabs.nir import _import_sinabs_module

    node = next(node for node in graph().nodes.values() if isinstance(node, nir.IF))
    found = _import_sinabs_module(node, 1, len(CURRENTS))(torch.tensor(CURRENTS).view(-1, 1))
    neuron = IAF(
        spike_threshold=1.0, spike_fn=SingleSpike, reset_fn=MembraneSubtract(), min_v_mem=None
    )
    return found.flatten().tolist(), neuron(torch.tensor(started())[None]).detach().numpy()[0]


def snntorch() -> tuple[Any, Any]:
    import snntorch
    import torch
    from snntorch.import_nir import import_from_nir

    # It fires above its threshold, not at it: the next smaller number makes it ">=".
    theta = float(np.nextafter(np.float32(1), np.float32(0)))
    neuron = snntorch.Leaky(beta=1.0, threshold=theta, reset_mechanism="none")
    mem, spikes = torch.zeros(1000), []
    for current in torch.tensor(started()):
        spike, mem = neuron(current, mem)
        mem = mem - spike  # "subtract" would take the smaller threshold
        spikes.append(spike.detach().numpy())
    return by_steps(import_from_nir(graph()), CURRENTS), np.stack(spikes)


def norse() -> tuple[Any, Any]:
    from norse.torch import from_nir

    return by_steps(from_nir(graph()), CURRENTS), None


def spikingjelly() -> tuple[Any, Any]:
    import torch
    from spikingjelly.activation_based import neuron as neurons
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    neuron = neurons.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
    found = by_steps(import_from_nir(graph(), dt=1.0), CURRENTS)
    return found, neuron(torch.tensor(started())).detach().numpy()


def spyx() -> tuple[Any, Any]:
    import jax.numpy as jnp
    from spyx.nir import from_nir
    from spyx.nn import IF

    _, found = from_nir(graph(), jnp.array(CURRENTS).reshape(-1, 1, 1))
    found = np.asarray(found).ravel()
    # It compares before it adds: one more step shows what was added last.
    neuron, v, spikes = IF((1000,), threshold=1.0), jnp.zeros(1000), []
    for current in [*started(), np.zeros(1000, "f4")]:
        spike, v = neuron(jnp.array(current), v)
        spikes.append(np.asarray(spike))
    return found.tolist(), np.stack(spikes[1:])


def rockpool() -> tuple[Any, Any]:
    from rockpool.nn.modules.torch.nir import from_nir

    return by_steps(from_nir(graph()), CURRENTS), None


if __name__ == "__main__":
    name = sys.argv[1]
    try:
        unpatched, patched = globals()[name]()
    except Exception as error:
        sys.exit(f"{name}: {type(error).__name__}: {error}")
    print(name, "unpatched:", " ".join(f"{value:g}" for value in unpatched))
    if patched is not None:
        print(name, f"patched: {int((patched != plain()).sum())} of {patched.size} differ")
