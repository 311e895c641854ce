"""How like two sets of data are: samples of a model, and data that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.errors import InputError
from reparam.evaluate.draws import batches, evaluating, rows_of
from reparam.shapes import Float
from reparam.vae import VAE, reference

Features = Callable[[Tensor], Any]  # (B, *event) to a tensor or an array (B, F)

_PROJECTIONS = 256
_AT_ONCE = 256  # data that ``features`` are asked for in one call


class Likeness(NamedTuple):
    """What two sets of points have in common, each from 0 (nothing) upwards.

    ``precision`` is the share of samples that lie in the region of the data, ``recall`` the share of data in that of
    the samples (Kynkäänniemi et al. 2019, eqs. 1 and 2, k = 3); ``density`` how many data neighbourhoods a sample lies
    in, of k, and ``coverage`` the share of data with a sample in their neighbourhood (Naeem et al. 2020, eqs. 3 and 4,
    k = 5). ``mmd`` is the squared maximum mean discrepancy, unbiased and so below 0 at times (Gretton et al. 2012, eq.
    3), with a Gaussian kernel as wide as the median distance between the data; ``wasserstein`` the sliced 2-Wasserstein
    distance, and ``frechet`` the Fréchet distance of Gaussians with the two sets' moments (Heusel et al. 2017), None
    where there are too few points for a covariance.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    mmd: float
    wasserstein: float
    frechet: float | None


def likeness(data: Float[Tensor, "n d"], samples: Float[Tensor, "m d"], seed: int = 0) -> Likeness:
    """The measures of :class:`Likeness` in the space in which the points are given.

    Neighbourhoods are balls that reach to the k-th nearest other point of the same set. All are biased by the numbers
    of points; compare them with those of two halves of the data (:func:`sample_quality` gives both).

    Raises:
        InputError: for fewer than 6 points in a set, or other widths.
    """
    real, fake = data.double().cpu(), samples.double().cpu()
    if real.shape[1:] != fake.shape[1:] or min(len(real), len(fake)) < 6:
        raise InputError(f"likeness compares two sets of at least 6 points: {tuple(real.shape)}, {tuple(fake.shape)}")
    near = neighbourhoods(real, fake)
    return Likeness(
        near.precision,
        near.recall,
        near.density,
        near.coverage,
        mmd(real, fake),
        sliced_wasserstein(real, fake, seed),
        frechet(real, fake) if min(len(real), len(fake)) > real.shape[1] else None,
    )


class Neighbourhoods(NamedTuple):
    """The four measures of :class:`Likeness` that are read off neighbours, and how near the data are.

    ``nearest`` (M,) is the distance of each sample from the nearest datum.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    nearest: Tensor


def neighbourhoods(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], longer: float = 1.0) -> Neighbourhoods:
    """Of two sets of at least 6 points each, as if the distances between the sets were so many times as long."""
    between = longer * torch.cdist(real, fake)
    among_real = _distances(real)
    near_real, near_fake = _radii(among_real, 3), _radii(_distances(fake), 3)
    inside = between <= _radii(among_real, 5).unsqueeze(1)
    return Neighbourhoods(
        float((between <= near_real.unsqueeze(1)).any(0).double().mean()),
        float((between <= near_fake.unsqueeze(0)).any(1).double().mean()),
        float(inside.double().sum(0).mean()) / 5,
        float(inside.any(1).double().mean()),
        between.amin(0),
    )


def _distances(x: Tensor) -> Tensor:
    """Distances between points; equal points are exactly at 0, which the quick formula would miss."""
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(among: Tensor, k: int) -> Tensor:
    """The distance of each point from its k-th nearest other one; it is itself the nearest, at 0."""
    return among.kthvalue(k + 1, dim=1).values


def mmd(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], width: float | None = None) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel exp(-|a - b|² / 2 width²).

    ``width`` is the median distance between the points of x unless given.
    """
    among = torch.cdist(x, x)
    n, m = len(x), len(y)
    if width is None:
        width = float(among[~torch.eye(n, dtype=torch.bool)].median()) or 1.0

    def kernel(distance: Tensor) -> Tensor:
        return torch.exp(-distance.square() / (2 * width**2))

    own = (float(kernel(among).sum()) - n) / (n * (n - 1)) + (float(kernel(torch.cdist(y, y)).sum()) - m) / (
        m * (m - 1)
    )
    return own - 2 * float(kernel(torch.cdist(x, y)).mean())


def sliced_wasserstein(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], seed: int = 0) -> float:
    """The root of the mean squared 2-Wasserstein distance along 256 random directions (Rabin et al. 2011)."""
    directions = torch.randn(x.shape[1], _PROJECTIONS, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    directions = directions / directions.norm(dim=0)
    at = (torch.arange(max(len(x), len(y)), dtype=x.dtype) + 0.5) / max(len(x), len(y))
    a, b = (_quantiles(t @ directions, at) for t in (x, y))
    return float((a - b).square().mean().sqrt())


def _quantiles(x: Tensor, at: Tensor) -> Tensor:
    """The empirical quantile function of each column: exact, as the Wasserstein distance of steps asks."""
    rows = (at * len(x)).floor().long().clamp_max(len(x) - 1)
    return x.sort(0).values[rows]


def frechet(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """|m - n|² + tr(S + T - 2 (S T)^{1/2}) of the means and covariances of the two sets."""
    means, roots, traces = [], [], 0.0
    for t in (x, y):
        rest = t - t.mean(0)
        covariance = rest.T @ rest / (len(t) - 1)
        means.append(t.mean(0))
        roots.append(_root(covariance))
        traces += float(covariance.trace())
    # the singular values of S^{1/2} T^{1/2} are the eigenvalues of (S T)^{1/2}
    cross = float(torch.linalg.svdvals(roots[0] @ roots[1]).sum())
    return float((means[0] - means[1]).square().sum()) + traces - 2 * cross


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.mT


class SampleQuality(NamedTuple):
    """The likeness of samples to data, and, as what can be expected, that of other data to the same data."""

    samples: Likeness
    baseline: Likeness


def sample_quality(
    vae: VAE,
    x: Any,
    seed: int = 0,
    *,
    rows: int = 1000,
    contexts: Sequence[Tensor] = (),
    features: Features | None = None,
) -> SampleQuality:
    """Samples of the model against data: half of up to 2 ``rows`` rows, beside the other half as baseline.

    Points are compared in data space, or as ``features`` of them: any function from a tensor (B, *event), in the units
    in which the model reads data, to a tensor or array (B, F), such as a network of the caller's. It is asked for up to
    256 data at a time.

    Raises:
        InputError: for fewer than 12 rows, or features of another shape.
    """
    data = rows_of(vae, x, contexts)
    half = min(rows, len(data) // 2)
    if half < 6:
        raise InputError(f"samples are compared with two halves of the data: {len(data)} rows are too few, of 12")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    data = data[order[: 2 * half]]
    like = reference(vae)
    with evaluating(vae):
        _, own, c = next(batches(data, like, len(data), seed))
        with seeding.seeded(seed):
            drawn = vae.sample(half, *(t[:half] for t in c))
        points = [points_of(t, features) for t in (own[:half], own[half:], drawn)]
    return SampleQuality(likeness(points[0], points[2], seed), likeness(points[0], points[1], seed))


@torch.no_grad()
def points_of(x: Tensor, features: Features | None = None) -> Float[Tensor, "n d"]:
    """Data (N, *event) as the points that are compared: their elements, or their features, float64 on the CPU.

    Raises:
        InputError: for features of another shape, or that are not finite.
    """
    parts = [x.flatten(1)] if features is None else [_asked(features, part) for part in x.split(_AT_ONCE)]
    points = torch.cat(parts).double().cpu()
    if not bool(points.isfinite().all()):
        row = int((~points.isfinite()).any(1).nonzero()[0, 0])
        what = "elements" if features is None else "features"
        remedy = ": give features that fill missing elements in" if bool(x[row].isnan().any()) else ""
        raise InputError(f"the {what} of datum {row} are not all finite{remedy}")
    return points


def _asked(features: Features, x: Tensor) -> Tensor:
    try:
        out = features(x)
    except Exception as error:  # code of the caller's, which may fail in any way
        raise InputError(f"features failed for data {tuple(x.shape)}: {type(error).__name__}: {error}") from error
    out = torch.from_numpy(out) if isinstance(out, np.ndarray) and out.dtype.kind in "biuf" else out
    if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != len(x):
        found = tuple(out.shape) if isinstance(out, Tensor | np.ndarray) else type(out).__name__
        raise InputError(f"features give a tensor or array (B, F) for data (B, *event): for {tuple(x.shape)}, {found}")
    return out.detach()
