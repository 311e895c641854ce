"""In which numbers is computed: float64, float32, or float32 with the matrix products in bfloat16.

With "bfloat16" only the operands and results of products (fully connected layers, convolutions, matrix products) are
rounded, to 8 binary digits. Weights, sums, likelihoods, KL and the optimiser's state stay in float32. Between layers
that follow one another a network may hand on what it has to round anyway: see :func:`narrowed`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from reparam.engine.convolution import Widened, convolution
from reparam.errors import InputError, nearest

_Pair = int | tuple[int, int]
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


def narrowed(images: Tensor) -> Tensor:
    """Images as convolutions hand them to each other: in bfloat16 where products are, else as they are.

    For a network whose layers are nothing but convolutions and activations of each element: these round to bfloat16
    either way, and spare two conversions and a change of layout for each layer. Its output is to be :func:`widened`.
    """
    if not _inside or images.dtype != torch.float32:
        return images
    return images.to(torch.bfloat16, memory_format=torch.channels_last)


def widened(images: Tensor) -> Tensor:
    """The reverse of :func:`narrowed`."""
    if images.dtype != torch.bfloat16:
        return images
    wide: Tensor = Widened.apply(images)
    return wide


_inside: list[_Bfloat16Products] = []  # the blocks of products in bfloat16 that are open


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
    """Rounds the operands of products in float32 to bfloat16, and widens the result; a bias is added in float32.

    A convolution of what is in bfloat16 already gives bfloat16.
    """

    def __enter__(self) -> Any:
        _inside.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _inside.remove(self)
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function itself, unless it is a product."""
        kwargs = kwargs or {}
        if func in _PLAIN and not kwargs and all(t.dtype == torch.float32 for t in args):
            return func(*(t.bfloat16() for t in args)).float()
        if func in _IMAGES and args[0].dim() == 4 and not any(isinstance(a, str) for a in (*args, *kwargs.values())):
            return _IMAGES[func](*args, **kwargs)
        if func in _BIASED and args[0].dtype == torch.float32:
            return _biased(func, *args, **kwargs)
        return func(*args, **kwargs)


def _biased(
    func: Callable[..., Any], x: Tensor, weight: Tensor, bias: Tensor | None = None, *more: Any, **named: Any
) -> Tensor:
    out: Tensor = func(x.bfloat16(), weight.bfloat16(), None, *more, **named).float()
    if bias is None:
        return out
    return out + bias.reshape(-1, *(1,) * (-1 - _BIASED[func]))


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Pair = 1, padding: _Pair = 0,
    dilation: _Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    return _images(x, weight, bias, stride, padding, dilation, False, 0, groups)


def _transposed_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Pair = 1, padding: _Pair = 0,
    output_padding: _Pair = 0, groups: int = 1, dilation: _Pair = 1,
) -> Tensor:  # fmt: skip
    return _images(x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def _images(x: Tensor, weight: Tensor, bias: Tensor | None, *form: Any) -> Tensor:
    """The convolution of images in bfloat16; what came in float32 goes so, its bias added there."""
    if x.dtype == torch.bfloat16:
        return convolution(x, weight, bias, *form)
    out = convolution(x.bfloat16(), weight, None, *form).float()
    return out if bias is None else out + bias.reshape(-1, 1, 1)


_IMAGES: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
}
