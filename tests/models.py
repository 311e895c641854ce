"""Models whose answers are known in closed form, and parts that reparam has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, MultivariateNormal

import reparam as rp


class Function(nn.Module):
    """A network that is a given function of its input."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: Tensor) -> Tensor:
        return self.function(*given)


class Constant(nn.Module):
    """A network that gives the same output, a parameter, for each row of its input (..., *event of ``dims``)."""

    def __init__(self, value: Tensor, dims: int = 1) -> None:
        super().__init__()
        self.value, self.dims = nn.Parameter(value.clone()), dims

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        return self.value.expand(*x.shape[: x.dim() - self.dims], *self.value.shape)


class LaplacePosterior(rp.Conditional):
    """A posterior that is not Gaussian: independent Laplace; net gives D means, then D log-scales."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, *c: Tensor) -> Distribution:
        mean, log_scale = self.net(x).chunk(2, -1)
        return Independent(Laplace(mean, log_scale.exp()), 1)


class FullPrior(rp.Conditional):
    """A prior that is an unmodified torch MultivariateNormal."""

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.mean, self.factor = nn.Parameter(mean), nn.Parameter(factor)

    def forward(self, *c: Tensor) -> Distribution:
        return MultivariateNormal(self.mean, scale_tril=self.factor.tril())


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I), x = W z + b + s eps: the marginal and the posterior are Gaussian, and known."""

    w: Tensor
    b: Tensor
    s: float

    @staticmethod
    def random(dim: int, size: int, seed: int, s: float = 0.7, gain: float = 1.0) -> LinearGaussian:
        generator = torch.Generator().manual_seed(seed)
        w, b = (torch.randn(*shape, generator=generator) for shape in ((size, dim), (size,)))
        return LinearGaussian(gain * w, b, s)

    @property
    def dim(self) -> int:
        return self.w.shape[1]

    @property
    def precision(self) -> Tensor:
        """P, the precision of p(z|x), the same for every x."""
        return torch.eye(self.dim) + self.w.T @ self.w / self.s**2

    @property
    def marginal(self) -> MultivariateNormal:
        covariance = self.w @ self.w.T + self.s**2 * torch.eye(len(self.b))
        return MultivariateNormal(self.b, covariance)

    def log_p(self, x: Tensor) -> Tensor:
        return self.marginal.log_prob(x)

    @property
    def mean_log_p(self) -> float:
        """E log p(x) over the model's own data: minus the entropy."""
        return -float(self.marginal.entropy())

    def mean(self, x: Tensor) -> Tensor:
        """The mean of p(z|x)."""
        return torch.linalg.solve(self.precision, ((x - self.b) @ self.w / self.s**2).mT).mT

    def data(self, n: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, self.dim, generator=generator)
        return z @ self.w.T + self.b + self.s * torch.randn(n, len(self.b), generator=generator)

    def kl(self, variance: Tensor) -> float:
        """KL of N(exact mean, diag variance) from p(z|x), which does not depend on x."""
        p = self.precision
        return float((variance * p.diagonal()).sum() - self.dim - variance.log().sum() - torch.logdet(p)) / 2

    def chi_square(self, variance: Tensor) -> float:
        """E_q[(w / p(x))²] - 1 for q = N(exact mean, diag variance): the variance of normalised weights."""
        p, q = self.precision, torch.diag(1 / variance)
        gap = 2 * p - q
        assert torch.linalg.eigvalsh(gap)[0] > 0, "the weights of this q have no variance"
        return math.exp(torch.logdet(p) - (torch.logdet(q) + torch.logdet(gap)) / 2) - 1

    def vae(self, posterior: nn.Module, prior: nn.Module | None = None) -> rp.VAE:
        net = nn.Linear(self.dim, len(self.b))
        net.load_state_dict({"weight": self.w, "bias": self.b})
        return rp.VAE(prior or rp.priors.StandardNormal(self.dim), rp.likelihoods.Gaussian(net, self.s), posterior)

    def exact(self) -> rp.VAE:
        """With p(z|x) itself as posterior."""
        factor = torch.linalg.cholesky(torch.linalg.inv(self.precision))
        net = Function(lambda x: rp.posteriors.FullGaussian.pack(self.mean(x), factor))
        return self.vae(rp.posteriors.FullGaussian(net))

    def diagonal(self, variance: Tensor | None = None) -> rp.VAE:
        """With the exact mean and a diagonal covariance: that of least KL unless given."""
        variance = 1 / self.precision.diagonal() if variance is None else variance
        net = Function(lambda x: torch.cat([self.mean(x), variance.log().expand(len(x), -1)], -1))
        return self.vae(rp.posteriors.DiagonalGaussian(net))

    def prior_as_posterior(self) -> rp.VAE:
        """With q(z|x) = p(z)."""
        return self.vae(rp.posteriors.DiagonalGaussian(Constant(torch.zeros(2 * self.dim))))


def cubature(q: Distribution) -> Tensor:
    """2D points (2D, B, D) whose plain mean is E_q[f] for every f of degree two or three, q Gaussian.

    They are mean ± sqrt(D) times the columns of a factor of the covariance. With a linear-Gaussian model every term
    of the ELBO is quadratic in z, and the bound that an objective reads from these "samples" is exact.
    """
    covariance = q.covariance_matrix if isinstance(q, MultivariateNormal) else torch.diag_embed(q.variance)
    steps = math.sqrt(q.mean.shape[-1]) * torch.linalg.cholesky(covariance).mT.movedim(-2, 0)
    return torch.cat([q.mean + steps, q.mean - steps])


def within(values: Tensor, truth: Tensor | float, se: float = 4.0, bias: float = 0.0) -> None:
    """The mean of independent ``values`` over the first dimension is ``truth`` to ``se`` standard errors, elementwise.

    For 4 standard errors a true statement fails with probability 6e-5 for each element, for 5 with 6e-7.
    ``bias`` is a known bound on what the values miss systematically.
    """
    error = values.std(0) / math.sqrt(len(values))
    gap = (values.mean(0) - truth).abs()
    # the constant leaves room for rounding where the values do not vary at all
    assert bool((gap <= se * error + bias + 1e-12).all()), f"{gap.max():.3g} off, {(gap / error).max():.1f} se"


def with_parameters(module: nn.Module, function: Callable[..., Tensor], step: float = 1e-6) -> bool:
    """torch's gradcheck of ``function(call)`` with respect to all parameters of ``module``.

    ``call(*given, **options)`` is the module with the parameters under test.
    """
    names, values = zip(*module.named_parameters(), strict=True)

    def of(*parameters: Tensor) -> Tensor:
        def call(*given: Tensor, **options: object) -> object:
            table = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(module, table, given, options)

        return function(call)

    inputs = tuple(v.detach().clone().requires_grad_() for v in values)
    return torch.autograd.gradcheck(of, inputs, eps=step)
