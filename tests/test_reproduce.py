"""What the reproductions add to the library: quadrature, Monte Carlo EM's chains, q over weights, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reproduce import aevb
from reproduce.__main__ import EXPERIMENTS
from reproduce.record import Curve, Figure, Record, page

import reparam as rp

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return rp.recipes.vae((2, 3), 3, hidden=(8,), activation="tanh")


def test_quadrature_in_the_cube_is_log_p(vae):
    """Two grids agree, and importance sampling from the prior, within 4.5 of its standard errors."""
    x = torch.bernoulli(torch.full((4, 2, 3), 0.5), generator=torch.Generator().manual_seed(0))
    exact = aevb.by_quadrature(vae, x, 31)
    assert (exact - aevb.by_quadrature(vae, x, 41)).abs().max() < 1e-4
    with torch.no_grad():
        z = torch.randn(20_000, 1, 3, generator=torch.Generator().manual_seed(1)).expand(-1, 4, -1)
        p = vae.at(z, x).log_px.exp()
    assert ((p.mean(0) - exact.exp()).abs() < 4.5 * p.std(0) / 20_000**0.5).all()


def test_a_transition_leaves_the_posterior_as_it_is():
    """Chains that begin at draws of a Gaussian posterior keep its mean and covariance, at a step that rejects some."""
    decoder = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
    torch.manual_seed(0)
    model = rp.VAE(
        rp.priors.StandardNormal(3),
        rp.likelihoods.Gaussian(decoder, scale=0.5),
        rp.posteriors.DiagonalGaussian(torch.nn.Linear(2, 6)),
    ).double()
    n, w = 20_000, decoder.weight.detach()
    covariance = (torch.eye(3, dtype=torch.float64) + w.T @ w / 0.25).inverse()
    x = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    mean = (x / 0.25) @ w @ covariance
    z = torch.distributions.MultivariateNormal(mean[0], covariance).sample((n,))
    for _ in range(3):
        z, accepted = aevb.transition(model, x.expand(n, -1), z, 0.6, leapfrog=4)
    assert 0.3 < accepted < 0.97
    assert ((z.mean(0) - mean[0]).abs() < 4.5 * (covariance.diagonal() / n).sqrt()).all()
    assert (z.T.cov() - covariance).abs().max() < 4.5 * 2**0.5 * covariance.diagonal().max() / n**0.5


def test_the_kl_of_weights_is_that_of_gaussians(vae):
    weights = aevb.Weights(vae)
    expected = sum(
        torch.distributions.kl_divergence(
            torch.distributions.Normal(m, weights.log_scale[name].exp()), torch.distributions.Normal(0.0, 1.0)
        ).sum()
        for name, m in weights.mean.items()
    )
    assert torch.allclose(weights.kl(), expected, rtol=1e-5)
    assert set(weights.draw()) == dict(vae.named_parameters()).keys()


def test_a_record_is_what_its_file_says_and_draws_its_curves(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [Curve("3 latents", f"AEVB, {part}", [10, 100], [-9.0, -5.0]) for part in ("train", "test")]
    figures = [Figure("ELBO", "above 0", 1.234, 0.1, "nats")]
    record = Record(
        "name", "Title", "Source.", "Protocol.", "Differs.", 3, 60.0, figures, "Two lines", curves, ["x", "y"]
    )
    record.save(tmp_path)
    record.draw(tmp_path)
    assert Record.load(tmp_path / "name-seed3.json") == record
    assert (tmp_path / "name-seed3.png").stat().st_size > 1000
    assert "![Two lines](assets/reproductions/name-seed3.png)" in page([record])


def test_the_page_is_made_of_the_records_and_its_pictures_are_there():
    found = sorted((ROOT / "reproduce" / "results").glob("*-seed*.json"))
    order = list(EXPERIMENTS)
    records = sorted(map(Record.load, found), key=lambda r: (order.index(r.name), r.seed))
    assert (ROOT / "docs" / "reproductions.md").read_text() == page(records)
    for r in records:
        assert not r.curves or (ROOT / "docs" / "assets" / "reproductions" / f"{r.name}-seed{r.seed}.png").exists()
