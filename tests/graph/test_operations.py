"""Which functional operations convert, which are refused, and why."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import snntorch_ecl as ecl
from tests.helpers.operations import NOT_AFFINE, Operation, around, reasons

W = torch.linspace(-1, 1, 16).view(4, 4)


KERNEL = torch.linspace(-1, 1, 48).view(4, 4, 3)


ALLOWED: dict[str, Operation] = {
    "x + 1": lambda x: x + 1,
    "x + x": lambda x: x + x,
    "1 - x": lambda x: 1 - x,
    "-x": lambda x: -x,
    "x * 2": lambda x: x * 2,
    "x * W[0]": lambda x: x * W[0],
    "x / 2": lambda x: x / 2,
    "x @ W": lambda x: x @ W,
    "torch.add": lambda x: torch.add(x, x, alpha=2),
    "torch.sub": lambda x: torch.sub(x, 1),
    "torch.neg": lambda x: torch.neg(x),
    "torch.mul": lambda x: torch.mul(x, 3),
    "torch.div": lambda x: torch.div(x, 4),
    "torch.true_divide": lambda x: torch.true_divide(x, 4),
    "torch.matmul": lambda x: torch.matmul(x, W),
    "F.linear": lambda x: F.linear(x, W),
    "F.conv1d": lambda x: F.conv1d(x[:, :, None], KERNEL, padding=1),
    "F.conv2d": lambda x: F.conv2d(x[:, :, None, None], KERNEL[..., None], padding=1),
    "F.conv3d": lambda x: F.conv3d(x[:, :, None, None, None], KERNEL[..., None, None], padding=1),
    "F.pad": lambda x: F.pad(x, (1, 1), value=0.5),
    "F.interpolate": lambda x: F.interpolate(x[:, None], scale_factor=2.0),
    "F.avg_pool1d": lambda x: F.avg_pool1d(x[:, None], 2),
    "F.avg_pool2d": lambda x: F.avg_pool2d(x[:, None, None], (1, 2)),
    "F.adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x[:, None], 2),
    "F.pixel_shuffle": lambda x: F.pixel_shuffle(x[:, :, None, None], 2),
    "cat dim 1": lambda x: torch.cat([x, -x], 1),
    "cat dim=-1": lambda x: torch.cat((x, x), dim=-1),
    "concat": lambda x: torch.concat([x, x], 1),
    "stack dim 1": lambda x: torch.stack([x, x], dim=1),
    "mean(1)": lambda x: x.mean(1),
    "mean(dim=(1, 2))": lambda x: x[:, :, None].mean(dim=(1, 2)),
    "sum(-1)": lambda x: x.sum(-1, keepdim=True),
    "torch.mean": lambda x: torch.mean(x, 1),
    "chunk dim 1": lambda x: x.chunk(2, 1)[0] - x.chunk(2, dim=1)[1],
    "split dim 1": lambda x: torch.split(x, 2, dim=1)[1],
    "unbind(1)": lambda x: x.unbind(1)[3],
    "flatten(1)": lambda x: x[:, None].flatten(1),
    "torch.flatten": lambda x: torch.flatten(x[:, None], start_dim=1),
    "view(-1, 2, 2)": lambda x: x.view(-1, 2, 2),
    "view((-1, 4))": lambda x: x[:, None].view((-1, 4)),
    "view(batch, 2, 2)": lambda x: x.view(x.shape[0], 2, 2),
    "reshape(size(0), -1)": lambda x: x[:, None].reshape(x.size(0), -1),
    "reshape(shape)": lambda x: x.reshape(x.shape),
    "permute(0, 2, 1)": lambda x: x[:, None].permute(0, 2, 1),
    "permute((0, 2, 1))": lambda x: torch.permute(x[:, None], (0, 2, 1)),
    "transpose(1, 2)": lambda x: x[:, None].transpose(1, 2),
    "squeeze(1)": lambda x: x[:, None].squeeze(1),
    "unsqueeze(-1)": lambda x: x.unsqueeze(-1),
    "flip(1)": lambda x: x.flip(1),
    "x[:, 1:3]": lambda x: x[:, 1:3],
    "x[0:, 0]": lambda x: x[0:, 0],
    "x[..., :2]": lambda x: x[..., :2],
    "x[:, [0, 2]]": lambda x: x[:, [0, 2]],
    "x[:, :n // 2]": lambda x: x[:, : x.shape[1] // 2],
    "interpolate to another's size": lambda x: F.interpolate(
        x[:, :, None, None], size=torch.cat([x[:, :, None, None]] * 2, 3).shape[-2:]
    ).flatten(1),
    "type_as": lambda x: x.type_as(W) + x.type_as(x),
    "contiguous, clone, float": lambda x: x.contiguous().clone().float().to(torch.float32),
}


@pytest.mark.parametrize("operation", ALLOWED.values(), ids=ALLOWED)
def test_affine_operations_convert_and_stay_right(operation: Operation) -> None:
    """At T = 4 = L and one layer the spiking network is exact, so any deviation is the operation's.

    Stepping, which sees one step's rows at a time, gives the same.
    """
    model = around(operation)
    snn = ecl.convert(model)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(snn(x, num_steps=4), model(x), atol=1e-5)
        snn.reset()
        stepped = torch.stack([snn.step(x) for _ in range(4)]).cumsum(0)
        whole = snn.logits_over_time(x, num_steps=4)
    counts = torch.arange(1, 5).view(-1, *[1] * (whole.ndim - 1))
    assert torch.allclose(stepped / counts, whole, atol=1e-6)


MIXES = "mixes or moves dimension 0"


REFUSED: dict[str, tuple[Operation, str]] = {
    "view(32, -1)": (lambda x: x.view(32, -1), "fixes the batch size at 32; use -1 or x.shape[0]"),
    "reshape((3, 4))": (lambda x: x.reshape((3, 4)), "fixes the batch size at 3"),
    "view(-1)": (lambda x: x.view(-1), MIXES),
    "flatten()": (lambda x: x.flatten(), MIXES),
    "flatten(0)": (lambda x: x.flatten(0), MIXES),
    "torch.flatten(start_dim=0)": (lambda x: torch.flatten(x, start_dim=0), MIXES),
    "mean()": (lambda x: x.mean(), MIXES),
    "mean(0)": (lambda x: x.mean(0), MIXES),
    "mean(dim=(0, 1))": (lambda x: x.mean(dim=(0, 1)), MIXES),
    "sum(dim=0)": (lambda x: x.sum(dim=0), MIXES),
    "cat dim 0": (lambda x: torch.cat([x, x]), MIXES),
    "cat dim=0": (lambda x: torch.cat([x, x], dim=0), MIXES),
    "stack": (lambda x: torch.stack([x, x]), MIXES),
    "permute(1, 0)": (lambda x: x.permute(1, 0), MIXES),
    "permute((1, 0))": (lambda x: torch.permute(x, (1, 0)), MIXES),
    "permute(dims=)": (lambda x: x.permute(dims=(1, 0)), MIXES),
    "transpose(0, 1)": (lambda x: x.transpose(0, 1), MIXES),
    "transpose(dim1=0)": (lambda x: torch.transpose(x, dim0=1, dim1=0), MIXES),
    "squeeze()": (lambda x: x.squeeze(), MIXES),
    "squeeze(0)": (lambda x: x.squeeze(0), MIXES),
    "unsqueeze(0)": (lambda x: x.unsqueeze(0), MIXES),
    "split dim 0": (lambda x: x.split(1)[0], MIXES),
    "chunk dim 0": (lambda x: x.chunk(2)[0], MIXES),
    "unbind()": (lambda x: x.unbind()[0], MIXES),
    "tensor_split dim 0": (lambda x: torch.tensor_split(x, 2)[0], MIXES),
    "flip(0)": (lambda x: x.flip(0), MIXES),
    "flip(1, 0)": (lambda x: x.flip(1, 0), MIXES),
    "roll(1, 0)": (lambda x: x.roll(1, 0), MIXES),
    "roll(dims=0)": (lambda x: torch.roll(x, 1, dims=0), MIXES),
    "roll(1)": (lambda x: x.roll(1), MIXES),
    "x[0]": (lambda x: x[0], MIXES),
    "x[:1]": (lambda x: x[:1], MIXES),
    "x[::2]": (lambda x: x[::2], MIXES),
    "x[None]": (lambda x: x[None], MIXES),
    "x[1:, 0]": (lambda x: x[1:, 0], MIXES),
    "x[:, tensor]": (lambda x: x[:, x.argmax()], "indexing with tensors is not supported"),
    "F.linear": (lambda x: F.linear(x[:, 0], x[:, 1]), "weights are activations"),
    "rounded": (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounded division"),
    "x // 2": (lambda x: x // 2, NOT_AFFINE),
    "x > 0": (lambda x: x > 0, NOT_AFFINE),
    "x.T": (lambda x: x.T, NOT_AFFINE),
    "clamp(-1, 1)": (lambda x: x.clamp(-1, 1), NOT_AFFINE),
}


@pytest.mark.parametrize(("operation", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_affine_or_mixes_images_is_refused_with_the_reason(
    operation: Operation, why: str
) -> None:
    found = reasons(around(operation))
    assert any(why in site for site in found)
