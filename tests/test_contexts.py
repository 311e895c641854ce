"""Conditioning is one more argument: the same classes with contexts learn p(x|c)."""

from __future__ import annotations

import math

import pytest
import torch

import reparam as rp
from reparam.errors import InputError
from reparam.networks import mlp


def conditional_vae() -> rp.VAE:
    return rp.VAE(
        rp.priors.StandardNormal(2),
        rp.likelihoods.Gaussian(mlp(2, 4, (32,), "tanh", context=3), scale=0.5),
        rp.posteriors.DiagonalGaussian(mlp(4, 4, (32,), "tanh", context=3)),
    )


@pytest.fixture
def labelled() -> tuple[torch.Tensor, torch.Tensor]:
    """600 data around one of three centres, and which, as one of three."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (600,))
    centres = torch.tensor([[3.0, 3, -3, -3], [-3, 3, 3, -3], [3, -3, -3, 3]])
    return centres[y] + 0.5 * torch.randn(600, 4), torch.nn.functional.one_hot(y, 3).float()


def test_a_conditional_model_learns_the_density_given_the_context(labelled):
    x, c = labelled
    vae = conditional_vae()
    rp.fit(vae, x, contexts=(c,), epochs=60, batch_size=50, lr=5e-3)
    data = rp.Dataset(x, contexts=(c,))
    right = rp.evaluate.log_likelihood(vae, data, k=200)
    wrong = rp.evaluate.log_likelihood(vae, x, contexts=(c.roll(1, dims=1),), k=200)
    truth = -4 * (0.5 + math.log(0.5) + 0.5 * math.log(2 * math.pi))  # the entropy of the noise
    assert truth - 0.4 < right.value < truth + 4 * right.stderr
    assert wrong.value < right.value - 20
    assert rp.evaluate.elbo(vae, data).value <= right.value + 4 * right.stderr


def test_samples_follow_their_context(labelled):
    x, c = labelled
    vae = conditional_vae()
    rp.fit(vae, x, contexts=(c,), epochs=60, batch_size=50, lr=5e-3)
    torch.manual_seed(1)
    samples = vae.sample(600, c)
    for k in range(3):
        rows = c[:, k] == 1
        assert (samples[rows].mean(0) - x[rows].mean(0)).abs().max() < 0.3
    assert vae.reconstruct(x, c).shape == x.shape


def test_a_row_keeps_its_context_when_rows_are_chosen_or_reordered(labelled):
    x, c = labelled
    data, vae = rp.Dataset(x, contexts=(c,)), conditional_vae()
    values = rp.evaluate.log_likelihood(vae, data, k=20).per_datum
    order = torch.randperm(600)[:77]
    some = rp.evaluate.log_likelihood(vae, data[order], k=20, chunk=30).per_datum
    torch.testing.assert_close(some, values[order], atol=1e-4, rtol=0)  # float32 sums of about 100


def test_contexts_of_another_length_are_refused(labelled):
    x, c = labelled
    with pytest.raises(InputError, match=r"600 rows of data, but context 0 of shape \(599, 3\)"):
        rp.fit(conditional_vae(), x, contexts=(c[1:],))
