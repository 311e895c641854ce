"""Likelihoods by name: how each is made from a net and the options of :func:`reparam.recipes.vae`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reparam import likelihoods

Options = Mapping[str, Any]  # what `vae` was asked for, None where the family decides; `shape` is that of a datum


class Family(NamedTuple):
    """How a likelihood is made from a net, and the decoder's output at which its mean is a given datum, if one is."""

    make: Callable[[nn.Module, Options], likelihoods.Likelihood | likelihoods.ZeroInflated | likelihoods.Mixed]
    start: Callable[[Tensor, Options], Tensor] | None = None


def _family(cls: Callable[..., Any], *names: str, **fixed: Any) -> Callable[[nn.Module, Options], Any]:
    """The class, with those options that were given; a kind of its second parameter comes with the shape."""

    def make(net: nn.Module, options: Options) -> Any:
        given = {n: options[n] for n in names if options[n] is not None}
        if any(isinstance(given.get(n), str) for n in ("scale", "dispersion")):
            given["event_shape"] = options["shape"]
        return cls(net, **given, **fixed)

    return make


def _inflated(inner: Callable[[nn.Module, Options], Any]) -> Callable[[nn.Module, Options], Any]:
    return lambda net, options: likelihoods.ZeroInflated(inner(net, options))


def _logit(mean: Tensor, options: Options) -> Tensor:
    return torch.logit((mean / (options["total"] or 1)).clamp(0.001, 0.999))


def _log(mean: Tensor, options: Options) -> Tensor:
    return mean.clamp_min(1e-3).log()


def _same(mean: Tensor, options: Options) -> Tensor:
    return mean


_poisson = _family(likelihoods.Poisson, "exposure")
_negative_binomial = _family(likelihoods.NegativeBinomial, "dispersion", "exposure")
LIKELIHOODS = {
    "bernoulli": Family(_family(likelihoods.Bernoulli), _logit),
    "continuous_bernoulli": Family(_family(likelihoods.ContinuousBernoulli), _logit),
    "gaussian": Family(_family(likelihoods.Gaussian, "scale"), _same),
    "laplace": Family(_family(likelihoods.Laplace, "scale"), _same),
    "student_t": Family(_family(likelihoods.StudentT, "scale"), _same),
    "log_normal": Family(_family(likelihoods.LogNormal, "scale"), _log),
    "beta": Family(_family(likelihoods.Beta), _logit),
    "poisson": Family(_poisson, _log),
    "negative_binomial": Family(_negative_binomial, _log),
    "zero_inflated_poisson": Family(_inflated(_poisson), _log),
    "zero_inflated_negative_binomial": Family(_inflated(_negative_binomial), _log),
    "binomial": Family(_family(likelihoods.Binomial, "total"), _logit),
    "categorical": Family(_family(likelihoods.Categorical, "classes")),
    "ordinal": Family(_family(likelihoods.Ordinal, "classes")),
    "multinomial": Family(_family(likelihoods.Multinomial, "total"), _log),
    "discretized_logistic": Family(_family(likelihoods.DiscretizedLogistic, "scale", "levels"), _same),
    "discretized_logistic_mixture": Family(
        _family(likelihoods.MixtureOfDiscretizedLogistics, "components", "levels"),
    ),
}
EXPOSED = ("poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial")
MIXTURES = ("discretized_logistic_mixture",)
UNIT = ("bernoulli", "continuous_bernoulli", "beta", "discretized_logistic", "discretized_logistic_mixture")
STANDARDIZED = REAL = ("gaussian", "laplace", "student_t")  # real data, which may be standardised inside the model
LOGARITHMIC = (  # counts and positive data of many sizes: the encoder reads log(1 + x)
    "log_normal",
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "zero_inflated_negative_binomial",
    "multinomial",
)
NEEDED = {"binomial": "total", "categorical": "classes", "ordinal": "classes"}
