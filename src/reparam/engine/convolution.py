"""A convolution of images in bfloat16, forward and backward, in the layout that the hardware's products want."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Pair = tuple[int, int]
_Given = int | Pair


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Given, padding: _Given, dilation: _Given, transposed: bool,
    output_padding: _Given, groups: int,
) -> Tensor:  # fmt: skip
    """A convolution, transposed or not, of x in bfloat16 by weight and bias in float32: the result is in bfloat16."""
    form = [(part, part) if isinstance(part, int) else part for part in (stride, padding, dilation, output_padding)]
    x = x.contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.bfloat16()
    out: Tensor = _Convolution.apply(x, weight.bfloat16(), bias, *form[:3], transposed, form[3], groups)
    return out


class _Convolution(Function):
    """All in bfloat16. The gradient of the bias is a plain sum; that of torch is as dear as the products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *form: Any) -> Tensor:
        """The result, with channels last."""
        ctx.save_for_backward(x, weight)
        ctx.form = form
        return torch.convolution(x, weight, bias, *form)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients in x, weight and bias, differentiable themselves."""
        x, weight = ctx.saved_tensors
        needed, grad = ctx.needs_input_grad, grads[0].contiguous(memory_format=torch.channels_last)
        small, large = (x, grad) if ctx.form[3] else (grad, x)
        by_patches = needed[1] and _few_positions(small, ctx.form)
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, *ctx.form, [needed[0], needed[1] and not by_patches, False]
        )
        if by_patches:
            for_weight = _for_weight(small, large, weight.shape[2:], *ctx.form[:3])
        for_bias = _over_positions(grad) if needed[2] else None
        return (for_x, for_weight, for_bias, *(None,) * len(ctx.form))


# The library's gradient of weights adds to all of them for each image, and so is slow where images have few positions
# for their channels: 15 times slower than a product of patches at 512 channels and 2 x 2 positions, on a core with AMX.
# At twice as many channels as positions both take the same time.
_CHANNELS_FOR_A_POSITION = 4
_CHANNELS_FOR_A_PRODUCT = 16
_PATCHES = 1 << 23  # elements at once: memory of more than 32 MB is given back after each use


def _few_positions(small: Tensor, form: tuple[Any, ...]) -> bool:
    """Whether weights are to be differentiated by patches; ``small`` is the side that the stride leaves smaller."""
    return form[-1] == 1 and small.shape[1] >= _CHANNELS_FOR_A_POSITION * small.shape[2] * small.shape[3]


def _for_weight(
    small: Tensor, large: Tensor, kernel: torch.Size, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """The gradient of weights (small channels, large channels, *kernel), as products of patches of the larger side."""
    positions, channels = small.shape[2:], large.shape[1]
    patch = kernel.numel() * channels
    images = max(1, _PATCHES // (positions.numel() * patch))
    total = None
    for few, theirs in zip(small.split(images), large.split(images), strict=True):
        rows = F.pad(theirs.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
        image, row, pixel, _ = rows.stride()
        strides = (image, stride[0] * row, stride[1] * pixel, dilation[0] * row, dilation[1] * pixel, 1)
        patches = rows.as_strided((len(few), *positions, *kernel, channels), strides).reshape(-1, patch)
        part = few.permute(0, 2, 3, 1).reshape(-1, small.shape[1]).t() @ patches
        total = part if total is None else total + part.float()
    assert total is not None
    return total.to(small.dtype).reshape(-1, *kernel, channels).permute(0, 3, 1, 2)


def _over_positions(grad: Tensor) -> Tensor:
    """The sum over images and positions for each channel, in float32: of many channels a product, in half the time."""
    rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
    if grad.shape[1] < _CHANNELS_FOR_A_PRODUCT:
        return rows.sum(0, dtype=torch.float32).to(grad.dtype)
    return (rows.new_ones(1, len(rows)) @ rows)[0]


class Widened(Function):
    """Images in bfloat16 as float32. Gradients come back with channels last, as the layers before them want it.

    Operations of each element are ten times slower where their operands have two layouts.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """In bfloat16."""
        return grads[0].to(torch.bfloat16, memory_format=torch.channels_last)
