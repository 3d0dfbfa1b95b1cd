"""Each pass over the graph leaves the outputs equal, and does what it says."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

import snntorch_ecl as ecl
from snntorch_ecl.errors import TraceError
from snntorch_ecl.graph._fold import drop_identities, fold_batchnorm
from snntorch_ecl.graph._functionalise import functionalise
from snntorch_ecl.graph._names import owner, unique_name
from snntorch_ecl.graph._rectifiers import rectifiers_to_clips
from snntorch_ecl.graph._to_modules import _BUILDERS, functional_to_module
from snntorch_ecl.graph._trace import trace
from tests.helpers.nets import CATALOGUE, Net
from tests.helpers.parts import close, conv, equal, norms_of, randomise, wired

SMALL = [net for net in CATALOGUE if not net.big]
over_catalogue = pytest.mark.parametrize("net", SMALL, ids=lambda net: net.name)
LEAVES = (ecl.ThresholdClip,)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def same(a: nn.Module, b: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    with torch.no_grad():
        return equal(a(*[x.clone() for x in inputs]), b(*[x.clone() for x in inputs]))


def normalised(model: nn.Module) -> GraphModule:
    return functional_to_module(functionalise(trace(model)))


def called(gm: GraphModule, op: str) -> list[Any]:
    return [node.target for node in gm.graph.nodes if node.op == op]


def linear_net(forward: Callable[..., Any], **modules: nn.Module) -> nn.Module:
    """Two linear layers ``a`` and ``b`` around what the test is about, in eval mode."""
    return wired(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4), **modules).eval()


# ---------------------------------------------------------------------------------------- trace


@over_catalogue
def test_trace_keeps_outputs_modes_and_names(net: Net) -> None:
    model = net.model()
    gm = trace(model)
    assert same(gm, model, net.inputs())
    assert set(gm.state_dict()) <= set(model.state_dict())
    assert {m.training for m in gm.modules()} == {False}


@over_catalogue
def test_trace_works_on_a_copy(net: Net) -> None:
    model = net.model()
    mine = {id(t) for t in (*model.parameters(), *model.buffers(), *model.modules())}
    gm = trace(model)
    assert not mine & {id(t) for t in (*gm.parameters(), *gm.buffers(), *gm.modules())}


@pytest.mark.parametrize("training", [True, False])
def test_trace_sets_the_mode_it_is_asked_for(training: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(not training)
    assert {m.training for m in trace(model, training=training).modules()} == {training}
    assert model.training is not training


def test_trace_keeps_each_modules_own_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    model[1].eval()
    assert [m.training for m in trace(model).modules()] == [True, True, False]


def test_trace_fixes_defaults_without_leaving_inputs_or_assertions() -> None:
    gm = trace(linear_net(lambda m, x, flag=False, mask=None, mode="a", k=2: m.b(m.a(x) * k)))
    assert called(gm, "placeholder") == ["x"]
    assert called(gm, "call_function") == [operator.mul]


def test_an_input_named_like_a_default_stays() -> None:
    model = linear_net(lambda m, x_1, x=None: m.b(m.a(x_1)))
    assert same(trace(model), model, (torch.ones(2, 4),))


def test_a_default_may_be_a_tuple() -> None:
    model = linear_net(lambda m, x, scales=(1.0, 2.0): m.b(m.a(x) * scales[1]))
    assert same(trace(model), model, (torch.ones(2, 4),))


def test_types_in_leaves_are_not_looked_into() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if bool(x.sum() > 0) else -x

    gm = trace(nn.Sequential(Block()), [Block])
    assert called(gm, "call_module") == ["0"]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Looping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.size(0)):
            x = x + 1
        return x


@pytest.mark.parametrize("kind", [Branching, Looping])
def test_a_trace_error_names_the_innermost_module_and_the_remedy(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), kind()))
    with pytest.raises(TraceError) as caught:
        trace(model)
    assert f"'1.1' ({kind.__name__})" in str(caught.value)
    assert "leaf_modules=" in str(caught.value)
    assert "ecl.register" in str(caught.value)


def test_a_trace_error_at_the_top_level_names_the_network() -> None:
    with pytest.raises(TraceError, match=r"top level \(Branching\)"):
        trace(Branching())


def test_a_network_that_cannot_be_copied_is_a_trace_error() -> None:
    model = nn.Linear(2, 2)
    model.cache = model.weight * 2  # as old weight norm leaves it: no leaf, not to be copied
    with pytest.raises(TraceError, match="Linear cannot be copied"):
        trace(model)


# -------------------------------------------------------------------------------- functionalise


@over_catalogue
def test_functionalise_keeps_outputs(net: Net) -> None:
    model = net.model()
    assert same(functionalise(trace(model)), model, net.inputs())


@over_catalogue
def test_functionalise_leaves_no_write_to_an_intermediate_tensor(net: Net) -> None:
    """Outputs of every node stay as they were when made."""

    class Watcher(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor):
                seen.append((n, result, result.clone()))
            return result

    seen: list[tuple[torch.fx.Node, Tensor, Tensor]] = []
    gm = functionalise(trace(net.model()))
    with torch.no_grad():
        Watcher(gm).run(*net.inputs())
    assert [n for n, now, then in seen if not torch.equal(now, then)] == []


def then_read(write: Callable[[Any, Tensor], Any]) -> nn.Module:
    """Reads a tensor after ``write`` has overwritten it, and before."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        before = h * 2
        out = write(m, h)
        return m.b(before) + m.b(h) * 3 + out

    return linear_net(forward, relu=nn.ReLU(inplace=True), cap=nn.Hardtanh(0, 1, inplace=True))


@pytest.mark.parametrize(
    "write",
    [
        lambda m, h: m.relu(h),
        lambda m, h: m.cap(h),
        lambda m, h: F.relu(h, inplace=True),
        lambda m, h: F.relu(h, True),
        lambda m, h: F.hardtanh(h, 0, 0.5, inplace=True),
        lambda m, h: torch.relu_(h),
        lambda m, h: h.relu_(),
        lambda m, h: h.add_(1),
        lambda m, h: h.sub_(1),
        lambda m, h: h.mul_(2),
        lambda m, h: h.div_(2),
        lambda m, h: h.neg_(),
        lambda m, h: h.clamp_(min=0),
        lambda m, h: h.clamp_min_(0),
        lambda m, h: operator.iadd(h, 1),
        lambda m, h: operator.isub(h, 1),
        lambda m, h: operator.imul(h, 2),
        lambda m, h: operator.itruediv(h, 2),
    ],
)
def test_later_readers_of_an_overwritten_tensor_see_the_new_one(write: Any) -> None:
    model = then_read(write)
    gm = functionalise(trace(model))
    assert same(gm, model, (torch.randn(8, 4),))
    assert "inplace = True" not in gm.code


def plus_equals(m: Any, h: Tensor) -> Tensor:
    h += 1
    return h


def through_identity(m: Any, h: Tensor) -> Tensor:
    m.relu(m.skip(h))
    return h


def through_view(m: Any, h: Tensor) -> Tensor:
    h.view(-1, 4).relu_()
    return h


def through_slice(m: Any, h: Tensor) -> Tensor:
    h[:, :2].relu_()
    return h


def alias_made_before(m: Any, h: Tensor) -> Tensor:
    """A pre-activation block whose shortcut is an nn.Identity."""
    shortcut = m.skip(h)
    return m.relu(h) + shortcut


@pytest.mark.parametrize(
    "write", [plus_equals, through_identity, through_view, through_slice, alias_made_before]
)
def test_overwriting_reaches_every_alias_or_is_refused(write: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        out = write(m, h)
        return m.b(h) + out

    model = linear_net(forward, relu=nn.ReLU(inplace=True), skip=nn.Identity())
    try:
        gm = functionalise(trace(model))
    except ecl.EclError:
        return
    assert same(gm, model, (torch.randn(8, 4),))


# ------------------------------------------------------------------------- functional_to_module


@over_catalogue
def test_functional_to_module_keeps_outputs(net: Net) -> None:
    model = net.model()
    assert same(normalised(model), model, net.inputs())


@over_catalogue
def test_no_function_with_a_module_counterpart_is_left(net: Net) -> None:
    gm = normalised(net.model())
    assert not [t for op in ("call_function", "call_method") for t in called(gm, op)
                if t in _BUILDERS]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind", "settings"),
    [
        (lambda x: F.relu(x), nn.ReLU, {}),
        (lambda x: F.relu(input=x), nn.ReLU, {}),
        (lambda x: x.clamp(0), nn.ReLU, {}),
        (lambda x: torch.clamp_min(x, 0), nn.ReLU, {}),
        (lambda x: x.clamp(min=0.0, max=2), nn.Hardtanh, {"min_val": 0, "max_val": 2}),
        (lambda x: F.hardtanh(x, 0.0, 3.0), nn.Hardtanh, {"min_val": 0, "max_val": 3}),
        (lambda x: F.hardtanh(x, min_val=0), nn.Hardtanh, {"min_val": 0, "max_val": 1}),
        (lambda x: F.relu6(x), nn.ReLU6, {}),
        (lambda x: F.dropout(x, 0.2, training=False), nn.Dropout, {"p": 0.2, "training": False}),
        (lambda x: F.dropout2d(x, p=0.3, training=False), nn.Dropout2d, {"p": 0.3}),
        (lambda x: F.max_pool2d(x, 3, 1, padding=1), nn.MaxPool2d,
         {"kernel_size": 3, "stride": 1, "padding": 1}),
        (lambda x: F.max_pool2d(x, kernel_size=(2, 1)), nn.MaxPool2d,
         {"kernel_size": (2, 1), "stride": (2, 1)}),
        (lambda x: F.max_pool2d(x, 2, ceil_mode=True), nn.MaxPool2d, {"ceil_mode": True}),
        (lambda x: F.adaptive_max_pool2d(x, 2), nn.AdaptiveMaxPool2d, {"output_size": 2}),
    ],
)  # fmt: skip
def test_a_function_becomes_its_module_with_its_settings(call, kind, settings) -> None:
    gm = normalised(wired(lambda m, x: call(m.c(x)), c=conv()).eval())
    module = gm.get_submodule(called(gm, "call_module")[1])
    assert type(module) is kind
    assert {name: getattr(module, name) for name in settings} == settings


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.clamp(-1, 1),
        lambda x: x.clamp(max=6),
        lambda x: x.clamp(0, -1),
        lambda x: x.clamp(min=x.shape[0]),
        lambda x: F.hardtanh(x),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: F.dropout(x),
    ],
)
def test_what_is_no_rectifier_or_pooling_stays_a_function(call) -> None:
    gm = normalised(wired(lambda m, x: call(m.c(x)), c=conv()).eval())
    assert called(gm, "call_module") == ["c"]


def test_new_modules_are_named_after_where_they_are_called() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.relu(x))

    gm = normalised(wired(lambda m, x: F.relu(m.block(m.block(x))), block=Block()))
    assert called(gm, "call_module") == [
        "block.relu", "block.relu_1", "block.relu_2", "block.relu_3", "relu",
    ]  # fmt: skip


def test_owner_is_the_module_whose_code_makes_the_call() -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    gm = trace(wired(lambda m, x: m.outer(x) + 1, outer=nn.Sequential(Block())))
    owners = {node.name: owner(node) for node in gm.graph.nodes if node.op == "call_function"}
    assert owners == {"mul": "outer.0", "add": ""}


def test_new_modules_take_the_networks_mode() -> None:
    for training in (True, False):
        gm = normalised(wired(lambda m, x: F.relu(x)).train(training))
        assert gm.get_submodule("relu").training is training


def test_unique_name_steps_around_modules_parameters_and_methods() -> None:
    gm = trace(nn.Sequential(nn.Linear(2, 2)))
    assert unique_name(gm, "free") == "free"
    assert unique_name(gm, "0") == "0_1"
    assert unique_name(gm, "0.weight") == "0.weight_1"
    assert unique_name(gm, "forward") == "forward_1"
    gm.add_submodule("0_1", nn.ReLU())
    assert unique_name(gm, "0") == "0_2"
    assert unique_name(gm, "nowhere.relu") == "nowhere.relu"


# ----------------------------------------------------------------------------- rectifiers_to_clips


@over_catalogue
def test_every_call_of_a_rectifier_gets_a_clip_of_its_own(net: Net) -> None:
    gm = rectifiers_to_clips(normalised(net.model()), levels=8, per_channel=True)
    clips = [n for n in called(gm, "call_module")
             if isinstance(gm.get_submodule(n), ecl.ThresholdClip)]  # fmt: skip
    assert len(clips) == len(set(clips)) == net.clips
    assert {(gm.get_submodule(n).levels, gm.get_submodule(n).per_channel) for n in clips} == {
        (8, True)
    }


def test_a_clip_called_twice_is_doubled_with_its_settings() -> None:
    clip = ecl.ThresholdClip(3, 0.75, ceiling=2.0)
    model = linear_net(lambda m, x: m.r(m.b(m.r(m.a(x)))), r=clip)
    gm = rectifiers_to_clips(trace(model, LEAVES), levels=8, per_channel=False)
    first, second = gm.get_submodule("r"), gm.get_submodule("r_1")
    assert first is not second
    for each in (first, second):
        assert (each.levels, each.ceiling, each.threshold.item()) == (3, 2.0, 0.75)
    assert same(gm, model, (torch.randn(8, 4),))


# ------------------------------------------------------------------------------- drop_identities


@over_catalogue
def test_drop_identities_keeps_outputs_and_drops_all(net: Net) -> None:
    model = net.model()
    gm = drop_identities(normalised(model))
    assert same(gm, model, net.inputs())
    gm.delete_all_unused_submodules()
    assert not [m for m in gm.modules() if "Dropout" in type(m).__name__ or type(m) is nn.Identity]


def test_drop_identities_follows_keyword_calls() -> None:
    model = linear_net(lambda m, x: m.b(m.d(input=m.a(x))), d=nn.Dropout())
    assert same(drop_identities(trace(model)), model, (torch.randn(2, 4),))


# -------------------------------------------------------------------------------- fold_batchnorm


@over_catalogue
def test_folding_keeps_outputs_and_leaves_only_what_cannot_fold(net: Net) -> None:
    model = net.model()
    gm = fold_batchnorm(drop_identities(normalised(model)))
    with torch.no_grad():
        assert close(gm(*net.inputs()), model(*net.inputs()))
    gm.delete_all_unused_submodules()
    assert len(norms_of(gm)) == net.norms


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(2, 3, 2, bias=False), nn.BatchNorm1d(3), (2, 5)),
        (nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), (2, 5, 5)),
        (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 3, 3, 3)),
        (nn.ConvTranspose1d(2, 3, 2), nn.BatchNorm1d(3), (2, 5)),
        (nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(3), (2, 4, 4)),
        (nn.ConvTranspose3d(2, 3, 2), nn.BatchNorm3d(3), (2, 3, 3, 3)),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, nn.Module) else "",
)
def test_each_kind_of_layer_folds(layer: nn.Module, norm: nn.Module, shape) -> None:
    randomise(norm)
    model = nn.Sequential(layer, norm).eval()
    gm = fold_batchnorm(trace(model))
    x = torch.randn(4, *shape)
    assert called(gm, "call_module") == ["0"]
    assert torch.allclose(gm(x), model(x), atol=1e-5)


class OwnConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def hooked() -> nn.Module:
    layer = conv()
    layer.register_forward_hook(lambda m, args, out: out * 2)
    return layer


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (OwnConv(2, 4, 3), nn.BatchNorm2d(4)),
        (hooked(), nn.BatchNorm2d(4)),
        (conv(), nn.BatchNorm2d(4, track_running_stats=False)),
        (nn.ReLU(), nn.BatchNorm2d(2)),
        (nn.Linear(4, 4), nn.BatchNorm1d(4)),
    ],
    ids=["own type", "hook", "no running statistics", "no affine layer", "linear"],
)
def test_what_is_no_plain_pair_does_not_fold(layer: nn.Module, norm: nn.Module) -> None:
    gm = fold_batchnorm(trace(nn.Sequential(layer, norm).eval(), [OwnConv]))
    assert called(gm, "call_module") == ["0", "1"]


@pytest.mark.parametrize("tokens", [4, 5])
def test_a_norm_over_another_dimension_than_the_layers_stays_right(tokens: int) -> None:
    """On [B, N, F] a linear layer acts on F, and BatchNorm1d normalises N."""
    norm = nn.BatchNorm1d(tokens)
    randomise(norm)
    model = nn.Sequential(nn.Linear(4, 4), norm).eval()
    x = torch.randn(3, tokens, 4)
    assert torch.allclose(fold_batchnorm(trace(model))(x), model(x), atol=1e-5)


def test_one_norm_after_two_layers_does_not_fold() -> None:
    norm = nn.BatchNorm2d(4)
    randomise(norm)
    model = wired(lambda m, x: m.n(m.a(x)) + m.n(m.b(x)), a=conv(), b=conv(), n=norm).eval()
    gm = fold_batchnorm(trace(model))
    assert called(gm, "call_module").count("n") == 2
    assert same(gm, model, (torch.randn(3, 2, 6, 6),))
