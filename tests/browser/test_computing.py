"""What the page computes is what torch computes: every layer and option of the networks, every density."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Page
from torch import Tensor, nn
from watching import Watched

from models import Function
from reparam import likelihoods, networks, posteriors, priors
from reparam.explorer import heads
from reparam.explorer.program import Weights, program
from rows_likelihoods import LIKELIHOODS
from rows_posteriors import POSTERIORS

CLOSE = 1e-5  # relative to the largest number: float32 on both sides
OPTIONS = [
    {}, {"residual": True}, {"gated": True}, {"norm": True},
    {"residual": True, "gated": True, "norm": True, "context": 3},
]  # fmt: skip


@pytest.fixture(scope="module")
def page(browser, digits_page: str) -> Iterator[Page]:
    context = browser.new_context()
    yield Watched(context).open(digits_page)
    context.close()


def numbers(t: Tensor) -> list[float]:
    return t.detach().double().reshape(-1).tolist()


def run(page: Page, net: nn.Module, x: Tensor, c: Tensor) -> Tensor:
    weights = Weights()
    ops, size = program(net, x.shape[1:], weights, c.shape[1])
    out = page.evaluate(
        """([ops, w, x, rows, c]) => Array.from(reparam.library.run(ops, Float32Array.from(w), Float32Array.from(x),
           rows, Float32Array.from(c)))""",
        [ops, weights.buffer().tolist(), numbers(x), len(x), numbers(c)],
    )
    return torch.tensor(out, dtype=torch.float64).reshape(len(x), size)


def same(page: Page, net: nn.Module, shape: tuple[int, ...], context: int = 0) -> None:
    for p in net.parameters():  # away from zeros and ones
        p.data += 0.3 * torch.randn_like(p)
    x, c = torch.randn(3, *shape), torch.randn(3, context)
    with torch.no_grad():
        expected = net(x, *([c] if context else [])).reshape(3, -1).double()
    assert (run(page, net, x, c) - expected).abs().max() <= CLOSE * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_every_activation(page: Page, activation: str) -> None:
    same(page, networks.mlp((3, 4), (2, 5), (7, 7), activation), (3, 4))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_of_a_perceptron(page: Page, options: dict) -> None:
    given = {**options, **({"norm": "layer"} if "norm" in options else {})}
    same(page, networks.mlp(6, 5, (8, 8, 9), **given), (6,), options.get("context", 0))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(9, 10), (3, 8, 8), (8, 8, 3)], ids=str)
def test_every_option_of_convolutions(page: Page, shape: tuple[int, ...], options: dict) -> None:
    given = {**options, **({"norm": "group"} if "norm" in options else {})}
    same(page, networks.conv(shape, 6, (8, 16), **given), shape, options.get("context", 0))
    same(page, networks.conv(6, shape, (8, 16), prefix=(2,), **given), (6,), options.get("context", 0))


@pytest.mark.parametrize("context", [0, 2])
def test_convolutions_whose_code_is_a_feature_map(page: Page, context: int) -> None:
    same(page, networks.conv((8, 8, 3), 12, (8, 16), dense=False, context=context), (8, 8, 3), context)
    same(page, networks.conv(12, (8, 8), (8, 16), dense=False, context=context), (12,), context)


def test_wrappers_and_layers_of_torch(page: Page) -> None:
    inner = networks.mlp(3, 4, (5,))
    same(page, networks.Rescale(inner, torch.randn(3), torch.rand(3) + 0.5), (3,))
    same(page, networks.Lowest(inner, 3), (7,))
    same(page, nn.Sequential(nn.Softplus(), networks.Log1p(inner)), (3,))
    same(page, nn.Sequential(
        nn.Unflatten(-1, (3, 4)), nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.Mish(), nn.Flatten(), nn.Linear(8, 4),
        nn.Softsign(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Dropout().eval(), nn.GELU("tanh"),
    ), (12,))  # fmt: skip
    same(page, nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), dilation=(1, 2), groups=2, padding=1),
        nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2, dilation=2, output_padding=1), nn.GroupNorm(2, 4),
    ), (4, 5, 6))  # fmt: skip


def test_the_cells_of_a_table_and_their_floor(page: Page) -> None:
    classes = [3, 0, 1, 2, 0]
    loc, spread = torch.tensor([0.0, 0.5, 1.0, 0.0, -1.0]), torch.tensor([1.0, 2.0, 0.5, 1.0, 0.1])
    x = torch.tensor([[2, 1.5, 4, 0, 30.0], [0, math.nan, math.nan, 1, -2], [math.nan] * 5])
    for mask in (True, False):
        size = networks.Cells.features(classes, mask)
        net = networks.Cells(networks.mlp(size, 4, (6,)), classes, loc, spread, mask)
        with torch.no_grad():
            expected = net(x).double()
        assert (run(page, net, x, torch.zeros(3, 0)) - expected).abs().max() <= CLOSE
    same(page, networks.Floored(nn.Unflatten(-1, (3, 2)), 1, torch.tensor([-1.0, 0.5])), (6,))


def with_output(likelihood: nn.Module, out: Tensor, shape: tuple[int, ...]) -> nn.Module:
    """The likelihood at this output of its net, in double precision, so that densities alone are compared."""
    inside: Any = likelihood
    while not hasattr(inside, "net"):
        inside = getattr(inside, "inner", None) or inside.likelihood
    inside.net = Function(lambda z: out.reshape(len(out), *shape))
    return likelihood.double()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_have_the_densities_and_means_of_torch(page: Page, name: str) -> None:
    """And draws of the page have the mean of the distribution, within 6 standard errors: fails once in 1e7."""
    row, rows, times = LIKELIHOODS[name], 4, 3000
    likelihood, z = row.make().eval(), torch.randn(rows, 2)
    with torch.no_grad():
        x = likelihood(z).sample()
    weights = Weights()
    table = heads.decoder(likelihood, (2,), 2, weights, ())
    found = page.evaluate(
        """([table, w, z, x, rows, times]) => {
          w = Float32Array.from(w);
          const px = reparam.library.likelihood(table.head, w), random = new reparam.library.Random(5),
            out = reparam.library.run(table.ops, w, Float32Array.from(z), rows), each = out.length / rows;
          const log = [], mean = [], drawn = [], one = new Float64Array(2);
          for (let r = 0; r < rows; r++) {
            log.push(px.log(out, r * each, x, 2 * r));
            const m = new Float64Array(2), sum = new Float64Array(2);
            px.mean(out, r * each, m, 0);
            mean.push(...m);
            for (let i = 0; i < times; i++) {
              px.draw(out, r * each, one, 0, random);
              sum[0] += one[0]; sum[1] += one[1];
            }
            drawn.push(sum[0] / times, sum[1] / times);
          }
          return { out: Array.from(out), log, mean: mean.map((v) => (Number.isNaN(v) ? null : v)), drawn };
        }""",
        [table, weights.buffer().tolist(), numbers(z), numbers(x), rows, times],
    )
    got = {
        key: torch.tensor([math.nan if v is None else v for v in values], dtype=torch.float64)
        for key, values in found.items()
    }
    with torch.no_grad():
        d = with_output(likelihood, got["out"].reshape(rows, -1), row.shape)(z.double())
        assert torch.allclose(got["log"], d.log_prob(x.double()), rtol=1e-5, atol=1e-5)
        assert torch.allclose(got["mean"], d.mean.reshape(-1), rtol=CLOSE, atol=CLOSE, equal_nan=True)
        sd = d.variance.sqrt().reshape(-1)
    if bool(sd.isfinite().all()):
        assert bool(((got["drawn"] - got["mean"]).abs() <= 6 * sd / times**0.5 + 1e-9).all())


@pytest.mark.parametrize("inflated", [False, True])
@pytest.mark.parametrize("family", [likelihoods.Poisson, likelihoods.NegativeBinomial])
def test_an_exposure_multiplies_the_rate_and_no_network_reads_it(page: Page, family: Any, inflated: bool) -> None:
    """As in models of cells: contexts of a batch, then a size, which the encoder leaves out and the head reads."""
    shape, batch, sizes = (2, 3) if inflated else (3,), torch.eye(2)[[0, 1, 1]], torch.tensor([[0.5], [1.0], [7.0]])
    likelihood = family(networks.mlp(2, shape, (5,), context=2), exposure=True)
    likelihood = (likelihoods.ZeroInflated(likelihood) if inflated else likelihood).eval()
    encoder = posteriors.DiagonalGaussian(networks.WithoutLast(networks.mlp(3, 4, (5,), context=2)))
    z, weights = torch.randn(3, 2), Weights()
    with torch.no_grad():
        d = likelihood(z, batch, sizes)
        x = d.sample()
        code = encoder(x, batch, sizes).mean
    tables = [heads.decoder(likelihood, (3,), 2, weights, [2, 1]), heads.encoder(encoder, (3,), 2, weights, [2, 1])]
    log, mean, encoded = page.evaluate(
        """([[decoder, encoder], w, z, x, c]) => {
          const { run, likelihood } = reparam.library, m = new Float64Array(9);
          [w, z, x, c] = [w, z, x, c].map((v) => Float32Array.from(v));
          const px = likelihood(decoder.head, w), out = run(decoder.ops, w, z, 3, c), each = out.length / 3;
          for (const r of [0, 1, 2]) px.mean(out, r * each, m, 3 * r);
          const log = [0, 1, 2].map((r) => px.log(out, r * each, x, 3 * r));
          return [log, Array.from(m), Array.from(run(encoder.ops, w, x, 3, c))];
        }""",
        [tables, weights.buffer().tolist(), numbers(z), numbers(x), numbers(torch.cat([batch, sizes], 1))],
    )
    assert torch.allclose(torch.tensor(log), d.log_prob(x), rtol=CLOSE, atol=CLOSE)
    assert torch.allclose(torch.tensor(mean).reshape(3, 3), d.mean, rtol=CLOSE, atol=CLOSE)
    assert torch.allclose(torch.tensor(encoded).reshape(3, 4)[:, :2], code, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("name", ["DiagonalGaussian", "FullGaussian", "LowRankGaussian", "Laplace", "Point"])
def test_posteriors_have_the_densities_and_moments_of_torch(page: Page, name: str) -> None:
    posterior = POSTERIORS[name].make().eval()
    assert isinstance(posterior, posteriors.Posterior)
    x = torch.randn(3, 2)
    with torch.no_grad():
        q = posterior(x)
        z = q.sample()
    weights = Weights()
    table = heads.encoder(posterior, (2,), 2, weights, ())
    found = page.evaluate(
        """([table, w, x, z]) => {
          const out = reparam.library.run(table.ops, Float32Array.from(w), Float32Array.from(x), 3);
          return [0, 1, 2].map((r) => {
            const q = reparam.library.posterior(table, out, r * table.size);
            return [...q.mean, ...q.sd, q.covariance(0, 1), q.log ? q.log(z, 2 * r) : 0];
          });
        }""",
        [table, weights.buffer().tolist(), numbers(x), numbers(z)],
    )
    got = torch.tensor(found, dtype=torch.float64)
    off = q.covariance_matrix[:, 0, 1] if hasattr(q, "covariance_matrix") else torch.zeros(3)
    log = torch.zeros(3) if name == "Point" else q.log_prob(z)
    expected = torch.cat([q.mean, q.variance.sqrt(), off[:, None], log[:, None]], 1).double()
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_priors_have_the_densities_of_torch(page: Page) -> None:
    vamp = priors.VampPrior(posteriors.DiagonalGaussian(networks.mlp(4, 4, (5,))), 6, (4,))
    factor = torch.tensor([[0.5, 0.0], [-1.0, 2.0]])
    made = [priors.StandardNormal(2), priors.Gaussian(torch.tensor([1.0, -2.0]), scale_tril=factor), vamp]
    mixture = priors.Mixture(2, 3)
    mixture.log_scales.data.normal_()
    for prior in [*made, mixture]:
        weights, z = Weights(), torch.randn(5, 2)
        table = heads.prior(prior, weights)
        found = page.evaluate(
            """([table, w, z]) => { const p = reparam.library.prior(table, Float32Array.from(w));
               return { log: [0, 1, 2, 3, 4].map((i) => p.log(z, 2 * i)), mean: [...p.mean], sd: [...p.sd],
                 quantiles: [0.03, 0.3, 0.5, 0.9].map((q) => p.quantile(q, 1)) }; }""",
            [table, weights.buffer().tolist(), numbers(z)],
        )
        with torch.no_grad():
            p = prior()
            found = {name: torch.tensor(values, dtype=torch.float32) for name, values in found.items()}
            assert torch.allclose(found["log"], p.log_prob(z), rtol=1e-4, atol=1e-5)
            assert torch.allclose(found["mean"], p.mean, atol=1e-5)
            assert torch.allclose(found["sd"], p.variance.sqrt(), atol=1e-5)
            below = (p.sample((40_000,))[:, 1, None] <= found["quantiles"]).double().mean(0)
        expected = torch.tensor([0.03, 0.3, 0.5, 0.9], dtype=torch.float64)
        assert ((below - expected).abs() <= 6 * (expected * (1 - expected) / 40_000).sqrt()).all()
