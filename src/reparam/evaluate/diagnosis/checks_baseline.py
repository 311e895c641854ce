"""Whether the decoder is worth its while: beside models that are fitted without any training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.errors import InputError
from reparam.evaluate.affine import GaussianMarginal
from reparam.evaluate.diagnosis.chart import Chart
from reparam.evaluate.diagnosis.checks_likelihood import TOO_WIDE
from reparam.evaluate.diagnosis.finding import SURE, Number, saturating
from reparam.evaluate.diagnosis.subject import Subject, some
from reparam.shapes import Float
from reparam.vae import reference

# What each limit rests on; tests/test_thresholds.py holds patients on both sides of it.
WORSE = 1.0  # nats: as for the gaps, less than models of one kind differ by
_FITTED, _LEAST = 5000, 50  # rows that a baseline is fitted to, at most and at least
_ELEMENTS = 4096  # of a datum, above which covariances are not computed
_CELLS = 1 << 22  # of the matrix whose singular vectors are computed: some seconds


def baseline(subject: Subject, chart: Chart) -> None:
    """log p(x) beside that of a linear model with as many latents, or of columns that are independent."""
    if chart.held is None:
        return
    rows, fitted = _rows(subject, chart.gap_rows)
    if len(fitted) < _LEAST:
        raise InputError(f"a baseline is fitted to at least {_LEAST} rows, and there are {len(fitted)} besides")
    x, known = (_flat(subject, data) for data in (rows, fitted))
    continuous, scale = not bool(subject.discrete.any()) and not subject.data.missing, None
    if continuous and x.shape[1] > _ELEMENTS:
        raise InputError(f"a linear model of {x.shape[1]} elements is not fitted: up to {_ELEMENTS}")
    if continuous:
        dim = int(subject.vae.prior(*rows.contexts_of(slice(0, 1), reference(subject.vae))).event_shape[-1])
        linear = probabilistic_pca(known, dim, elementwise=len(subject.data.event_shape) == 1)
        log_p, scale = linear.log_prob(x), linear.scale
        words = f"a linear model with as many latents (probabilistic PCA, fitted to {len(known)} rows)"
    else:
        log_p = independent(known, x, subject.discrete)
        words = f"columns that are independent of each other (their frequencies in {len(known)} rows)"
    log_p = log_p + subject.units(rows)
    more = Number.mean(log_p - chart.held.log_p)
    chart.numbers |= {"baseline_log_likelihood": Number.mean(log_p), "baseline_less_model": more}
    chart.find(
        "decoder_underfits", 0.3 + 0.5 * saturating(more.value, 10.0), more, more.above(WORSE),
        f"The model is worse than {words}: that has {more} nats more for each row.",
        "train longer, with a higher learning rate or without a collapse of the code; a larger decoder, and a scale of "
        "the likelihood that is learned",
        unit="nats",
    )  # fmt: skip
    if scale is not None and more.above(WORSE) >= SURE:
        _fixed_scale(subject, scale, chart)


def _rows(subject: Subject, count: int) -> tuple[Dataset, Dataset]:
    """(the rows whose log p(x) the gaps found, other rows to fit to: of training, or of those that are examined)."""
    rows = some(subject.data, count, subject.seed)
    if subject.train is not None:
        most = max(_LEAST, min(_FITTED, _CELLS // math.prod(subject.data.event_shape)))
        return rows, some(subject.train, most, subject.seed)
    n = len(subject.data)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(subject.seed))
    return rows, subject.data[order[count:]] if n > count else subject.data[:0]


def _flat(subject: Subject, data: Dataset) -> Float[Tensor, "n e"]:
    return data.fixed(data.x, reference(subject.vae), subject.seed).double().cpu().flatten(1)


def _fixed_scale(subject: Subject, scale: Tensor, chart: Chart) -> None:
    """A fixed scale beside that of a linear model which is better: also where the code has collapsed under it.

    A decoder with too large a scale need not learn anything: then all that the data vary by is missed, and the scale
    is no longer too large for that.
    """
    if "scale_too_large" in {f.name for f in chart.findings if f.sure >= SURE}:
        return
    family, _, unit = subject.parts[0]
    given = getattr(family, "scale", None)
    fixed = [m for m in subject.vae.likelihood.modules() if isinstance(getattr(m, "scale", None), float | Tensor)]
    if not isinstance(given, Tensor) or not fixed:
        return
    given = (given if unit is None else given * unit).detach().double().cpu().reshape(-1, len(scale))[0]
    share = float((scale / given).square().mean())
    ratio = 1 / math.sqrt(share)
    chart.find(
        "scale_too_large", 0.2 + 0.6 * saturating(ratio - 1, 2.0), Number(share, 0), float(share < TOO_WIDE),
        f"The likelihood's fixed scale is {ratio:.2g} times what a linear model with as many latents leaves over, "
        "which is the better model of these rows: at such a scale the code need not tell more.",
        'let it be learned (scale="shared" or "elementwise"), or divide it by that factor',
        unit="(left over / scale)²",
    )  # fmt: skip


def probabilistic_pca(x: Float[Tensor, "n e"], dim: int, elementwise: bool) -> GaussianMarginal:
    """The linear-Gaussian model of greatest likelihood with ``dim`` latents and one scale (Tipping & Bishop 1999).

    With ``elementwise`` the scale is one in units of each element's standard deviation, as for columns of a table.

    Raises:
        InputError: for an element that never changes, of which no density exists.
    """
    mean, spread = x.mean(0), x.std(0) if elementwise else torch.ones(x.shape[1], dtype=x.dtype)
    if elementwise and bool((spread == 0).any()):
        raise InputError("a column never changes, so that no linear model has a density of it")
    rest = (x - mean) / spread
    _, s, v = torch.linalg.svd(rest / math.sqrt(len(x)), full_matrices=False)
    variances = s.square()
    dim = min(dim, x.shape[1] - 1, len(x) - 2)
    total = float(rest.square().mean(0).sum())
    noise = max((total - float(variances[:dim].sum())) / max(1, x.shape[1] - dim), 1e-9 * total / x.shape[1])
    if noise <= 0:
        raise InputError("the data do not vary")
    factor = v[:dim].mT * (variances[:dim] - noise).clamp_min(0).sqrt()
    return GaussianMarginal(mean, spread.unsqueeze(1) * factor, spread * math.sqrt(noise))


def independent(x: Float[Tensor, "n e"], at: Float[Tensor, "m e"], discrete: Tensor) -> Float[Tensor, " m"]:
    """log p of the rows ``at`` if columns were independent, (M,): what is missing is left out.

    Discrete columns have the frequencies of their values in x, with half a count more for each; a value that x lacks
    gets half a count. Others are Gaussian. No law of these columns gives more than this in the mean, up to the errors
    of its parameters, unless it knows how they hang together or their shape.
    """
    total = torch.zeros(len(at), dtype=torch.float64)
    for column, values, counted in zip(x.mT, at.mT, discrete, strict=True):
        known, there = column[~column.isnan()], ~values.isnan()
        if not len(known) or not bool(there.any()):
            continue
        if bool(counted):
            found, counts = known.unique(return_counts=True)
            place = torch.searchsorted(found, values.nan_to_num(0.0)).clamp_max(len(found) - 1)
            times = torch.where(found[place] == values, counts[place], 0)
            log_p = ((times + 0.5) / (len(known) + 0.5 * (len(found) + 1))).log()
        else:
            spread = float(known.std()) if len(known) > 1 else 0.0
            if spread == 0:
                continue
            log_p = torch.distributions.Normal(known.mean(), spread, validate_args=False).log_prob(values)
        total += torch.where(there, log_p, 0.0)
    return total
