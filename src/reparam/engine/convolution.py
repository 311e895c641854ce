"""A convolution of images in bfloat16, forward and backward, in the layout that the hardware's products want."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_Pair = int | tuple[int, int]


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair, dilation: _Pair, transposed: bool,
    output_padding: _Pair, groups: int,
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
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, *ctx.form, [needed[0], needed[1], False]
        )
        for_bias = grad.sum((0, 2, 3), dtype=torch.float32).to(grad.dtype) if needed[2] else None
        return (for_x, for_weight, for_bias, *(None,) * len(ctx.form))


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
