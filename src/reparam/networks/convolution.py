"""Strided convolutions for images of any size and number of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reparam.calls import Written
from reparam.engine import narrowed, widened
from reparam.errors import InputError
from reparam.networks.perceptron import Gate, Residual, as_shape, check_norm, flattened
from reparam.networks.perceptron import activation as make_activation


def image_layout(shape: Sequence[int]) -> tuple[int, int, int, bool]:
    """(channels, height, width, whether channels stand last) of an image of this shape.

    (H, W) is grey. Of three dimensions, channels are the last if it is 1 to 4 and the first is larger, else the first.

    Raises:
        InputError: for a shape that is no image.
    """
    if len(shape) == 2:
        return 1, shape[0], shape[1], False
    if len(shape) == 3:
        last = shape[2] <= 4 < shape[0]
        return (shape[2], shape[0], shape[1], True) if last else (shape[0], shape[1], shape[2], False)
    raise InputError(
        f"convolutions need images of shape (H, W), (C, H, W) or (H, W, C), not {tuple(shape)}: choose the network mlp"
    )


def _sizes(side: int, stages: int) -> list[int]:
    """The side after each stage, which halves it and drops a remainder."""
    return [side >> i for i in range(stages + 1)]


class _Convolutions(Written, nn.Module):
    """What both directions share: the layout of the image, the sizes between stages, and what a stage consists of."""

    written_as = "networks.conv"
    layers: nn.Sequential

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        activation: str,
        context: int,
        residual: bool,
        gated: bool,
        norm: str | None,
    ) -> None:
        super().__init__()
        self.shape, self.channels = as_shape(shape, "image sizes"), as_shape(channels, "channel counts")
        self.activation, self.context = activation, context
        self.residual, self.gated, self.norm = residual, gated, check_norm(norm, "group")
        self.colours, height, width, self.channels_last = image_layout(self.shape)
        self.heights, self.widths = _sizes(height, len(self.channels)), _sizes(width, len(self.channels))
        if min(self.heights[-1], self.widths[-1]) < 1:
            raise InputError(
                f"{len(self.channels)} stages of stride 2 are too many for images of {height} x {width}: "
                f"give at most {int(math.log2(min(height, width)))} numbers of channels"
            )
        self.inner = (self.channels[-1], self.heights[-1], self.widths[-1])
        for stage, count in enumerate(self.channels):
            if norm and (count == 1 and self.heights[stage + 1] * self.widths[stage + 1] == 1):
                raise InputError("a stage of 1 channel and 1 pixel has nothing to be normalised by: give more channels")

    @property
    def widening(self) -> int:
        """How many numbers a layer gives for each that its activation gives: 2 for a gate."""
        return 2 if self.gated else 1

    def at_each_position(self, size: int) -> int:
        """How many of ``size`` numbers belong to each position of the feature map.

        Raises:
            InputError: if they are not as many for each.
        """
        height, width = self.inner[1:]
        if size < 1 or size % (height * width):
            raise InputError(
                f"the feature map has {height} x {width} positions: {size} numbers are no multiple of {height * width}"
            )
        return size // (height * width)

    def through(self, images: Tensor) -> Tensor:
        """The images after all stages, in the dtype in which they came."""
        if self.norm or self.residual:  # whose sums are taken in full
            out: Tensor = self.layers(images)
            return out
        return widened(self.layers(narrowed(images)))

    def activated(self, channels: int) -> list[nn.Module]:
        """What follows a layer of so many channels times ``widening``: norm, activation or gate, residual block."""
        layers: list[nn.Module] = [group_norm(channels * self.widening)] if self.norm else []
        layers.append(Gate(1) if self.gated else make_activation(self.activation))
        return [*layers, self.block(channels)] if self.residual else layers

    def block(self, channels: int) -> Residual:
        """x plus two convolutions of x, each after norm and activation (He et al. 2016, identity mappings)."""
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [group_norm(channels)] if self.norm else []
            layers += [make_activation(self.activation), nn.Conv2d(channels, channels, 3, padding=1)]
        return Residual(nn.Sequential(*layers), nn.Identity())


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of equal size: the most, up to 32, that leave at least 4 channels in each, and one for fewer than 8."""
    groups = max(g for g in range(1, min(32, max(1, channels // 4)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class ConvEncoder(_Convolutions):
    """Convolutions of stride 2, one for each number of channels, then one fully connected layer.

    Contexts, given behind the images, are flattened; each of their ``context`` numbers is one more map beside the
    image's channels, the same at every pixel. The options of a stage are those of :func:`conv`. Without ``dense``, the
    last layer maps the channels of each position alone: the outputs are the positions of the feature map, row by row,
    with their numbers side by side.

    Shapes: x (..., *shape) and contexts (..., c) give (..., outputs).

    Raises:
        InputError: for images too small for so many stages, or outputs that are no multiple of the positions.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        channels: Sequence[int] = (32, 64),
        activation: str = "relu",
        context: int = 0,
        residual: bool = False,
        gated: bool = False,
        norm: str | None = None,
        dense: bool = True,
    ) -> None:
        super().__init__(shape, channels, activation, context, residual, gated, norm)
        self.outputs, self.dense = outputs, dense
        layers: list[nn.Module] = []
        for before, after in zip((self.colours + context, *self.channels), self.channels, strict=False):
            layers += [nn.Conv2d(before, after * self.widening, 4, stride=2, padding=1), *self.activated(after)]
        self.layers = nn.Sequential(*layers)
        self.last = (
            nn.Linear(math.prod(self.inner), outputs)
            if dense
            else nn.Conv2d(channels[-1], self.at_each_position(outputs), 1)
        )

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """The output for each image."""
        lead = x.shape[: x.dim() - len(self.shape)]
        if x.shape[len(lead) :] != self.shape:
            raise InputError(f"this network takes images of shape {self.shape}; got {tuple(x.shape[1:])}")
        images = x.reshape(-1, *self.shape)
        n = images.shape[0]  # len would fix the number of rows where a graph is made of the network
        images = images.movedim(-1, 1) if self.channels_last else images.reshape(n, self.colours, *_hw(self))
        if c or self.context:
            numbers = flattened(x.new_empty(*lead, 0), lead, c, self.context).reshape(n, self.context, 1, 1)
            images = torch.cat([images, numbers.expand(-1, -1, *_hw(self))], 1)
        features = self.through(images)
        out: Tensor = self.last(features.flatten(1)) if self.dense else self.last(features).movedim(1, -1)
        return out.reshape(*lead, -1)


class ConvDecoder(_Convolutions):
    """The mirror of :class:`ConvEncoder`: one fully connected layer, then transposed convolutions of stride 2.

    Contexts, given behind the code, are flattened and appended to it. The options of a stage are those of :func:`conv`.
    Without ``dense``, the inputs are those of a feature map and its positions stay apart; contexts go to each of them.

    Shapes: z (..., inputs) and contexts (..., c) give (..., *prefix, *shape). ``prefix`` repeats the image, such as
    (2,) for means and log-variances.

    Raises:
        InputError: for images too small for so many stages, or inputs that are no multiple of the positions.
    """

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        activation: str = "relu",
        prefix: Sequence[int] = (),
        context: int = 0,
        residual: bool = False,
        gated: bool = False,
        norm: str | None = None,
        dense: bool = True,
    ) -> None:
        super().__init__(shape, channels, activation, context, residual, gated, norm)
        self.inputs, self.prefix, self.dense = inputs, tuple(prefix), dense
        self.first = (
            nn.Linear(inputs + context, self.widening * math.prod(self.inner))
            if dense
            else nn.Conv2d(self.at_each_position(inputs) + context, self.widening * self.channels[-1], 1)
        )
        self.layers = nn.Sequential()
        outward = (*reversed(self.channels), math.prod(self.prefix) * self.colours)
        for i in range(len(self.channels)):
            stage = len(self.channels) - 1 - i
            odd = (self.heights[stage] % 2, self.widths[stage] % 2)
            after = outward[i + 1] * (self.widening if stage else 1)
            self.layers.extend(self.activated(outward[i]))
            self.layers.append(nn.ConvTranspose2d(outward[i], after, 4, stride=2, padding=1, output_padding=odd))

    @property
    def last(self) -> nn.ConvTranspose2d:
        """The layer that gives the output."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.ConvTranspose2d)
        return layer

    def forward(self, z: Tensor, *c: Tensor) -> Tensor:
        """The image for each code."""
        lead = z.shape[:-1]
        codes = z.reshape(-1, self.inputs)
        numbers = flattened(z.new_empty(*lead, 0), lead, c, self.context).reshape(codes.shape[0], self.context)
        if self.dense:
            first = self.first(torch.cat([codes, numbers], -1))
        else:
            maps = codes.reshape(codes.shape[0], *self.inner[1:], -1).movedim(-1, 1)
            constant = numbers[..., None, None].expand(-1, -1, *self.inner[1:])
            first = self.first(torch.cat([maps, constant], 1))
        images = self.through(first.reshape(codes.shape[0], -1, *self.inner[1:]))
        images = images.reshape(images.shape[0], *self.prefix, self.colours, *_hw(self))
        images = images.movedim(-3, -1) if self.channels_last else images
        return images.reshape(*lead, *self.prefix, *self.shape)


def _hw(net: _Convolutions) -> tuple[int, int]:
    return net.heights[0], net.widths[0]


def conv(
    inputs: int | Sequence[int],
    outputs: int | Sequence[int],
    channels: Sequence[int] = (32, 64),
    activation: str = "relu",
    prefix: Sequence[int] = (),
    context: int = 0,
    residual: bool = False,
    gated: bool = False,
    norm: str | None = None,
    dense: bool = True,
) -> ConvEncoder | ConvDecoder:
    """Strided convolutions from images to a vector, or from a vector to images.

    The direction follows from which of ``inputs`` and ``outputs`` is the shape of an image, (H, W), (C, H, W) or
    (H, W, C), square or not; the other is a number. Each number of channels is one stage that halves the sides.
    A ``prefix`` of (2,) makes a decoder give two images, such as means and log-variances. ``context`` is the total size
    of the contexts: constant maps beside the image in the encoder, numbers beside the code in the decoder. Without
    ``dense`` the vector is a feature map, position by position.

    Options of each stage: ``residual``, a block of two further convolutions whose input is added to its output (He et
    al. 2016); ``gated``, h * sigmoid(g) with two convolutions h and g in place of the stage's activation (Dauphin et
    al. 2017); ``norm="group"`` before each activation (Wu & He 2018), over groups of channels of one image.

    Raises:
        InputError: if neither or both are images, the image is too small for so many stages, or norm is unknown.
    """
    options: dict[str, Any] = {
        "context": context, "residual": residual, "gated": gated, "norm": norm, "dense": dense,
    }  # fmt: skip
    if isinstance(outputs, int) and not isinstance(inputs, int):
        return ConvEncoder(inputs, outputs, channels, activation, **options)
    if isinstance(inputs, int) and not isinstance(outputs, int):
        return ConvDecoder(inputs, outputs, channels, activation, prefix, **options)
    raise InputError("conv leads from an image to a number of outputs, or from a number of inputs to an image")
