"""Every likelihood that a person can name: it fits data of its own, by any network that gives its shape."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import reparam as rp
from refusals import refused
from reparam.cli.options import TrainOptions
from reparam.cli.train import build, resolve
from reparam.data import read
from reparam.data.schema import LIKELIHOODS
from reparam.evaluate import elbo

OPTIONS = {
    "binomial": {"total": 9},
    "categorical": {"classes": 4},
    "ordinal": {"classes": 4},
    "multinomial": {"total": 30},
    "discretized_logistic": {"levels": 16},
    "discretized_logistic_mixture": {"levels": 16, "components": 2},
}
names = pytest.mark.parametrize("name", sorted(rp.recipes.LIKELIHOODS))


def model(name: str, **options: object) -> rp.VAE:
    return rp.recipes.vae(
        (3, 2), 2, likelihood=name, hidden=(8,), channels=(4,), **{**OPTIONS.get(name, {}), **options}
    )


def flat(name: str, **options: object) -> rp.VAE:
    return rp.recipes.vae(6, 2, likelihood=name, hidden=(8,), **{**OPTIONS.get(name, {}), **options})


@names
def test_training_on_data_of_its_own_raises_the_bound(name, tmp_path):
    """The data come from a model of the same kind, of which the new one knows nothing; what is saved comes back."""
    with torch.no_grad():
        source = flat(name)
        for parameter in source.likelihood.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        x = source.sample(200)
    vae = flat(name)
    vae.check(x)
    before = elbo(vae, x, k=8)
    rp.fit(vae, x, epochs=8, batch_size=20, lr=1e-2, seed=0, out=tmp_path / "run")
    after = elbo(vae, x, k=8)
    assert after.value > before.value
    gain = (after.per_datum - before.per_datum).clamp(-20, 20)  # a few rows gain thousands of nats
    assert float(gain.mean()) > 3 * float(gain.std()) / len(x) ** 0.5
    assert elbo(rp.load(tmp_path / "run"), x, k=8).value == after.value


@names
def test_the_mean_datum_starts_the_decoder(name):
    """At z where the last layer gives its bias alone; mixtures and classes have no one output for a mean."""
    if rp.recipes.LIKELIHOODS[name].start is None or name in ("continuous_bernoulli", "discretized_logistic"):
        return  # means of these are not the inverse of a link
    mean = torch.tensor([0.2, 0.3, 0.4, 0.1, 0.35, 0.25]) * (30 / 1.6 if name == "multinomial" else 1)
    vae = flat(name, mean=mean)
    torch.nn.init.zeros_(vae.likelihood.get_parameter(f"{'inner.' if 'inflated' in name else ''}net.layers.2.weight"))
    p_x = vae.likelihood(torch.zeros(2))
    if "inflated" in name:
        p_x = torch.distributions.Independent(p_x.base_dist.base, 1)
    centre = p_x.base_dist.icdf(torch.tensor(0.5)) if name == "log_normal" else p_x.mean
    torch.testing.assert_close(centre, mean, rtol=1e-4, atol=1e-5)


@names
def test_convolutions_give_the_shape_that_it_reads_or_say_that_they_cannot(name):
    if name == "categorical":
        refused(lambda: model(name, network="conv"), "categorical", "mlp")
        return
    vae = model(name, network="conv")
    assert vae.likelihood(torch.zeros(5, 2)).event_shape == (3, 2)


@pytest.mark.parametrize("name", ["laplace", "student_t", "gaussian", "log_normal", "discretized_logistic"])
@pytest.mark.parametrize("scale", [0.3, "shared", "elementwise", "predicted"])
def test_kinds_of_scale(name, scale):
    assert flat(name, scale=scale).likelihood.scale == scale


def test_the_command_and_its_help_know_the_same_names():
    known = set(LIKELIHOODS)
    assert known == {"auto", *rp.recipes.LIKELIHOODS}
    text = TrainOptions.__dataclass_fields__["likelihood"].metadata["help"]
    assert set(re.findall(r"[a-z]+(?:_[a-z]+)*", text.replace("(reads the data and says why)", ""))) - {"or"} == known


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "auto"])
def test_the_command_trains_it(name, tmp_path):
    """From a file of data of its own, with what the data tell: classes, levels, units."""
    rng = np.random.default_rng(0)
    x = {
        "bernoulli": rng.integers(0, 2, (60, 4)),
        "continuous_bernoulli": rng.random((60, 4)),
        "discretized_logistic": rng.integers(0, 256, (60, 4)).astype("u1"),
        "discretized_logistic_mixture": rng.integers(0, 256, (60, 4)).astype("u1"),
        "beta": rng.uniform(0.1, 0.9, (60, 4)),
        "log_normal": rng.lognormal(size=(60, 4)),
        "categorical": rng.integers(0, 3, (60, 4)),
        "ordinal": rng.integers(0, 5, (60, 4)),
    }.get(name, rng.poisson(3, (60, 4)) if name not in rp.recipes.STANDARDIZED else rng.normal(5, 3, (60, 4)))
    np.save(tmp_path / "x.npy", x)
    options = TrainOptions(
        data=str(tmp_path / "x.npy"), out=str(tmp_path / "run"), likelihood=name, epochs=1, hidden=[8], latent_dim=2
    )
    plan, schema, _ = resolve(options, read(options.data))
    vae = build(plan, schema.dataset(read(options.data))).vae
    data = schema.dataset(read(options.data))
    rp.fit(vae, data, epochs=1, batch_size=30, seed=0)
    assert elbo(vae, data).value > -1000
    assert np.array_equal(schema.restore(data.grey(data.x, torch.empty(0, dtype=torch.float64))), x)


def test_what_a_name_needs():
    for name in ("binomial", "categorical", "ordinal"):
        refused(lambda name=name: rp.recipes.vae(6, likelihood=name), name, "needs")
    refused(lambda: rp.recipes.vae(6, likelihood="poison"), "did you mean 'poisson'")
