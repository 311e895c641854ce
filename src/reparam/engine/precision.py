"""In which numbers is computed: float64, float32, or float32 with the matrix products in bfloat16.

With "bfloat16" only the operands and results of products (fully connected layers, convolutions, matrix products) are
rounded, to 8 binary digits. Weights, sums, likelihoods, KL and the optimiser's state stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from reparam.errors import InputError, nearest

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices of bfloat16: AMX or AVX-512 BF16, or a GPU that does."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def resolve(precision: str, like: Tensor, auto: str = "float32") -> str:
    """The precision to compute in: ``auto`` becomes that of the model, which is ``auto`` if its numbers are float32.

    Raises:
        InputError: for an unknown name, and for bfloat16 on hardware without its products.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: {nearest(str(precision), PRECISIONS)}")
    able = has_bfloat16(like.device)
    if precision == "bfloat16" and not able:
        raise InputError(
            f"precision='bfloat16' needs hardware with such products, and this {like.device.type} has none"
        )
    if precision != "auto":
        return precision
    if like.dtype != torch.float32:
        return str(like.dtype).removeprefix("torch.")
    return auto if able else "float32"


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of the weights."""
    return torch.float64 if precision == "float64" else torch.float32


def products(precision: str) -> AbstractContextManager[Any]:
    """Inside the block, products are of this precision."""
    return _Bfloat16Products() if precision == "bfloat16" else nullcontext()


_PLAIN: set[Callable[..., Any]] = {
    torch.matmul,
    torch.mm,
    torch.bmm,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.mm,
    Tensor.bmm,
}
_BIASED: dict[Callable[..., Any], int] = {  # where the channels of the result stand, for the bias
    F.linear: -1,
    F.conv1d: -2, F.conv2d: -3, F.conv3d: -4,
    F.conv_transpose1d: -2, F.conv_transpose2d: -3, F.conv_transpose3d: -4,
}  # fmt: skip


class _Bfloat16Products(TorchFunctionMode):
    """Rounds the operands of products in float32 to bfloat16, and widens the result; a bias is added in float32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function itself, unless it is a product."""
        kwargs = kwargs or {}
        if func in _PLAIN and not kwargs and all(t.dtype == torch.float32 for t in args):
            return func(*(t.bfloat16() for t in args)).float()
        if func in _BIASED and args[0].dtype == torch.float32:
            return _biased(func, *args, **kwargs)
        return func(*args, **kwargs)


def _biased(
    func: Callable[..., Any], x: Tensor, weight: Tensor, bias: Tensor | None = None, *more: Any, **named: Any
) -> Tensor:
    if func is not F.linear and x.dim() == 4:  # the layout in which convolutions of bfloat16 are fast
        x = x.contiguous(memory_format=torch.channels_last)
    out: Tensor = func(x.bfloat16(), weight.bfloat16(), None, *more, **named).float()
    if bias is None:
        return out
    return out + bias.reshape(-1, *(1,) * (-1 - _BIASED[func]))
