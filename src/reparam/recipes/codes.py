"""Posteriors and priors by name: how each is made, what its net gives, and which prior a posterior has by default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reparam import posteriors, priors
from reparam.conditional import Conditional
from reparam.distributions import Delta
from reparam.errors import InputError, nearest
from reparam.priors.gaussian import latent_dim
from reparam.vae import check_latent

Options = Mapping[str, Any]  # latent options of `vae`, with the defaults of OPTIONS, and `dim`


class Code(NamedTuple):
    """A posterior by name: made from a net with ``outputs`` numbers; ``takes`` are the options that it reads."""

    make: Callable[[nn.Module, Options], posteriors.Posterior]
    outputs: Callable[[Options], int]
    prior: str = "standard_normal"
    takes: tuple[str, ...] = ()
    least: int = 1  # dimensions


class PriorCode(NamedTuple):
    """A prior by name: made for the posterior beside it; ``takes`` are the options that it reads."""

    make: Callable[[Conditional, Options], Conditional]
    takes: tuple[str, ...] = ()


class Latent(NamedTuple):
    """What stands between encoder and decoder: ``parts`` makes posterior and prior of an encoder with so many outputs.

    ``reading`` gives the decoder what it reads of z: for all of it, the decoder itself.
    """

    outputs: int
    parts: Callable[[nn.Module], tuple[Conditional, Conditional]]
    reading: Callable[[nn.Module], nn.Module] = lambda decoder: decoder


OPTIONS: dict[str, Any] = {
    "rank": 2, "transforms": 2, "flow_kind": "affine", "components": 10, "pseudo_inputs": 500, "concentration": 1.0,
    "latent_classes": None, "gradient": "gumbel",
}  # fmt: skip
_FLOW = ("transforms", "flow_kind")


def _plain(cls: Callable[[nn.Module], posteriors.Posterior]) -> Callable[[nn.Module, Options], posteriors.Posterior]:
    return lambda net, o: cls(net)


def _groups(o: Options) -> tuple[int, int]:
    """How many one-hot vectors of how many classes a latent of ``dim`` numbers is: one, unless the classes are given.

    Raises:
        InputError: for numbers that do not divide.
    """
    classes = o["dim"] if o["latent_classes"] is None else o["latent_classes"]
    if classes < 2 or o["dim"] % classes:
        raise InputError(
            f"a categorical latent of {o['dim']} numbers is made of one-hot vectors of latent_classes numbers, at "
            f"least 2, and {classes} does not divide it: choose a multiple as latent_dim"
        )
    return o["dim"] // classes, classes


POSTERIORS: dict[str, Code] = {
    "diagonal": Code(_plain(posteriors.DiagonalGaussian), lambda o: 2 * o["dim"]),
    "full": Code(_plain(posteriors.FullGaussian), lambda o: posteriors.FullGaussian.outputs(o["dim"])),
    "lowrank": Code(
        lambda net, o: posteriors.LowRankGaussian(net, o["rank"]),
        lambda o: posteriors.LowRankGaussian.outputs(o["dim"], o["rank"]),
        takes=("rank",),
    ),
    "laplace": Code(_plain(posteriors.Laplace), lambda o: 2 * o["dim"]),
    "flow": Code(
        lambda net, o: posteriors.Flow(net, o["dim"], o["dim"], o["transforms"], kind=o["flow_kind"]),
        lambda o: 3 * o["dim"],
        takes=_FLOW,
    ),
    "logistic_normal": Code(_plain(posteriors.LogisticNormal), lambda o: 2 * (o["dim"] - 1), "dirichlet", least=2),
    "dirichlet": Code(_plain(posteriors.Dirichlet), lambda o: o["dim"], "dirichlet", least=2),
    "gamma": Code(_plain(posteriors.Gamma), lambda o: 2 * o["dim"], "gamma"),
    "vmf": Code(_plain(posteriors.VonMisesFisher), lambda o: o["dim"] + 1, "sphere_uniform", least=2),
    "categorical": Code(
        lambda net, o: posteriors.Categorical(net, *_groups(o), gradient=o["gradient"]),
        lambda o: o["dim"],
        "categorical",
        takes=("latent_classes", "gradient"),
        least=2,
    ),
    "bernoulli": Code(
        lambda net, o: posteriors.Bernoulli(net, gradient=o["gradient"]),
        lambda o: o["dim"],
        "bernoulli",
        takes=("gradient",),
    ),
    "point": Code(_plain(posteriors.Point), lambda o: o["dim"]),
}


def _autoregressive(q: Conditional, o: Options) -> Conditional:
    """Over the bits or the one-hot vectors of the posterior."""
    return priors.Autoregressive(*(_groups(o) if isinstance(q, posteriors.Categorical) else (o["dim"],)))


PRIORS: dict[str, PriorCode] = {
    "standard_normal": PriorCode(lambda q, o: priors.StandardNormal(o["dim"])),
    "mixture": PriorCode(lambda q, o: priors.Mixture(o["dim"], o["components"]), ("components",)),
    "vamp": PriorCode(
        lambda q, o: priors.VampPrior(q, o["pseudo_inputs"], None, o["bounds"], o["pseudo_contexts"]),
        ("pseudo_inputs",),
    ),
    "flow": PriorCode(lambda q, o: priors.Flow(o["dim"], o["transforms"], kind=o["flow_kind"]), _FLOW),
    "dirichlet": PriorCode(lambda q, o: priors.Dirichlet(o["dim"], o["concentration"]), ("concentration",)),
    "gamma": PriorCode(lambda q, o: priors.Gamma(o["dim"], o["concentration"]), ("concentration",)),
    "sphere_uniform": PriorCode(lambda q, o: priors.SphereUniform(o["dim"])),
    "categorical": PriorCode(lambda q, o: priors.Categorical(*_groups(o)), ("latent_classes",)),
    "bernoulli": PriorCode(lambda q, o: priors.Bernoulli(o["dim"])),
    "autoregressive": PriorCode(_autoregressive, ("latent_classes",)),
}


def known(name: str, names: Iterable[str], what: str) -> None:
    """Refuse an unknown name.

    Raises:
        InputError: naming the nearest known one.
    """
    if name not in (names := list(names)):
        raise InputError(f"unknown {what} {name!r}: {nearest(name, names)}")


def latent_options(posterior: str, prior: str | None, given: Options, taken: Iterable[str] = ()) -> tuple[str, Options]:
    """The prior's name, and all options: those given, else their defaults. ``taken`` are read by the likelihood.

    Raises:
        InputError: for unknown names, and for an option that neither of the two reads.
    """
    known(posterior, POSTERIORS, "posterior")
    prior = POSTERIORS[posterior].prior if prior is None else prior
    known(prior, PRIORS, "prior")
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name in OPTIONS and name not in (*POSTERIORS[posterior].takes, *PRIORS[prior].takes, *taken):
            users = [f"the {what} {n}" for what, table in (("posterior", POSTERIORS), ("prior", PRIORS))
                     for n, entry in table.items() if name in entry.takes]  # fmt: skip
            raise InputError(
                f"the posterior {posterior} and the prior {prior} have no {name}: it is of {' and '.join(users)}"
            )
    return prior, {**OPTIONS, **given}


def named(posterior: str, prior: str, dim: int, options: Options) -> Latent:
    """The latents of these names, in ``dim`` dimensions.

    Raises:
        InputError: for too few dimensions.
    """
    code, options = POSTERIORS[posterior], {**options, "dim": latent_dim(dim, POSTERIORS[posterior].least)}
    return Latent(code.outputs(options), lambda encoder: pair(posterior, prior, encoder, options))


def pair(posterior: str, prior: str, encoder: nn.Module, options: Options) -> tuple[Conditional, Conditional]:
    """The posterior and the prior of these names.

    Raises:
        InputError: for two that live in different places, such as the plane and the sphere.
    """
    q = POSTERIORS[posterior].make(encoder, options)
    p = PRIORS[prior].make(q, options)
    z = q.read(torch.zeros(1, POSTERIORS[posterior].outputs(options)))
    try:
        if prior != "vamp":  # whose place is the posterior's own
            check_latent(z, p())
        elif isinstance(z, Delta):
            raise InputError("a mixture of the posterior at pseudo-inputs needs its density, and a point has none")
    except InputError as error:
        raise InputError(f"the posterior {posterior} and the prior {prior} do not go together: {error}") from None
    return q, p


def without_latents(what: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options without posterior and prior, which ``what`` brings itself; the usual names may be given.

    Raises:
        InputError: for other names.
    """
    if options.get("posterior", "diagonal") != "diagonal" or options.get("prior") not in (None, "standard_normal"):
        raise InputError(f"{what} has a prior and a posterior of its own, of diagonal Gaussians: leave them out")
    return {name: value for name, value in options.items() if name not in ("posterior", "prior")}


def draw_rows(x: Tensor, count: int, seed: int = 0) -> Tensor:
    """``count`` different rows of x, or all if it has fewer, drawn by the seed: pseudo-inputs for the prior "vamp".

    Shapes: x (N, ...) gives (min(count, N), ...).
    """
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:count].to(x.device)]
