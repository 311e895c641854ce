"""A class that is known for some rows: exact answers where the posterior is known, the recipe M2, the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import reparam as rp
from models import Function, within
from refusals import refused as refuses
from reparam import posteriors, priors
from reparam.distributions import Known
from reparam.objectives import ELBO, IWAE, Penalized, Renyi, penalties
from test_cli import refused, run

# p(x|y, z) = N(W z + m_y, s² I); the columns are orthogonal, so that the elements of p(z|x, y) are independent
W = torch.tensor([[1.0, 0.4], [0.5, -0.8], [0.0, 0.6]], dtype=torch.float64)
MEANS = torch.tensor([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5], [-1.0, 1.0, 1.0]], dtype=torch.float64)
S = 0.7
CLASSES, DIM = 3, 2


def exact() -> rp.VAE:
    """q(y|x) and q(z|x, y) are the posteriors themselves."""
    variance = 1 / (1 + (W**2).sum(0) / S**2)

    def code(y: Tensor, x: Tensor, *label: Tensor) -> Tensor:
        mean = (x - y @ MEANS) @ W * variance / S**2
        return torch.cat([mean, variance.log().expand_as(mean)], -1)

    q_y = posteriors.Label(Function(log_p_given_classes), CLASSES)
    sizes = (CLASSES, DIM)
    return rp.VAE(
        priors.TopDown([priors.Label(CLASSES), priors.StandardNormal(DIM)], sizes),
        rp.likelihoods.Gaussian(Function(lambda z, *c: z[..., CLASSES:] @ W.T + z[..., :CLASSES] @ MEANS), S),
        posteriors.TopDown([q_y, posteriors.DiagonalGaussian(Function(code))], sizes),
    ).double()


def log_p_given_classes(x: Tensor) -> Tensor:
    """log p(x|y) for every y, (..., C)."""
    marginal = MultivariateNormal(MEANS, W @ W.T + S**2 * torch.eye(3, dtype=torch.float64))
    return marginal.log_prob(x.unsqueeze(-2))


def rows(n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Data, labels of the first half, and the exact log p(x|y) of the one half and log p(x) of the other."""
    torch.manual_seed(0)
    x = torch.randn(n, 3, dtype=torch.float64) * 2
    label = torch.zeros(n, CLASSES, dtype=torch.float64)
    label[torch.arange(n // 2), torch.arange(n // 2) % CLASSES] = 1
    each = log_p_given_classes(x)
    known = (label * each).sum(-1)
    return x, label, torch.where(label.sum(-1) > 0, known, each.logsumexp(-1) - math.log(CLASSES))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("objective", [lambda k: ELBO(k, estimator="A"), IWAE, lambda k: Renyi(0.5, k)])
def test_at_the_exact_posterior_every_bound_is_the_evidence_whatever_the_noise(objective, k):
    """Of x given y where y is known, and of x where it is not: to rounding, since every weight is the evidence."""
    vae, (x, label, evidence) = exact(), rows()
    draw = vae(x, label, k=k)
    assert draw.z.shape == (k * CLASSES, len(x), CLASSES + DIM)
    torch.testing.assert_close(objective(k).bound(draw), evidence, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("double")
def test_the_elbo_by_layers_has_the_evidence_as_its_mean():
    """With the KL of z in closed form the bound is noisy, without bias: 4 standard errors of 4000 draws, 6e-5 a row."""
    vae, (x, label, evidence) = exact(), rows()
    bounds = torch.stack([ELBO(4).bound(vae(x, label)) for _ in range(1000)])
    within(bounds, evidence)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("method", ["importance", "prior", "mixture"])
def test_evaluation_agrees_with_the_evidence(method):
    """Importance weights at the exact posterior are constant; from the prior they are noisy: 4.5 standard errors."""
    vae, (x, label, evidence) = exact(), rows()
    found = rp.evaluate.log_likelihood(vae, rp.Dataset(x, contexts=(label,)), k=20_000, method=method)
    if method == "importance":
        torch.testing.assert_close(found.per_datum, evidence, rtol=0, atol=1e-9)
    else:
        torch.testing.assert_close(found.per_datum, evidence, rtol=0, atol=0.25)


@pytest.mark.usefixtures("double")
def test_a_known_class_is_that_class_in_draws_samples_and_means():
    vae, (x, label, _) = exact(), rows()
    for q in (vae.posterior(x, label), vae.prior(label)):
        z = q.sample((50,))
        assert bool((z[:, :3, :CLASSES] == label[:3]).all())
        assert len(z[:, 3:, :CLASSES].flatten(0, 1).unique(dim=0)) == CLASSES
    torch.testing.assert_close(vae.encode(x, label)[:3, :CLASSES], label[:3])
    free = vae.encode(x, label)[3:, :CLASSES]
    torch.testing.assert_close(free, log_p_given_classes(x[3:]).softmax(-1))
    # reconstruction is of a possible z: a class, and the code given that class
    q = vae.posterior(x, label)
    y = torch.nn.functional.one_hot(q.first.mean.argmax(-1), CLASSES).double()
    torch.testing.assert_close(vae.reconstruct(x, label), vae.decode(torch.cat([y, q.steps[0](y).mean], -1)))


@pytest.mark.usefixtures("double")
def test_the_penalty_is_the_cross_entropy_of_the_rows_with_a_class():
    vae, (x, label, _) = exact(), rows()
    draw = vae(x, label)
    log_q = log_p_given_classes(x).log_softmax(-1)
    torch.testing.assert_close(penalties.Classification()(draw, 6), -(log_q[:3] * label[:3]).sum(-1).mean())
    assert float(penalties.Classification()(vae(x[3:], label[3:]), 3)) == 0
    plain = rp.recipes.vae(3, 2, likelihood="gaussian")
    refuses(lambda: penalties.Classification()(plain(x), 6), "labels", "posteriors.Label")


@pytest.mark.usefixtures("double")
def test_gradients_are_those_of_the_sum_over_classes():
    """The gradient of the bound by q(y|x)'s logits is that of Σ_y q(y|x) (log p(x|y) - log q(y|x)), to rounding."""
    x, _, _ = rows()
    logits = torch.randn(len(x), CLASSES, dtype=torch.float64, requires_grad=True)
    vae = exact()
    vae.posterior.layers[0].net = Function(lambda x: logits)
    bound = ELBO(2, estimator="A").bound(vae(x, torch.zeros(len(x), CLASSES)))
    log_q = logits.log_softmax(-1)
    direct = (log_q.exp() * (log_p_given_classes(x) - math.log(CLASSES) - log_q)).sum(-1)
    torch.testing.assert_close(bound, direct)
    (found,) = torch.autograd.grad(bound.sum(), logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(direct.sum(), logits)
    torch.testing.assert_close(found, wanted)


def test_what_is_no_label_is_refused():
    model = rp.recipes.m2(4, 2, context=3, hidden=(8,)).vae
    x = torch.ones(2, 4)
    refuses(lambda: model(x, torch.ones(2, 2)), "3 classes", "shape (2, 2)")
    refuses(lambda: model(x, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])), "row 0", "neither one-hot")
    refuses(lambda: rp.recipes.m2(4), "context")
    refuses(lambda: rp.recipes.m2(4, context=3, posterior="full"), "model M2", "leave them out")
    refuses(lambda: posteriors.Label(nn.Identity(), 1), "classes")
    refuses(lambda: posteriors.Label(nn.Identity(), 3)(torch.ones(2, 4)), "3 outputs")
    refuses(
        lambda: rp.evaluate.log_likelihood(model, rp.Dataset(x, contexts=(torch.zeros(2, 3),)), method="ais"), "codes"
    )


def crosses(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes of 8 bits, each a pattern of four bits that is there or not, under a code of two coins."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=generator)
    z = torch.randint(2, (n, 2), generator=generator)
    base = torch.stack([y, y, y, 1 - y], 1).float()
    x = torch.cat([base, z.repeat(1, 2).float()], 1)
    return (x - (torch.rand(n, 8, generator=generator) < 0.05).float()).abs(), y


def test_few_labels_name_the_classes_that_the_data_show():
    """8 labels among 512 rows; chance is a half, and a wrong naming of the two clusters would be near 0."""
    torch.manual_seed(0)
    x, y = crosses(512, 1)
    label = torch.nn.functional.one_hot(y, 2).float()
    label[8:] = 0
    model, objective = rp.recipes.m2(8, 2, context=2, hidden=(32,), features=16, weight=10.0)
    assert isinstance(objective, Penalized)
    rp.fit(model, x, contexts=(label,), objective=objective, epochs=40, batch_size=64, lr=1e-2, progress=False)
    new, true = crosses(500, 2)
    chosen = model.encode(new, torch.zeros(500, 2))[:, :2].argmax(-1)
    assert float((chosen == true).float().mean()) > 0.9
    drawn = model.sample(400, torch.eye(2)[[0, 1]].repeat_interleave(200, 0), mean=True)
    assert float(drawn[:200, 0].mean()) < 0.3
    assert float(drawn[200:, 0].mean()) > 0.7


def test_a_model_of_labels_is_saved_and_compiled_steps_agree(tmp_path):
    torch.manual_seed(0)
    x, y = crosses(64, 1)
    label = torch.nn.functional.one_hot(y, 2).float() * (torch.arange(64) % 2)[:, None]
    model, objective = rp.recipes.m2(8, 2, context=2, hidden=(8,), features=8)
    rp.fit(
        model, x, contexts=(label,), objective=objective, epochs=2, batch_size=32, out=tmp_path / "run", progress=False
    )
    data = rp.Dataset(x, contexts=(label,))
    scores = rp.evaluate.log_likelihood(model, data, k=5).per_datum
    assert torch.equal(rp.evaluate.log_likelihood(rp.load(tmp_path / "run"), data, k=5).per_datum, scores)
    part = rp.evaluate.log_likelihood(model, data[[3, 40]], k=5).per_datum
    torch.testing.assert_close(part, scores[[3, 40]], rtol=1e-5, atol=1e-5)
    assert isinstance(model.posterior(x, label).first, Known)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Two columns of numbers whose places tell the kind, known for a tenth of 300 rows."""
    path = tmp_path_factory.mktemp("data") / "table.csv"
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = rng.normal(size=(300, 2)) + 6 * y[:, None]
    known = [("left", "right")[k] if i < 30 else "" for i, k in enumerate(y)]
    path.write_text("a,kind,b\n" + "".join(f"{a},{k},{b}\n" for (a, b), k in zip(x, known, strict=True)))
    np.save(path.with_name("y.npy"), y)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [
        "--recipe",
        "m2",
        "--context",
        "kind",
        "--latent-dim",
        "1",
        "--hidden",
        "16",
        "--epochs",
        "40",
        "--lr",
        "0.01",
    ]
    assert run("train", table, "--out", folder, *words) == 0
    return folder


def test_the_command_classifies_rows_without_the_column_and_samples_a_class(table, trained, tmp_path, capsys):
    lines = [line.split(",") for line in table.read_text().splitlines()]
    bare = tmp_path / "bare.csv"
    bare.write_text("".join(f"{a},{b}\n" for a, _, b in lines))
    assert run("encode", trained, bare, "--out", tmp_path / "z.npy") == 0
    chosen = np.load(tmp_path / "z.npy")[:, :2].argmax(1)
    assert (chosen == np.load(table.with_name("y.npy"))).mean() > 0.95
    means = []
    for more in (["--given", "kind=left"], ["--given", "kind=right"], []):
        assert run("sample", trained, "-n", 500, "--out", tmp_path / "s.csv", *more) == 0
        means.append(np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1).mean())
    assert means[0] < 1.5 < 1.5 + 1 < means[2] < 4.5 < means[1]
    capsys.readouterr()
    assert run("evaluate", trained, table, "--k", 50, "--json") == 0
    assert math.isfinite(json.loads(capsys.readouterr().out)["log_likelihood"])


def test_labels_that_make_no_classes_are_refused(table, trained, tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("a,kind,b\n" + "1,up,2\n" * 4)
    assert "never saw" in refused(capsys, "score", trained, other, "--out", tmp_path / "s.npy")
    out = ["--out", tmp_path / "run"]
    assert "1 different value" in refused(capsys, "train", other, *out, "--recipe", "m2", "--context", "kind")
    assert "2 labels" in refused(capsys, "train", table, *out, "--recipe", "m2", "--context", "kind,a")
    bare = tmp_path / "bare.csv"
    bare.write_text("a,b\n1,2\n3,4\n")
    assert "--context" in refused(capsys, "train", bare, *out, "--recipe", "m2")
    # of other models a context is no label: every row has it
    assert "row 30" in refused(capsys, "train", table, *out, "--recipe", "cvae", "--context", "kind")
