"""Which pictures a report holds, and what to look for in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reparam import plots, seeding
from reparam.data import Dataset, Schema
from reparam.evaluate import encode
from reparam.evaluate.draws import evaluating
from reparam.posteriors import Point
from reparam.priors import StandardNormal
from reparam.vae import VAE, reference

_LATENT_ROWS = 10_000
_IMAGES = 60
_PAIRS = 20
_ROWS = 2_000  # vectors drawn beside their reconstructions or samples
_ELEMENTS = 1 << 24  # most numbers that are decoded at once


class Picture(NamedTuple):
    """A drawn figure: its file's name, its PNG, what it shows for those who cannot see it, and what to look for."""

    name: str
    png: bytes
    alt: str
    caption: str


def pictures(
    vae: VAE, data: Dataset, records: Sequence[Mapping[str, Any]], schema: Schema, sign: int = 1
) -> Iterator[Picture]:
    """Every picture that applies to this model and these data; ``sign`` is that of the objective."""
    if records:
        raises, worse = ("raises", "falls while training still rises") if sign > 0 else (
            "lowers", "rises while training still falls"
        )  # fmt: skip
        yield _picture(
            "curves", plots.curves(records, sign), "Objective, reconstruction and KL over epochs, in nats per datum.",
            f"Each is a mean over data, in nats. The objective is what training {raises}. Where validation "
            f"{worse}, the model begins to learn its training data by heart; the weights kept are those "
            "of the best epoch." if "validation_objective" in records[0]
            else "Each is a mean over data, in nats. Without validation data the weights of the last epoch are kept.",
        )  # fmt: skip
    with evaluating(vae), seeding.seeded(0):
        if len(data.event_shape) in (2, 3):
            yield from _image_pictures(vae, data)
        else:
            yield from _vector_pictures(vae, data, schema)
        yield _latent_picture(vae, data[_spread(len(data), _LATENT_ROWS)])
        if len(data.event_shape) in (2, 3) and not data.contexts and vae.prior().event_shape[-1] == 2:
            yield _manifold_picture(vae, data)


def _picture(name: str, figure: Any, alt: str, caption: str) -> Picture:
    return Picture(name, plots.png_bytes(figure), alt, caption)


def _spread(n: int, most: int) -> Tensor:
    """Indices of at most so many rows, evenly spaced, so that data sorted by kind show every kind."""
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most, dtype=torch.float64).long()


def _contexts(vae: VAE, data: Dataset, n: int) -> tuple[Tensor, ...]:
    """The contexts of n rows, for models that need them to sample."""
    rows = torch.arange(n) % len(data)
    return data.contexts_of(rows, reference(vae))


def _inputs(vae: VAE, data: Dataset) -> tuple[Tensor, ...]:
    """What the model reads of these rows: x and its contexts."""
    return data.fixed(data.x, like=reference(vae), seed=0), *_contexts(vae, data, len(data))


def _shading(data: Dataset, like: Tensor) -> Callable[[Tensor], Tensor]:
    """From the model's units to 0..1, black to white: as it is, or across the range of data that leave 0..1."""
    some = data.grey(data.x[_spread(len(data), 500)], like)
    low, high = float(some.min()), float(some.max())
    return (lambda x: x) if low >= 0 and high <= 1 else (lambda x: (x - low) / max(high - low, 1e-12))


def _image_pictures(vae: VAE, data: Dataset) -> Iterator[Picture]:
    """Samples and reconstructions, as images."""
    shade = _shading(data, reference(vae))
    drawn = vae.sample(_IMAGES, *_contexts(vae, data, _IMAGES), mean=True)
    no_bound = " This autoencoder has no bound on log p(x): nothing in training made its codes follow the prior, so "
    yield _picture(
        "samples", plots.images(shade(drawn), columns=12, title="Drawn from the model"),
        f"{_IMAGES} images drawn from the model.",
        "Each image is the mean of p(x|z) at a z drawn from the prior; no data went in. They should look like the data."
        + (no_bound + "samples may look worse than reconstructions." if isinstance(vae.posterior, Point) else ""),
    )  # fmt: skip
    some = data[_spread(len(data), _PAIRS)]
    kept = vae.reconstruct(*_inputs(vae, some))
    binary = " The model read them with each grey value made 0 or 1." if data.binarize else ""
    yield _picture(
        "reconstructions",
        plots.reconstructions(shade(some.grey(some.x, reference(vae))), shade(kept), n=_PAIRS),
        f"{len(some)} images above their reconstructions.",
        f"Upper rows: data. Lower rows: the mean of p(x|z) at the mean of q(z|x).{binary} What is missing below did "
        "not pass through the latent code.",
    )  # fmt: skip


def _vector_pictures(vae: VAE, data: Dataset, schema: Schema) -> Iterator[Picture]:
    """Marginals and reconstructions, column by column, in the units of the data."""
    unit, columns = schema.pixel_max or 1.0, schema.columns or data.columns
    rows = min(_ROWS, max(1, _ELEMENTS // max(1, data.x[0].numel())))
    some = data[_spread(len(data), rows)]
    x, *c = _inputs(vae, some)
    drawn = vae.sample(rows, *_contexts(vae, data, rows))
    yield _picture(
        "marginals", plots.marginals(x.flatten(1) * unit, drawn.flatten(1) * unit, columns),
        "Histograms of each column, of the data and of samples of the model.",
        f"Filled: {len(x):,} rows of data. Line: {rows:,} samples, z from the prior and x from p(x|z). Where they "
        "differ, the model has not learned the distribution of that column."
        + (" This autoencoder has no bound on log p(x), and its codes need not follow the prior."
           if isinstance(vae.posterior, Point) else ""),
    )  # fmt: skip
    yield _picture(
        "reconstructions",
        plots.reconstructions(x.flatten(1) * unit, vae.reconstruct(x, *c).flatten(1) * unit, columns=columns),
        "Reconstruction against original, column by column.",
        "On the line, a value passed through the latent code unchanged. A flat cloud is a column that the code does "
        "not carry: the model gives its mean.",
    )  # fmt: skip


def _latent_picture(vae: VAE, data: Dataset) -> Picture:
    """The posterior means of these rows."""
    means = encode(vae, data)
    labels = data.labels if data.labels is not None and data.labels.ndim == 1 else None
    normal = isinstance(vae.prior, StandardNormal)
    return _picture(
        "latent", plots.latent(means, labels, prior=normal), "Where the posterior puts the data in the latent space.",
        "Each dot is the mean of q(z|x) of one datum"
        + (", coloured by its label" if labels is not None else "")
        + (", which the model never saw." if labels is not None and not data.contexts else ".")
        + (" Together they should fill the prior, without holes that samples would fall into." if normal else ""),
    )  # fmt: skip


def _manifold_picture(vae: VAE, data: Dataset) -> Picture:
    """What a latent space of two dimensions decodes to."""
    like, shade = reference(vae), _shading(data, reference(vae))
    figure = plots.manifold(lambda z: shade(vae.decode(z.to(like))), data.event_shape)
    prior = ", the prior" if isinstance(vae.prior, StandardNormal) else ""
    return _picture(
        "manifold", figure, "A grid of images decoded from places spread over the latent space.",
        f"Each image stands for the same share of a standard normal{prior}: places are spaced by its quantiles. "
        "Neighbours should change smoothly into each other.",
    )  # fmt: skip
