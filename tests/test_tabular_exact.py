"""A table whose columns are jointly Gaussian, with holes: densities, imputations and conditions in closed form."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, truncnorm
from torch import nn

import reparam as rp
from reparam.data.columns import Column
from reparam.data.table import TableSchema
from reparam.likelihoods import Gaussian, Mixed, Observed

LOC, SPREAD = np.array([100.0, -3.0, 0.02, 5e4, 7.0]), np.array([20.0, 0.5, 0.001, 1e4, 2.0])
NAMES = list("abcde")


class Exact:
    """x = loc + spread (W z + b + noise), z of two dimensions, with a proposal that is no posterior of it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.w, self.b = rng.normal(size=(5, 2)), rng.normal(size=5) * 0.3
        self.log_variance = rng.uniform(-2, 0, 5)
        self.mean = LOC + SPREAD * self.b
        covariance = self.w @ self.w.T + np.diag(np.exp(self.log_variance))
        self.covariance = SPREAD[:, None] * covariance * SPREAD
        columns = [Column(n, "real", "float64", loc=m, spread=s) for n, m, s in zip(NAMES, LOC, SPREAD, strict=True)]
        self.model = rp.TabularVAE.of(self._vae(), TableSchema(tuple(columns)), k=4000)

    def _vae(self) -> rp.VAE:
        decoder = nn.Linear(2, 10)
        encoder = rp.networks.Cells(rp.networks.mlp(10, 4, ()), [0] * 5, torch.zeros(5), torch.ones(5))
        with torch.no_grad():
            decoder.weight.zero_()
            decoder.weight[:5] = torch.tensor(self.w)
            decoder.bias.copy_(torch.tensor(np.concatenate([self.b, self.log_variance])))
            encoder.net.last.weight.mul_(0.3)  # a poor proposal: 1.2 wide, moved a little by what is seen
            encoder.net.last.bias.copy_(torch.tensor([0.0, 0.0, 0.4, 0.4]))
        likelihood = Mixed(decoder, [(lambda net: Gaussian(net, "predicted"), range(5))])
        vae = rp.VAE(rp.priors.StandardNormal(2), Observed(likelihood), rp.posteriors.DiagonalGaussian(encoder))
        return vae.double()

    def rows(self, n: int, holes: float, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        x = rng.multivariate_normal(self.mean, self.covariance, n)
        x[rng.random(x.shape) < holes] = np.nan
        return pd.DataFrame(x, columns=NAMES)

    def given(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which cells are missing, and their exact mean and covariance given the others."""
        m = np.isnan(row)
        if m.all():
            return m, self.mean, self.covariance
        gain = self.covariance[np.ix_(m, ~m)] @ np.linalg.inv(self.covariance[np.ix_(~m, ~m)])
        mean = self.mean[m] + gain @ (row[~m] - self.mean[~m])
        return m, mean, self.covariance[np.ix_(m, m)] - gain @ self.covariance[np.ix_(~m, m)]


@pytest.fixture
def exact(double) -> Exact:
    torch.manual_seed(1)
    return Exact()


def test_the_score_of_a_row_is_the_density_of_what_is_seen_of_it(exact):
    """The delta method: the error of log p is 1/sqrt(ess) about; 5 of it, 60 rows: failure rate 4e-5."""
    rows = exact.rows(60, 0.5)
    estimate = exact.model.log_likelihood(rows)
    for x, got, ess in zip(rows.to_numpy(), estimate.per_datum, estimate.ess, strict=True):
        seen = ~np.isnan(x)
        scaled = exact.covariance / np.outer(SPREAD, SPREAD)
        y = ((x - exact.mean) / SPREAD)[seen]
        law = multivariate_normal(np.zeros(len(y)), scaled[np.ix_(seen, seen)]) if seen.any() else None
        expected = law.logpdf(y) - np.log(SPREAD[seen]).sum() if law is not None else 0.0
        assert abs(float(got) - expected) < 5 / math.sqrt(float(ess)) + 1e-9
    assert exact.model.score(rows) == pytest.approx(float(estimate))
    empty = pd.DataFrame([[np.nan] * 5], columns=NAMES)
    assert abs(exact.model.score(empty)) < 5 / math.sqrt(float(exact.model.log_likelihood(empty).ess[0]))


def test_single_imputations_are_the_exact_conditional_means(exact):
    """5 standard errors of an importance-weighted mean, 150 cells: failure rate 9e-5."""
    rows = exact.rows(60, 0.5)
    filled, ess = exact.model.impute(rows).to_numpy(), exact.model.log_likelihood(rows).ess
    for x, got, n in zip(rows.to_numpy(), filled, ess, strict=True):
        missing, mean, covariance = exact.given(x)
        np.testing.assert_array_equal(got[~missing], x[~missing])
        se = np.sqrt(np.diag(covariance) / float(n))
        assert (np.abs(got[missing] - mean) < 5 * se).all()


def test_multiple_imputations_have_the_exact_conditional_means_and_covariances(exact):
    """2000 draws of each row by 4000 weighted ones; 5 standard errors of both kinds of draws, of 3 rows."""
    rows, m = exact.rows(200, 0.5, seed=3), 2000
    rows = rows[rows.isna().sum(axis=1).isin([2, 3])].head(3).reset_index(drop=True)
    drawn = np.stack([t.to_numpy() for t in exact.model.impute(rows, m=m)])
    for i, (x, ess) in enumerate(zip(rows.to_numpy(), exact.model.log_likelihood(rows).ess, strict=True)):
        missing, mean, covariance = exact.given(x)
        y = (drawn[:, i, missing] - mean) / np.sqrt(np.diag(covariance))
        expected = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        se = math.sqrt(1 / m + 1 / float(ess))
        assert (np.abs(y.mean(0)) < 5 * se).all()
        assert (np.abs(np.cov(y.T) - expected) < 5 * math.sqrt(2) * se).all()


def test_intervals_of_imputations_hold_their_probability(exact):
    """Of 80% intervals from 400 draws, in the model's own data: 5 standard errors of the share of about 300 cells."""
    whole = exact.rows(120, 0.0, seed=8)
    holes = whole.mask(np.random.default_rng(0).random(whole.shape) < 0.5)
    table = exact.model.impute_intervals(holes, level=0.8, m=400)
    truth = np.array([whole.loc[r, c] for r, c in zip(table["row"], table["column"], strict=True)])
    inside = (truth >= table["low"]) & (truth <= table["high"])
    assert abs(inside.mean() - 0.8) < 5 * math.sqrt(0.16 / len(inside))
    assert len(table) == int(holes.isna().to_numpy().sum())


def test_samples_under_a_condition_have_the_exact_conditional_law(exact):
    """e is 9 and b between -3.2 and -2.5: given e, b is a truncated Gaussian and the rest is linear in it."""
    n = 4000
    drawn, quality = exact.model.sample(n, given={"e": 9.0, "b": (-3.2, -2.5)}, with_quality=True)
    assert quality.ess >= n
    assert (drawn["e"] == 9.0).all()
    assert drawn["b"].between(-3.2, -2.5).all()
    _, mean, covariance = exact.given(np.array([np.nan] * 4 + [9.0]))
    s = math.sqrt(covariance[1, 1])
    law = truncnorm((-3.2 - mean[1]) / s, (-2.5 - mean[1]) / s, mean[1], s)
    gain = covariance[:, 1] / covariance[1, 1]
    expected = mean + gain * (law.mean() - mean[1])
    rest = covariance - np.outer(gain, covariance[1])
    variance = np.diag(rest) + gain**2 * law.var()
    x = drawn[NAMES[:4]].to_numpy()
    assert (np.abs(x.mean(0) - expected) < 5 * np.sqrt(2 * variance / n)).all()
    assert (np.abs(x.var(0) / variance - 1) < 5 * 2 / math.sqrt(n)).all()
    # log p(b inside, e = 9), in model units
    inside = multivariate_normal(mean[1], s**2).cdf(-2.5) - multivariate_normal(mean[1], s**2).cdf(-3.2)
    density = multivariate_normal(exact.mean[4], exact.covariance[4, 4]).pdf(9.0) * SPREAD[4]
    assert quality.log_probability == pytest.approx(math.log(inside * density), abs=5 / math.sqrt(quality.ess))


def test_free_samples_have_the_exact_mean_and_covariance(exact):
    x = exact.model.sample(20000)[NAMES].to_numpy()
    y = (x - exact.mean) / np.sqrt(np.diag(exact.covariance))
    expected = exact.covariance / np.sqrt(np.outer(np.diag(exact.covariance), np.diag(exact.covariance)))
    assert (np.abs(y.mean(0)) < 5 / math.sqrt(20000)).all()
    assert (np.abs(np.cov(y.T) - expected) < 5 * math.sqrt(2 / 20000)).all()


def test_the_surprise_of_a_cell_is_its_density_given_the_others(exact):
    """Its error is that of two weighted means, at most 2/sqrt(ess) with the worse of their weights; 5 of it."""
    rows = exact.rows(20, 0.2, seed=2)
    table = exact.model.anomaly_columns(rows, top=5)
    ess = exact.model.log_likelihood(rows).ess
    assert len(table) == int(rows.notna().to_numpy().sum())
    for row, column, surprise in zip(table["row"], table["column"], table["surprise"], strict=True):
        x = rows.loc[row].to_numpy().copy()
        value, i = x[NAMES.index(column)], NAMES.index(column)
        x[i] = np.nan
        missing, mean, covariance = exact.given(x)
        at = list(np.flatnonzero(missing)).index(i)
        expected = -multivariate_normal(mean[at], covariance[at, at]).logpdf(value)
        assert abs(surprise - expected) < 5 * 2 / math.sqrt(float(ess[row])) + 0.05
    worst = rows.copy()
    worst.loc[0, "c"] = exact.mean[2] + 12 * math.sqrt(exact.covariance[2, 2])
    first = exact.model.anomaly_columns(worst.head(1), top=1)
    assert list(first["column"]) == ["c"]
    assert exact.model.anomaly_score(worst)[0] > exact.model.anomaly_score(rows)[0] + 20
