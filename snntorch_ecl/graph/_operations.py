"""The table of functional operations: one entry for each.

A converted network runs on time-major batches ``[T·B, ...]`` and averages over time. So whatever
is not a neuron must (1) be affine in the activations and (2) leave dimension 0 alone. To teach
the package an operation, add an entry; :class:`Operation` explains the columns. Functions,
operators and methods of the same name share an entry.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.fx import Node

from ._names import function_name
from ._parts import parts_in_place
from ._rules import (
    Reach,
    Rule,
    along,
    along_each,
    always,
    both,
    chosen_by_constants,
    dividend_only,
    in_one_dimension,
    indexed,
    keeps_batch_size,
    last,
    multiplied,
    never,
    normalised,
    nowhere,
    one_activation,
    ordered,
    padded,
    plain_indices,
    repeated,
    running_statistics,
    shapes_known,
    stays_first,
    unfolded,
    weighted,
)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is known about a functional operation.

    Attributes:
        rule: Whether a call is affine in the activations; None: it is not known to be.
        reach: The dimensions that a call works along; dimension 0 must not be among them.
        extra: How many dimensions the result has more than the input, where ``reach`` counts
            those of the result.
        broadcasts: How many of its operands' last dimensions are not broadcast; None: it does
            not broadcast.
        reshapes: Whether the batch's size is allowed among its arguments.
        layout: It only arranges dimensions anew: their ``order``, or in which ``rows`` values lie.
            If shapes are known, these tell where the batch goes, and ``reach`` is not asked.
        free: Whether it only moves values, or does nothing, at inference.
        carried: Whether a ``Difference`` carries it behind a neuron where it is not affine: it must
            treat rows one by one.
        floats: Floating-point operations for each value of its result, if it is carried; products
            of matrices are counted when they run.
        from_zero: Whether its result cannot be below 0.
        view: Whether its result may share memory with its input.
        in_place: Its in-place variants, each with the variant that returns a new tensor.
    """

    rule: Rule | None = None
    reach: Reach = nowhere
    extra: int = 0
    broadcasts: int | None = None
    reshapes: bool = False
    layout: Literal["order", "rows"] | None = None
    free: bool = False
    carried: bool = False
    floats: int = 1
    from_zero: bool = False
    view: bool = False
    in_place: Mapping[Any, Any] = field(default_factory=dict)


def _arithmetic(rule: Rule, in_place: Mapping[Any, Any] | None = None) -> Operation:
    return Operation(rule=rule, broadcasts=0, in_place=in_place or {})


def _moves(
    reach: Reach,
    *,
    extra: int = 0,
    view: bool = True,
    layout: Literal["order", "rows"] | None = None,
) -> Operation:
    return Operation(rule=always, reach=reach, extra=extra, free=True, view=view, layout=layout)


def _carried(
    floats: int,
    reach: Reach = nowhere,
    *,
    in_place: Mapping[Any, Any] | None = None,
    from_zero: bool = False,
) -> Operation:
    return Operation(
        rule=never, reach=reach, carried=True, floats=floats, in_place=in_place or {},
        from_zero=from_zero,
    )  # fmt: skip


def _quotient(in_place: Mapping[Any, Any] | None = None) -> Operation:
    return Operation(rule=dividend_only, broadcasts=0, carried=True, in_place=in_place or {})


_TIMES = Operation(
    rule=one_activation,
    broadcasts=0,
    carried=True,
    in_place={"mul_": "mul", operator.imul: operator.mul},
)
_COPY = Operation(rule=always, free=True)
_CHOICE = Operation(
    rule=chosen_by_constants, broadcasts=0, in_place={"masked_fill_": "masked_fill"}
)
_CONSTANT = Operation(rule=shapes_known, reshapes=True, free=True, layout="order")
_SHAPES_AS = Operation(rule=shapes_known, free=True, view=True, layout="rows")
_MAYBE_COPY = Operation(rule=always, free=True, view=True)
_PRODUCT = Operation(rule=one_activation, reach=multiplied, broadcasts=2, carried=True)
_POOLS = Operation(rule=always)
_SUMS = Operation(rule=always, reach=along(1, "dim"))
_JOINS = _moves(along(1, "dim", default=0), view=False)
_CUTS = _moves(along(2, "dim", default=0))
_SWAPS = _moves(along_each, layout="order")
_SHAPES = Operation(rule=keeps_batch_size, reshapes=True, free=True, view=True, layout="rows")
_VIEW = Operation(view=True)

TABLE: dict[str, Operation] = {
    # ------------------------------------------------------------------ arithmetic
    "add": _arithmetic(always, {"add_": "add", operator.iadd: operator.add}),
    "sub": _arithmetic(always, {"sub_": "sub", operator.isub: operator.sub}),
    "rsub": _arithmetic(always),
    **dict.fromkeys(("mul", "multiply"), _TIMES),
    "div": _quotient({"div_": "div"}),
    "truediv": _quotient({operator.itruediv: operator.truediv}),
    "true_divide": _quotient(),
    "neg": _arithmetic(always, {"neg_": "neg"}),
    "pos": Operation(rule=always),
    **dict.fromkeys(("matmul", "bmm"), _PRODUCT),
    "einsum": Operation(rule=both(shapes_known, one_activation), carried=True),
    # ---------------------------------------------------------------------- layers
    "linear": Operation(rule=weighted, reach=last(1)),
    "conv1d": Operation(rule=weighted, reach=last(2)),
    "conv2d": Operation(rule=weighted, reach=last(3)),
    "conv3d": Operation(rule=weighted, reach=last(4)),
    **{f"conv_transpose{d}d": Operation(rule=weighted, reach=last(d + 1)) for d in (1, 2, 3)},
    "batch_norm": Operation(rule=running_statistics),
    "interpolate": Operation(rule=always),  # it takes only [B, C, ...]
    **{f"avg_pool{d}d": _POOLS for d in (1, 2, 3)},
    **{f"adaptive_avg_pool{d}d": _POOLS for d in (1, 2, 3)},
    "pixel_shuffle": Operation(rule=always, reach=last(3)),
    "pixel_unshuffle": Operation(rule=always, reach=last(3)),
    "channel_shuffle": Operation(rule=always),
    # ------------------------------------------------------------------------ sums
    "mean": _SUMS,
    "sum": _SUMS,
    "cumsum": _SUMS,
    "unfold": Operation(rule=always, reach=unfolded),  # the method; F.unfold leaves images apart
    "fold": Operation(rule=always),
    # --------------------------------------------------------- joining and cutting
    **dict.fromkeys(("cat", "concat", "concatenate"), _JOINS),
    "stack": _moves(along(1, "dim", default=0), extra=1, view=False, layout="order"),
    **dict.fromkeys(("chunk", "split", "tensor_split"), _CUTS),
    **dict.fromkeys(("narrow", "select"), _moves(along(1, "dim"))),
    "index_select": Operation(rule=weighted, reach=along(1, "dim"), free=True),
    "unbind": _moves(along(1, "dim", default=0)),
    "getitem": Operation(rule=plain_indices, reach=indexed, free=True, view=True),
    "pad": _moves(padded, view=False),
    # ---------------------------------------------------------------------- shapes
    "view": _SHAPES,
    "reshape": _SHAPES,
    "expand": Operation(rule=stays_first, reshapes=True, free=True, view=True, layout="order"),
    "expand_as": Operation(rule=shapes_known, free=True, view=True, layout="order"),
    "repeat": Operation(rule=shapes_known, reach=repeated, free=True),
    "repeat_interleave": Operation(
        rule=both(shapes_known, in_one_dimension), reshapes=True, free=True, layout="order"
    ),
    **dict.fromkeys(("reshape_as", "view_as"), _SHAPES_AS),
    "flatten": _moves(along(1, "start_dim", default=0), layout="rows"),
    "unflatten": _moves(along(1, "dim"), layout="rows"),
    "squeeze": _moves(along_each),
    "unsqueeze": _moves(along_each, extra=1, layout="order"),
    "permute": _moves(ordered, layout="order"),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "movedim", "moveaxis"), _SWAPS),
    "flip": _moves(along_each, view=False),
    "roll": _moves(along(2, "dims"), view=False),
    # ------------------------------------------------------------ copies and dtypes
    "contiguous": _MAYBE_COPY,
    **dict.fromkeys(("to", "type_as"), _MAYBE_COPY),
    "float": _MAYBE_COPY,
    **dict.fromkeys(("clone", "tensor"), _COPY),
    **dict.fromkeys(("as_tensor", "asarray"), _MAYBE_COPY),
    # ------------------------------------------------- constants, choices, overwritten parts
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), _COPY),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full"), _CONSTANT),
    **dict.fromkeys(("where", "masked_fill"), _CHOICE),
    "with_part": Operation(rule=parts_in_place, free=True, layout="order"),
    # ------------------------------------------------- not affine, but carried exactly
    "tanh": _carried(1, in_place={"tanh_": "tanh", torch.tanh_: torch.tanh}),
    **dict.fromkeys(("abs", "exp", "square"), _carried(1, from_zero=True)),
    **dict.fromkeys(("pow", "softsign"), _carried(1)),
    **dict.fromkeys(("elu", "celu", "selu"), _carried(3)),
    **dict.fromkeys(("softplus", "hardsigmoid"), _carried(3, from_zero=True)),
    "sigmoid": _carried(
        4, in_place={"sigmoid_": "sigmoid", torch.sigmoid_: torch.sigmoid}, from_zero=True
    ),
    **dict.fromkeys(("logsigmoid", "hardswish"), _carried(4)),
    **dict.fromkeys(("silu", "mish", "gelu"), _carried(5)),
    "softmax": _carried(5, along(1, "dim"), from_zero=True),
    "log_softmax": _carried(5, along(1, "dim")),
    "glu": _carried(5, along(1, "dim", default=-1)),
    "normalize": _carried(4, along(2, "dim", default=1)),
    **dict.fromkeys(("layer_norm", "rms_norm"), _carried(7, normalised)),
    **dict.fromkeys(("group_norm", "instance_norm", "local_response_norm"), _carried(7)),
    "scaled_dot_product_attention": _carried(5, last(2)),
    **dict.fromkeys(("amax", "amin"), _carried(1, along(1, "dim"))),
    **dict.fromkeys(("std", "var"), _carried(4, along(1, "dim"))),
    **dict.fromkeys(("norm", "linalg_vector_norm"), _carried(2, along(2, "dim"))),
    **dict.fromkeys(("sqrt", "rsqrt"), _carried(1)),
    "addcmul": Operation(rule=never, broadcasts=0, carried=True, floats=3),
    **dict.fromkeys(("maximum", "minimum"), Operation(rule=never, broadcasts=0, carried=True)),
    # ------------------------------------------ refused, or made a layer (`_to_modules`)
    "relu": Operation(in_place={"relu_": "relu", torch.relu_: torch.relu}),
    "clamp": Operation(in_place={"clamp_": "clamp"}),
    "clamp_min": Operation(in_place={"clamp_min_": "clamp_min"}),
    "getattr": Operation(free=True),
    **dict.fromkeys(("t", "detach"), _VIEW),
    "diagonal": _VIEW,
}

OUT_OF_PLACE = {
    spelling: other for known in TABLE.values() for spelling, other in known.in_place.items()
}


def operation_of(node: Node) -> Operation:
    """The table's entry for a functional call; an empty entry if there is none."""
    if not isinstance(node.target, str):
        # A user's function may have the name of one of torch's.
        package = (getattr(node.target, "__module__", None) or "").split(".")[0]
        if package not in {"torch", "_operator", "builtins", "snntorch_ecl"}:
            return Operation()
    return TABLE.get(function_name(node), Operation())


def moves_values(node: Node) -> bool:
    """Whether a functional call computes nothing."""
    return operation_of(node).free
