"""Torch's attention layers, of plain layers that can be traced: nothing of them is fused."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TraceError


class Attention(nn.Module):
    """What :class:`torch.nn.MultiheadAttention` computes, with a linear layer for each weight.

    Args:
        fused: The layer whose weights it takes over.

    Raises:
        TraceError: It has ``bias_k``, ``bias_v`` or ``add_zero_attn``.
    """

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        if fused.bias_k is not None or fused.bias_v is not None or fused.add_zero_attn:
            raise TraceError(
                "nn.MultiheadAttention with add_bias_kv or add_zero_attn is not supported: they "
                "add a token to keys and values"
            )
        self.heads, self.batch_first = fused.num_heads, fused.batch_first
        width = fused.embed_dim
        if fused._qkv_same_embed_dim:
            assert fused.in_proj_weight is not None
            weights: Any = torch.split(fused.in_proj_weight, width)
        else:
            weights = (fused.q_proj_weight, fused.k_proj_weight, fused.v_proj_weight)
        joint = fused.in_proj_bias
        biases: Any = [None] * 3 if joint is None else torch.split(joint, width)
        pairs = zip(weights, biases, strict=True)
        self.q_proj, self.k_proj, self.v_proj = (_linear(w, b) for w, b in pairs)
        self.softmax, self.dropout = nn.Softmax(-1), nn.Dropout(fused.dropout)
        self.out_proj = _linear(fused.out_proj.weight, fused.out_proj.bias)
        self.scale = 1 / math.sqrt(width // self.heads)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Mix values ``[B, N, D]``; ``[N, B, D]`` without ``batch_first``."""
        if key_padding_mask is not None:
            raise TraceError("key_padding_mask differs from image to image: pad without a mask")
        tokens = (query, key, value)
        if not self.batch_first:
            tokens = tuple(x.transpose(0, 1) for x in tokens)  # type: ignore[assignment]
        layers = (self.q_proj, self.k_proj, self.v_proj)
        queries, keys, values = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in zip(layers, tokens, strict=True)
        )
        scores = (queries * self.scale) @ keys.transpose(2, 3)
        if attn_mask is not None:
            scores = scores + _additive(attn_mask)
        weights = self.dropout(self.softmax(scores))
        out = self.out_proj((weights @ values).transpose(1, 2).flatten(2))
        if not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(1) if average_attn_weights else weights


class EncoderLayer(nn.Module):
    """What :class:`torch.nn.TransformerEncoderLayer` computes, with the same submodules."""

    def __init__(self, fused: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        for name, child in fused.named_children():
            self.add_module(name, child)
        self.act: Any = fused.activation
        self.norm_first = fused.norm_first

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Transform tokens."""
        own: Any = self  # its submodules have the names of torch's

        def attended(x: Tensor) -> Any:
            masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
            return own.dropout1(own.self_attn(x, x, x, need_weights=False, **masks)[0])

        def fed(x: Tensor) -> Any:
            return own.dropout2(own.linear2(own.dropout(self.act(own.linear1(x)))))

        x: Any = src
        if self.norm_first:
            x = x + attended(own.norm1(x))
            x = x + fed(own.norm2(x))
        else:
            x = own.norm1(x + attended(x))
            x = own.norm2(x + fed(x))
        out: Tensor = x
        return out


class Encoder(nn.Module):
    """What :class:`torch.nn.TransformerEncoder` computes, with the same submodules."""

    def __init__(self, fused: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = fused.layers, fused.norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Transform tokens."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        out: Tensor = src if self.norm is None else self.norm(src)
        return out


class DropRows(nn.Module):
    """Stochastic depth: in training it drops whole images of a branch, at inference nothing."""

    def __init__(self, p: float, scale: bool = True) -> None:
        super().__init__()
        self.p, self.scale = p, scale

    def forward(self, x: Tensor) -> Tensor:
        """Keep each image with probability 1 − p."""
        if not self.training or self.p == 0:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.p
        return x * kept / (1 - self.p if self.scale and self.p < 1 else 1)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return made


def _additive(mask: Tensor) -> Tensor:
    """A mask as what is added to scores: where a boolean one is true, nothing is attended to."""
    if mask.dtype != torch.bool:
        return mask
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, lowest)
