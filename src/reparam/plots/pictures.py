"""Images: of data, of the model, and across a latent space of two dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from reparam.errors import InputError
from reparam.networks.convolution import image_layout
from reparam.plots.style import DPI, Figure, drawn, new_figure, numbers
from reparam.plots.vectors import agreement


@drawn
def images(x: Tensor | np.ndarray, columns: int | None = None, title: str | None = None) -> Figure:
    """A grid of images, row by row.

    Shapes: x (N, H, W), (N, C, H, W) or (N, H, W, C), values 0 (black) to 1; others are cut to that range. Three
    channels are colours, four colours and opacity; any other number is shown by the mean over channels.

    Raises:
        InputError: for arrays of another shape, or without rows.
    """
    pixels = _pixels(x)
    return _sheet(_tile(*_enlarge(pixels, columns or _columns(len(pixels)))), title or f"{len(pixels)} images")


def _columns(n: int) -> int:
    """About as many columns as fill the page: a square for few, at most twelve."""
    return max(1, min(12, max(math.ceil(math.sqrt(n)), min(n, 8))))


def _pixels(x: Tensor | np.ndarray) -> np.ndarray:
    """The images as colours (N, H, W, 3) between 0 and 1."""
    array = np.nan_to_num(numbers(x)).clip(0, 1)
    channels, height, width, last = image_layout(array.shape[1:])
    if len(array) == 0:
        raise InputError("there are no images to draw")
    array = array if last else np.moveaxis(array.reshape(-1, channels, height, width), 1, -1)
    if channels == 4:
        return array[..., :3] * array[..., 3:] + 1 - array[..., 3:]
    return array if channels == 3 else np.repeat(array.mean(-1, keepdims=True), 3, -1)


def _enlarge(pixels: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Every pixel as a square, so large that the columns fill about eight inches at 150 dots: no blur, no moiré."""
    times = max(1, round(min(1150 / columns, 150) / max(pixels.shape[1:3])))
    return pixels.repeat(times, 1).repeat(times, 2), columns


def _tile(pixels: np.ndarray, columns: int, gap: int = 5) -> np.ndarray:
    """One picture (height, width, 3) of many (N, H, W, 3), with white between them."""
    n, height, width, _ = pixels.shape
    sheet = np.ones((math.ceil(n / columns), height + gap, columns, width + gap, 3))
    for i, image in enumerate(pixels):
        sheet[i // columns, :height, i % columns, :width] = image
    sheet = sheet.reshape(sheet.shape[0] * sheet.shape[1], -1, 3)
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]


def _sheet(picture: np.ndarray, title: str) -> Figure:
    """A picture dot for dot (smaller where it would be wider than eight inches), under its title."""
    inches = min(8.4, picture.shape[1] / DPI)
    tall = inches * picture.shape[0] / picture.shape[1]
    head = 0.32
    figure = new_figure(max(inches, 3.0), tall + head, layout=None)
    share = tall / (tall + head)
    axis = figure.add_axes((0, 0, inches / max(inches, 3.0), share))
    axis.imshow(picture, aspect="auto", interpolation="auto")
    axis.set_axis_off()
    figure.text(0, 1 - 0.05 / (tall + head), title, ha="left", va="top", fontsize=10)
    return figure


@drawn
def reconstructions(
    x: Tensor | np.ndarray, x_hat: Tensor | np.ndarray, n: int = 20, columns: Sequence[str] | None = None
) -> Figure:
    """What the model keeps of each datum.

    The first ``n`` images stand above their reconstructions; of vectors, all rows are drawn, original against
    reconstruction, for up to 12 columns (``columns`` are their names), with the line on which the two are equal.

    Shapes: x and x_hat (N, *event).

    Raises:
        InputError: for two shapes, or no rows.
    """
    if x.shape != x_hat.shape or len(x) == 0:
        raise InputError(f"reconstructions have the shape of the data: {tuple(x.shape)} and {tuple(x_hat.shape)}")
    if len(x.shape) == 2:
        return agreement(numbers(x), numbers(x_hat), columns)
    above, below = _pixels(x[:n]), _pixels(x_hat[:n])
    (above, across), (below, _) = (_enlarge(p, min(10, len(p))) for p in (above, below))
    pairs = np.concatenate([above, np.ones_like(above[:, :3]), below], 1)
    return _sheet(_tile(pairs, across, gap=12), "Originals, with their reconstructions below")


@drawn
def manifold(decode: Callable[[Tensor], Tensor], event_shape: Sequence[int], n: int = 20) -> Figure:
    """Images across a latent space of two dimensions, spaced so that each stands for equal mass of a N(0, I) prior.

    ``decode`` maps z (n * n, 2), in torch's default dtype, to images (n * n, *event_shape). Each coordinate runs
    through the normal quantiles of (i + 1/2) / n; z₁ rises to the right and z₂ upwards.

    Raises:
        InputError: if the event is no image.
    """
    image_layout(event_shape)
    z = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).to(torch.get_default_dtype())
    z2, z1 = torch.meshgrid(z.flip(0), z, indexing="ij")
    pixels = _pixels(decode(torch.stack([z1, z2], -1).reshape(-1, 2)).reshape(-1, *event_shape))
    picture = _tile(*_enlarge(pixels, n), gap=3) if n > 1 else pixels[0]
    figure = new_figure(7.0, 7.0 * picture.shape[0] / picture.shape[1] + 0.35)
    axis = figure.subplots()
    axis.imshow(picture, extent=(0, 1, 0, 1), aspect=picture.shape[0] / picture.shape[1], interpolation="auto")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    ticks = [t for t in range(-3, 4) if z[0] <= t <= z[-1]]
    places = torch.special.ndtr(torch.tensor(ticks, dtype=torch.float64)).tolist()
    names = [str(t).replace("-", "\u2212") for t in ticks]
    axis.set(xticks=places, xticklabels=names, yticks=places, yticklabels=names, xlabel="z₁")
    axis.set_ylabel("z₂", rotation=0, va="center", labelpad=8)
    axis.set_title("What each place of the latent space decodes to")
    return figure
