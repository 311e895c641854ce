"""Strided convolutions for images of any size and number of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from reparam.errors import InputError
from reparam.networks.perceptron import activation as make_activation
from reparam.networks.perceptron import as_shape


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


class _Convolutions(nn.Module):
    """What both directions share: the layout of the image and the sizes between stages."""

    def __init__(self, shape: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.shape, self.channels = as_shape(shape, "image sizes"), as_shape(channels, "channel counts")
        self.colours, height, width, self.channels_last = image_layout(self.shape)
        self.heights, self.widths = _sizes(height, len(self.channels)), _sizes(width, len(self.channels))
        if min(self.heights[-1], self.widths[-1]) < 1:
            raise InputError(
                f"{len(self.channels)} stages of stride 2 are too many for images of {height} x {width}: "
                f"give at most {int(math.log2(min(height, width)))} numbers of channels"
            )
        self.inner = (self.channels[-1], self.heights[-1], self.widths[-1])

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


class ConvEncoder(_Convolutions):
    """Convolutions of stride 2, one for each number of channels, then one fully connected layer.

    Without ``dense``, the last layer maps the channels of each position alone: the outputs are the positions of the
    feature map, row by row, with their numbers side by side.

    Shapes: x (..., *shape) gives (..., outputs).

    Raises:
        InputError: for images too small for so many stages, or outputs that are no multiple of the positions.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        channels: Sequence[int] = (32, 64),
        activation: str = "relu",
        dense: bool = True,
    ) -> None:
        super().__init__(shape, channels)
        self.outputs, self.activation, self.dense = outputs, activation, dense
        layers: list[nn.Module] = []
        for before, after in zip((self.colours, *self.channels), self.channels, strict=False):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), make_activation(activation)]
        self.layers = nn.Sequential(*layers)
        self.last = (
            nn.Linear(math.prod(self.inner), outputs)
            if dense
            else nn.Conv2d(channels[-1], self.at_each_position(outputs), 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The output for each image."""
        lead = x.shape[: x.dim() - len(self.shape)]
        if x.shape[len(lead) :] != self.shape:
            raise InputError(f"this network takes images of shape {self.shape}; got {tuple(x.shape[1:])}")
        images = x.reshape(-1, *self.shape)
        images = images.movedim(-1, 1) if self.channels_last else images.reshape(len(images), self.colours, *_hw(self))
        features = self.layers(images)
        out: Tensor = self.last(features.flatten(1)) if self.dense else self.last(features).movedim(1, -1)
        return out.reshape(*lead, -1)


class ConvDecoder(_Convolutions):
    """The mirror of :class:`ConvEncoder`: one fully connected layer, then transposed convolutions of stride 2.

    Shapes: z (..., inputs) gives (..., *prefix, *shape). ``prefix`` repeats the image, such as (2,) for means and
    log-variances. Without ``dense``, the inputs are those of a feature map and its positions stay apart.

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
        dense: bool = True,
    ) -> None:
        super().__init__(shape, channels)
        self.inputs, self.activation, self.prefix, self.dense = inputs, activation, tuple(prefix), dense
        self.first = (
            nn.Linear(inputs, math.prod(self.inner))
            if dense
            else nn.Conv2d(self.at_each_position(inputs), channels[-1], 1)
        )
        self.layers = nn.Sequential()
        outward = (*reversed(self.channels), math.prod(self.prefix) * self.colours)
        for i in range(len(self.channels)):
            stage = len(self.channels) - 1 - i
            odd = (self.heights[stage] % 2, self.widths[stage] % 2)
            self.layers.append(make_activation(activation))
            self.layers.append(
                nn.ConvTranspose2d(outward[i], outward[i + 1], 4, stride=2, padding=1, output_padding=odd)
            )

    @property
    def last(self) -> nn.ConvTranspose2d:
        """The layer that gives the output."""
        layer = self.layers[-1]
        assert isinstance(layer, nn.ConvTranspose2d)
        return layer

    def forward(self, z: Tensor) -> Tensor:
        """The image for each code."""
        lead = z.shape[:-1]
        rows = z.reshape(-1, self.inputs)
        if not self.dense:
            rows = rows.reshape(len(rows), *self.inner[1:], -1).movedim(-1, 1)
        images: Tensor = self.layers(self.first(rows).reshape(-1, *self.inner))
        images = images.reshape(len(images), *self.prefix, self.colours, *_hw(self))
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
    dense: bool = True,
) -> ConvEncoder | ConvDecoder:
    """Strided convolutions from images to a vector, or from a vector to images.

    The direction follows from which of ``inputs`` and ``outputs`` is the shape of an image, (H, W), (C, H, W) or
    (H, W, C), square or not; the other is a number. Each number of channels is one stage that halves the sides.
    A ``prefix`` of (2,) makes a decoder give two images, such as means and log-variances. Without ``dense`` the vector
    is a feature map, position by position.

    Raises:
        InputError: if neither or both are images, or the image is too small for so many stages.
    """
    if isinstance(outputs, int) and not isinstance(inputs, int):
        return ConvEncoder(inputs, outputs, channels, activation, dense)
    if isinstance(inputs, int) and not isinstance(outputs, int):
        return ConvDecoder(inputs, outputs, channels, activation, prefix, dense)
    raise InputError("conv leads from an image to a number of outputs, or from a number of inputs to an image")
