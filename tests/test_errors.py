"""Every bad input is an EclError that says where, what was given, and what to do."""

from __future__ import annotations

import inspect
import json
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import snntorch_ecl as ecl
from snntorch_ecl import DualThreshold, ThresholdClip, errors
from snntorch_ecl.errors import (
    CheckpointError,
    ConfigError,
    EclError,
    InputError,
    NotPreparedError,
    RegistrationError,
    StateError,
    ThresholdUnsetError,
    TraceError,
    UnsupportedError,
)
from tests.nets import BY_NAME, wired

NAN, INF = math.nan, math.inf


def refuses(
    call: Callable[[], Any], kind: type[EclError], builtin: type[Exception], *parts: str
) -> str:
    """The call raises exactly ``kind``, whose text holds all ``parts``."""
    with pytest.raises(builtin) as caught:
        call()
    assert type(caught.value) is kind
    text = str(caught.value)
    assert [part for part in parts if part not in text] == []
    return text


def small(threshold: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), ThresholdClip(4, threshold), nn.Linear(4, 2))


def network() -> ecl.SpikingNetwork:
    return ecl.convert(small())


# ------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("value", [0, -1.0, NAN, INF, -INF])
@pytest.mark.parametrize("make", [DualThreshold, lambda v: ThresholdClip(4, v)])
def test_thresholds_must_be_positive_and_finite(make: Any, value: float) -> None:
    refuses(lambda: make(value), ConfigError, ValueError, "threshold must be finite and > 0",
            f"got {value:g}")  # fmt: skip


def test_a_bad_threshold_among_many_is_pointed_at() -> None:
    refuses(lambda: DualThreshold(torch.tensor([1.0, 0.0, -2.0])), ConfigError, ValueError,
            "got 0 at index [1]")  # fmt: skip


@pytest.mark.parametrize("value", ["1", True, [1.0]])
def test_thresholds_must_be_numbers(value: object) -> None:
    refuses(lambda: ThresholdClip(4, value), ConfigError, ValueError,
            f"must be a number or a tensor; got {value!r}")  # fmt: skip


@pytest.mark.parametrize("levels", [0, -1, 2.0, True, "4"])
@pytest.mark.parametrize(
    "call", [lambda v: ThresholdClip(v), lambda v: ecl.prepare(nn.ReLU(), levels=v)]
)
def test_levels_must_be_a_positive_integer(call: Any, levels: object) -> None:
    refuses(lambda: call(levels), ConfigError, ValueError, "levels must be an integer >= 1",
            f"got {levels!r}")  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("negative_threshold", 0.1, "must be <= 0 (-inf: plain IF neuron)"),
        ("negative_threshold", NAN, "must be <= 0"),
        ("negative_threshold", "-1", "must be a number"),
        ("initial_membrane", -0.1, "in units of θ and must lie in [0, 1]"),
        ("initial_membrane", 1.1, "in units of θ and must lie in [0, 1]"),
        ("initial_membrane", True, "must be a number"),
        ("spike_grad", 3, "must be a function or None"),
    ],
)
def test_settings_of_a_conversion_are_checked_first(
    setting: str, value: object, remedy: str
) -> None:
    refuses(lambda: ecl.convert(nn.ReLU(), **{setting: value}), ConfigError, ValueError,
            setting, remedy, f"got {value!r}")  # fmt: skip


RUNS: dict[str, Callable[[ecl.SpikingNetwork, Any], Any]] = {
    "forward": lambda snn, t: snn(torch.rand(2, 4), num_steps=t),
    "logits_over_time": lambda snn, t: snn.logits_over_time(torch.rand(2, 4), num_steps=t),
    "evaluate": lambda snn, t: ecl.evaluate(
        snn, [(torch.rand(2, 4), torch.tensor([0, 1]))], num_steps=t, progress=False
    ),
}


@pytest.mark.parametrize("num_steps", [0, -1, True, 2.5, "4", None])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_num_steps_must_be_a_positive_integer(run: Any, num_steps: object) -> None:
    refuses(lambda: run(network(), num_steps), ConfigError, ValueError, "num_steps must be",
            ">= 1", f"got {num_steps!r}")  # fmt: skip


@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_only_modules_convert(verb: Any) -> None:
    refuses(lambda: verb(print), ConfigError, ValueError, "model must be an nn.Module",
            "builtin_function_or_method")  # fmt: skip


# ------------------------------------------------------------------------------ unusable networks


@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_unsupported_activations_are_all_in_one_message_with_the_line_to_write(verb: Any) -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), nn.GELU(), ThresholdClip(4, 1.0), nn.Sequential(nn.SiLU(), nn.Sigmoid()),
        nn.LayerNorm(4), nn.GELU(),
    )  # fmt: skip
    text = refuses(lambda: verb(model), UnsupportedError, TypeError, "5 place(s)",
                   "1 (GELU)", "3.0 (SiLU)", "3.1 (Sigmoid)", "4 (LayerNorm)",
                   "5 (GELU)")  # fmt: skip
    lines = re.findall(r"^ +(ecl\.register\(\w+\)\(handler\))$", text, flags=re.MULTILINE)
    kinds = ("GELU", "LayerNorm", "SiLU", "Sigmoid")
    assert lines == [f"ecl.register({kind})(handler)" for kind in kinds]


def test_a_mixed_network_is_told_to_prepare_its_relus() -> None:
    model = nn.Sequential(ThresholdClip(4, 1.0), nn.ReLU())
    refuses(lambda: ecl.convert(model), UnsupportedError, TypeError, "1 (ReLU)",
            "call ecl.prepare first")  # fmt: skip


def branching(m: Any, x: Tensor) -> Tensor:
    return m.act(x) if x.mean() > 0 else x


def looping(m: Any, x: Tensor) -> Tensor:
    for _ in range(x.size(1)):
        x = m.act(x)
    return x


@pytest.mark.parametrize("forward", [branching, looping])
@pytest.mark.parametrize("verb", [ecl.prepare, ecl.convert])
def test_control_flow_on_data_is_a_trace_error(verb: Any, forward: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), wired(forward, act=ThresholdClip(4, 1.0)))
    refuses(lambda: verb(model), TraceError, RuntimeError, "'1' (Wired)", "leaf_modules=",
            "ecl.register(Type)(handler)")  # fmt: skip


def test_converting_before_preparing_names_the_step_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    refuses(lambda: ecl.convert(model), NotPreparedError, RuntimeError, "Sequential",
            "ecl.prepare(model)", "ecl.convert(ann)")  # fmt: skip


def test_unset_thresholds_are_all_named() -> None:
    ann = ecl.prepare(BY_NAME["residual"].model())
    ann.get_submodule("1").threshold = 1.0
    refuses(lambda: ecl.convert(ann), ThresholdUnsetError, RuntimeError, "4 of 5",
            "2.relu, 2.relu_1, 3.relu, 3.relu_1", "clip.threshold")  # fmt: skip


def test_reading_an_unset_threshold_names_the_layer() -> None:
    ann = ecl.prepare(nn.Sequential(nn.Sequential(nn.ReLU())))
    refuses(lambda: ann.get_submodule("0.0").threshold, ThresholdUnsetError, RuntimeError,
            "0.0", "clip.threshold = 1.0")  # fmt: skip


def test_a_network_without_activations_has_nothing_to_spike() -> None:
    refuses(lambda: ecl.prepare(nn.Linear(4, 4)), UnsupportedError, TypeError, "Linear",
            "no ReLU", "Nothing in it would spike", "Use ReLU")  # fmt: skip


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_broken_weights_are_named(name: str, value: float) -> None:
    model = small()
    model.get_parameter(name).data.view(-1)[1] = value
    refuses(lambda: ecl.convert(model), InputError, ValueError, name, "NaN or infinity",
            "checkpoint from before")  # fmt: skip


def test_broken_statistics_are_named() -> None:
    ann = BY_NAME["conv + bn"].prepared()
    ann.get_buffer("1.running_var")[0] = NAN
    refuses(lambda: ecl.convert(ann), InputError, ValueError, "1.running_var")


# ----------------------------------------------------------------------------------------- inputs

CALLS: dict[str, Callable[..., Any]] = {
    "forward": lambda snn, *xs: snn(*xs, num_steps=2),
    "step": lambda snn, *xs: snn.step(*xs),
    "logits_over_time": lambda snn, *xs: snn.logits_over_time(*xs, num_steps=2),
    "forward_steps": lambda snn, *xs: snn.forward_steps(*(x.unsqueeze(1) for x in xs)),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@calls
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_inputs_must_be_finite(call: Any, value: float) -> None:
    x = torch.rand(3, 4)
    x[1, 2] = value
    refuses(lambda: call(network(), x), InputError, ValueError, "input 0", "NaN or infinity", "[3")


@calls
@pytest.mark.parametrize("count", [0, 2])
def test_the_number_of_inputs_must_match(call: Any, count: int) -> None:
    xs = [torch.rand(3, 4)] * count
    refuses(lambda: call(network(), *xs), InputError, ValueError, "takes 1 input(s)",
            f"got {count}")  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "what"),
    [([1.0], "list"), (3.0, "float"), (torch.rand(0, 4), "[0, 4]"), (torch.tensor(1.0), "[]")],
)
def test_inputs_must_be_tensors_with_a_batch(bad: Any, what: str) -> None:
    refuses(lambda: network()(bad, num_steps=2), InputError, ValueError, "input 0",
            "[B, ...]", f"got {what}")  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (3, 0, 4)])
def test_sequences_need_time_and_batch(shape: tuple[int, ...]) -> None:
    refuses(lambda: network().forward_steps(torch.rand(shape)), InputError, ValueError,
            "[T, B >= 1, ...]", str(list(shape)))  # fmt: skip


def test_inputs_must_agree_in_batch() -> None:
    snn = ecl.convert(BY_NAME["two inputs"].prepared())
    refuses(lambda: snn(torch.rand(3, 4), torch.rand(2, 5), num_steps=2), InputError, ValueError,
            "inputs 0 and 1", "3 and 2")  # fmt: skip


@pytest.mark.parametrize("shapes", [((3, 2, 4), (3, 1, 5)), ((1, 3, 4), (1, 1, 5))])
def test_sequences_must_agree_in_batch(shapes: tuple[tuple[int, ...], ...]) -> None:
    snn = ecl.convert(BY_NAME["two inputs"].prepared())
    refuses(lambda: snn.forward_steps(*map(torch.rand, shapes)), InputError, ValueError,
            "inputs 0 and 1")  # fmt: skip


@pytest.mark.parametrize("name", ["sequential", "max-pool", "starts with a neuron"])
def test_another_batch_in_the_middle_of_a_sequence_names_layer_and_remedy(name: str) -> None:
    net = BY_NAME[name]
    snn = ecl.convert(net.prepared())
    snn.step(*net.inputs(3))
    layer = snn.layers[0].name
    refuses(lambda: snn.step(*net.inputs(2)), StateError, RuntimeError, f"{layer}: ", "from [3,",
            "to [2,", "snntorch_ecl.reset(net)")  # fmt: skip
    snn.reset()
    snn.step(*net.inputs(2))


def test_an_overflowing_membrane_names_the_layer() -> None:
    model = small()
    model[0].weight.data.fill_(3e38)
    refuses(lambda: ecl.convert(model)(torch.full((1, 4), 1e3), num_steps=2), StateError,
            RuntimeError, "membrane of 1", "float32")  # fmt: skip


# ------------------------------------------------------------------------------------------ files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return network().save(tmp_path / "net.safetensors")


def contents(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {k: opened.get_tensor(k) for k in opened.keys()}, dict(opened.metadata())  # noqa: SIM118


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.safetensors"
    refuses(lambda: ecl.load(path, small()), CheckpointError, RuntimeError, f"no file {path}")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_damaged(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged")


def test_a_file_of_another_kind_is_damaged(file: Path) -> None:
    torch.save(small().state_dict(), file)
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged")


def test_a_foreign_safetensors_file_is_told_apart(file: Path) -> None:
    save_file(small().state_dict(), file)
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file),
            "not written by SpikingNetwork.save", "None")  # fmt: skip


def test_a_newer_version_asks_for_an_update(file: Path) -> None:
    tensors, metadata = contents(file)
    save_file(tensors, file, {**metadata, "format_version": "2"})
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file),
            "format version 2", "Update snntorch-ecl")  # fmt: skip


def spoil(settings: dict[str, Any], *path: Any, value: Any = None, drop: bool = False) -> Any:
    inner: Any = settings
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return settings


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda s: [1],
    "empty": lambda s: {},
    "layers: a number": lambda s: spoil(s, "layers", value=3),
    "layers: numbers": lambda s: spoil(s, "layers", value=[1]),
    "layer without levels": lambda s: spoil(s, "layers", 0, "levels", drop=True),
    "layer with a color": lambda s: spoil(s, "layers", 0, "color", value=1),
    "neurons: a number": lambda s: spoil(s, "neurons", value=3),
    "neurons: a list": lambda s: spoil(s, "neurons", value=["1"]),
    "a neuron too few": lambda s: spoil(s, "neurons", "1", drop=True),
    "neuron: a number": lambda s: spoil(s, "neurons", "1", value=3),
    "threshold: a word": lambda s: spoil(s, "neurons", "1", "negative_threshold", value="low"),
    "threshold: positive": lambda s: spoil(s, "neurons", "1", "negative_threshold", value=1.0),
    "membrane: NaN": lambda s: spoil(s, "neurons", "1", "initial_membrane", value=NAN),
    "another setting": lambda s: spoil(s, "neurons", "1", "forward", value=1.0),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_settings_are_noticed(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors, metadata = contents(file)
    settings = change(json.loads(metadata["settings"]))
    save_file(tensors, file, {**metadata, "settings": json.dumps(settings)})
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file))


def test_settings_that_are_no_json_are_noticed(file: Path) -> None:
    tensors, metadata = contents(file)
    save_file(tensors, file, {**metadata, "settings": "{"})
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file), "damaged")


def test_a_file_of_a_network_with_other_layers_is_refused(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 2))
    refuses(lambda: ecl.load(file, other), CheckpointError, RuntimeError, str(file),
            "another network", "['1']", "['1', '2']")  # fmt: skip


def test_a_file_of_a_network_with_other_shapes_is_refused(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    refuses(lambda: ecl.load(file, other), CheckpointError, RuntimeError, str(file),
            "does not fit Sequential", "0.weight")  # fmt: skip


def test_a_model_that_does_not_convert_is_told_apart(file: Path) -> None:
    other = nn.Sequential(nn.Linear(4, 4), ThresholdClip(), nn.GELU())
    refuses(lambda: ecl.load(file, other), CheckpointError, RuntimeError, str(file), "2 (GELU)")


@pytest.mark.parametrize("value", [NAN, 0.0, -1.0])
def test_a_bad_threshold_in_a_file_is_refused(file: Path, value: float) -> None:
    tensors, metadata = contents(file)
    tensors["net.1.threshold"].fill_(value)
    save_file(tensors, file, metadata)
    refuses(lambda: ecl.load(file, small()), CheckpointError, RuntimeError, str(file),
            "net.1.threshold", f"{value:g}")  # fmt: skip


def test_saving_to_an_impossible_path_is_an_error_with_the_path(file: Path) -> None:
    path = file / "inside" / "net.safetensors"
    refuses(lambda: network().save(path), CheckpointError, RuntimeError, str(path),
            "cannot be written")  # fmt: skip
    folder = file.parent / "folder"
    folder.mkdir()
    refuses(lambda: network().save(folder), CheckpointError, RuntimeError, str(folder))
    assert sorted(p.name for p in file.parent.iterdir()) == ["folder", "net.safetensors"]


@pytest.mark.parametrize("where", ["write_bytes", "replace"])
def test_a_failed_save_leaves_the_old_file_and_no_part_of_a_new_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = file.read_bytes()
    original = getattr(Path, where)

    def full(self: Path, argument: Any) -> None:
        if where == "write_bytes":
            original(self, argument[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, where, full)
    refuses(lambda: ecl.convert(small(2.0)).save(file), CheckpointError, RuntimeError, str(file),
            "no space left")  # fmt: skip
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


# ---------------------------------------------------------------------------------- the classes

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "EclError"]


def instance(kind: type[EclError]) -> EclError:
    return kind(["a (GELU)", "b (SiLU)"], "Remedy.") if kind is UnsupportedError else kind("text")


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_an_ecl_error_and_a_builtin_one(kind: type[EclError]) -> None:
    assert issubclass(kind, EclError)
    builtins = (ValueError, RuntimeError, TypeError, ImportError)
    assert sum(base in kind.__bases__ for base in builtins) == 1
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_pickle(kind: type[EclError]) -> None:
    error = instance(kind)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_every_error_class_is_listed() -> None:
    defined = [n for n, c in vars(errors).items()
               if inspect.isclass(c) and c.__module__ == errors.__name__]  # fmt: skip
    assert sorted(defined) == sorted(errors.__all__)
    assert issubclass(RegistrationError, ValueError)
