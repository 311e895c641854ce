"""All checks, one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reparam.data import Dataset
from reparam.data.rows import Rows
from reparam.data.table import TableSchema
from reparam.errors import InputError, MissingExtraError
from reparam.evaluate.diagnosis import (
    checks_baseline,
    checks_data,
    checks_gaps,
    checks_latent,
    checks_likelihood,
    checks_samples,
    checks_training,
)
from reparam.evaluate.diagnosis.chart import Chart, Check
from reparam.evaluate.diagnosis.finding import Diagnosis, Number
from reparam.evaluate.diagnosis.subject import Subject, chosen, some
from reparam.evaluate.diagnosis.training import Run
from reparam.evaluate.diagnostics import encode
from reparam.evaluate.disentanglement import disentanglement, levels
from reparam.evaluate.draws import batches, evaluating, rows_of
from reparam.evaluate.likeness import Features, points_of
from reparam.evaluate.weights import Progress
from reparam.objectives import Objective
from reparam.vae import VAE, reference

_ELEMENTS = 1 << 26  # of sparse data that are looked at
_CODES = 5000  # rows whose codes are held against known factors, at most
# In this order: later checks read numbers of earlier ones.
CHECKS: dict[str, Check] = {
    "training": checks_training.training,
    "columns": checks_data.columns,
    "scales": checks_likelihood.scales,
    "latent_space": checks_latent.latent_space,
    "gaps": checks_gaps.elbo_gaps,
    "likelihood": checks_likelihood.likelihood_fit,
    "baseline": checks_baseline.baseline,
    "rows": checks_data.likely_rows,
    "posterior_calibration": checks_latent.posterior_calibration,
    "samples": checks_samples.samples,
}


def diagnose(
    vae: VAE,
    x: Any,
    *,
    train: Any | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    objective: Objective | str | None = None,
    epochs: int | None = None,
    contexts: Sequence[Tensor] = (),
    factors: Any | None = None,
    features: Features | None = None,
    table: TableSchema | None = None,
    rows: int = 1000,
    gap_rows: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """What is wrong with this model, in order of weight, how sure it is, and what to change.

    ``x`` are data that training has not seen, if there are any, and ``train`` those that it has: without ``train``,
    over- and underfitting are not told apart. ``history`` are the records of a ``History``, ``objective`` the objective
    of the run (or its ``repr``) and ``epochs`` how many were planned: with them, weights that a schedule had not yet
    brought to their end are found. ``factors`` (N, F) are known causes of x, of few values each, for the scores of
    :func:`~reparam.evaluate.disentanglement`, beside which stand those of the same factors in random order ("by
    chance"); ``features`` maps data, (B, *event) as the model reads them, to the space (B, F) in which samples are
    compared, by a Fréchet distance too. ``table`` is the schema of a mixed table (``TabularVAE.schema_``), whose
    ``dataset`` made the data: its columns are then judged one by one, and log p(x) is in their units. Of a model that
    was trained by ``IWAE(k)`` the gaps are those of the bound of k samples. In arrays NaN is a missing value where the
    model's likelihood is ``Observed``.

    For speed, up to ``rows`` rows that the seed chooses are examined, of which the gaps of the ELBO, with a search for
    the best q of each, take ``gap_rows``; constants and duplicates are looked for in all
    (of sparse data, in as many as have 2^26 elements). A number that is estimated is
    a finding only if, by its standard error, it lies beyond its limit with probability 0.9999. ``str()`` of the result
    is a page of text.

    Raises:
        InputError: for data of another shape, or options that cannot be used.
    """
    if rows < 20 or gap_rows < 2:
        raise InputError(f"a diagnosis needs rows of at least 20 and gap_rows of at least 2, not {rows} and {gap_rows}")
    whole = _dense(rows_of(vae, x, contexts), seed)
    seen = None if train is None else _dense(rows_of(vae, train), seed)
    if seen is not None and len(seen.contexts) != len(whole.contexts):
        raise InputError(
            f"train has {len(seen.contexts)} contexts, and the data have {len(whole.contexts)}: give it as "
            "Dataset(train, contexts=[...])"
        )
    run = Run([*history], objective, epochs)
    subject = Subject(vae, some(whole, rows, seed), whole, seen, seed, table, run.k)
    chart, skipped = Chart(run, gap_rows=gap_rows, features=features), {}
    if len(subject.data) < 20:
        raise InputError(f"a diagnosis needs at least 20 rows; the data have {len(whole)}")
    if features is not None:  # before anything takes its time
        points_of(whole.fixed(whole.x[:2], reference(vae), seed), features)
    known = None if factors is None else levels(factors, len(whole))
    if (refusal := _refusal(vae, subject.data)) is not None:
        _unfit(refusal, vae, chart)
        checks_data.columns(subject, chart)
        skipped = {name: "the likelihood cannot explain these data" for name in CHECKS if name != "columns"}
    else:
        for i, (name, check) in enumerate(CHECKS.items()):
            if progress is not None:
                progress(i, len(CHECKS))
            try:
                check(subject, chart)
            except InputError as error:  # what this model has not, such as a density of q
                skipped[name] = str(error)
        if known is not None:
            skipped |= _disentangled(vae, whole, known, seed, chart)
        if progress is not None:
            progress(len(CHECKS), len(CHECKS))
    return Diagnosis.of(chart.findings, chart.numbers, len(subject.data), len(whole), skipped, chart.pictures)


def _dense(data: Dataset, seed: int) -> Dataset:
    """The data with dense rows; of sparse ones only as many as memory certainly has room for."""
    if not isinstance(data.x, Rows):
        return data
    return some(data, max(20, _ELEMENTS // math.prod(data.event_shape)), seed).dense()


def _refusal(vae: VAE, data: Dataset) -> str | None:
    """Why the likelihood refuses the data; None where it takes them."""
    with evaluating(vae):
        for at, x, c in batches(data, reference(vae), 4096, 0):
            try:
                vae.check(x, *c, columns=data.columns, first_row=at.start)
            except InputError as error:
                if f"the data have shape {data.event_shape}" in str(error):
                    raise
                return str(error)
    return None


def _unfit(refusal: str, vae: VAE, chart: Chart) -> None:
    words, _, remedy = refusal.partition(": ")
    chart.find(
        "unfit_likelihood", 1.0, Number(1, 0), 1.0,
        f"{words}: log p(x) does not exist for such data.",
        remedy or str(getattr(vae.likelihood, "remedy", "choose a likelihood whose support holds these values")),
    )  # fmt: skip


def _disentangled(vae: VAE, data: Dataset, factors: Tensor, seed: int, chart: Chart) -> dict[str, str]:
    """The scores of the codes, and of the same codes with the factors in another order; what could not be had, why."""
    rows, skipped = chosen(len(data), _CODES, seed), {}
    codes, factors = encode(vae, data[rows], seed), factors[rows]
    shuffled = factors[torch.randperm(len(factors), generator=torch.Generator().manual_seed(seed))]
    for suffix, against in (("", factors), ("_by_chance", shuffled)):
        try:
            scores = disentanglement(codes, against, seed)
        except MissingExtraError as error:
            scores, skipped = disentanglement(codes, against, seed, dci=False), {"dci": str(error)}
        for name, value in vars(scores).items():
            if value is not None:
                chart.numbers[name + suffix] = Number(value, float("nan"))
    return skipped
