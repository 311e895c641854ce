"""The variational autoencoder: three conditional distributions, and one draw from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints, kl_divergence

from reparam.distributions import (
    Codes,
    Codewords,
    Delta,
    Hierarchical,
    NormalVector,
    Quantized,
    Samples,
    centre,
    code_vectors,
    codes_of,
    element_support,
    kl_of_layers,
    own_draws,
    sphere,
    typical,
)  # fmt: skip
from reparam.errors import InputError
from reparam.numerics import log_mean_exp


class Draw:
    """What an objective may read: the distributions, K samples of z for each datum, and their log densities.

    Shapes: z (K, B, D); log_px, log_pz and log_qz (K, B), normalised, in nats. The last two are evaluated when they are
    first read, unless given: an ELBO with a closed form of KL needs neither, and they cost a twelfth of a small step.

    ``log_shares`` (K, B) are the logarithms of the shares with which the samples stand for q: ``mean`` and
    ``log_mean_exp`` weigh by them, and so does everything that reads a draw. None stands for 1/K each. Where all values
    of a discrete z are listed with their probabilities, means are expectations. ``likelihood`` and ``contexts``
    (B, ...) are what log_px was made by. ``dream`` is a draw from the model itself, (1, B, D), for those objectives
    that ask for one.

    Values are always those at z. Where a relaxation of z carries gradients, it carries nothing else.
    """

    dream: Draw | None = None

    def __init__(
        self,
        q: Distribution,
        p: Distribution,
        z: Tensor,
        log_px: Tensor,
        log_pz: Tensor | None = None,
        log_qz: Tensor | None = None,
        log_shares: Tensor | None = None,
        likelihood: nn.Module | None = None,
        contexts: tuple[Tensor, ...] = (),
    ) -> None:
        self.q, self.p, self.z, self.log_px = q, p, z, log_px
        self.log_shares, self._likelihood, self.contexts = log_shares, likelihood, contexts
        if log_pz is not None:
            self.log_pz = log_pz
        if log_qz is not None:
            self.log_qz = log_qz

    def __iter__(self) -> Iterator[Distribution | Tensor]:
        return iter((self.q, self.p, self.z, self.log_px, self.log_pz, self.log_qz))

    @property
    def likelihood(self) -> nn.Module:
        """The module p(x|z) that the draw was made by.

        Raises:
            InputError: for a draw that was made by hand, without one.
        """
        if self._likelihood is None:
            raise InputError("this draw does not know its likelihood: make it by the VAE, or give it likelihood=")
        return self._likelihood

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z) at other samples z (K, B, D), by the same likelihood and contexts."""
        p_x: Distribution = self.likelihood(z, *(t.expand(z.shape[0], *t.shape) for t in self.contexts))
        return p_x

    @cached_property
    def log_pz(self) -> Tensor:
        """log p(z) of each sample, (K, B), in nats."""
        return self.p.log_prob(self.z)

    @cached_property
    def log_qz(self) -> Tensor:
        """log q(z|x) of each sample, (K, B), in nats."""
        return self.q.log_prob(self.z)

    @property
    def log_w(self) -> Tensor:
        """Log importance weights log p(x, z) - log q(z|x), (K, B), in nats."""
        return self.log_px + self.log_pz - self.log_qz

    @property
    def shares(self) -> Tensor | None:
        """The shares with which the samples stand for q, (K, B), or None for 1/K each."""
        return None if self.log_shares is None else self.log_shares.exp()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of values at the samples, (K, ...) to (...), by their shares: unbiased for the mean under q."""
        shares = self.shares
        return values.mean(0) if shares is None else (shares * values).sum(0)

    def log_mean_exp(self, log_values: Tensor) -> Tensor:
        """log of the mean of exp(log_values) by the shares of the samples, (K, ...) to (...), without overflow."""
        return log_mean_exp(log_values) if self.log_shares is None else (log_values + self.log_shares).logsumexp(0)

    @property
    def weights(self) -> Tensor:
        """The importance weights, normalised over the samples, (K, B), without gradient."""
        log_w = self.log_w.detach()
        return (log_w if self.log_shares is None else log_w + self.log_shares.detach()).softmax(0)

    @property
    def has_path(self) -> bool:
        """Whether gradients reach q through the samples or their shares, if with a bias: else the score is needed."""
        return self.q.has_rsample or self.log_shares is not None or self.z.requires_grad

    @cached_property
    def kl_exact(self) -> Tensor | None:
        """KL(q || p) of each datum, (B,), in nats, or None where no closed form is registered."""
        try:
            kl = kl_divergence(self.q, self.p)
        except NotImplementedError:
            return None
        return kl.expand(self.log_px.shape[1:])

    @cached_property
    def kl_layers(self) -> Tensor | None:
        """What each layer of a hierarchy adds to the KL, (L, B), the top layer first, in nats; None for other latents.

        Means over the samples: of KL(q(z_l | z_above) || p(z_l | z_above)) in closed form for top-down posteriors.
        """
        layers = kl_of_layers(self.q, self.p, self.z)
        if layers is None or (shares := self.shares) is None:
            return None if layers is None else layers.mean(1)
        return (shares * layers).sum(1)

    @property
    def kl_monte_carlo(self) -> Tensor:
        """The mean of log q(z|x) - log p(z) over the samples, (B,), in nats: unbiased for KL(q || p)."""
        return self.mean(self.log_qz - self.log_pz)

    @property
    def kl(self) -> Tensor:
        """KL(q || p), (B,), in nats: in closed form, of a hierarchy by its layers, else by Monte Carlo."""
        if (exact := self.kl_exact) is not None:
            return exact
        return self.kl_monte_carlo if self.kl_layers is None else self.kl_layers.sum(0)

    @cached_property
    def reconstruction(self) -> Tensor:
        """The mean of log p(x|z) over the samples, (B,), in nats: unbiased for E_q[log p(x|z)]."""
        return self.mean(self.log_px)


class VAE(nn.Module):
    """A latent-variable model p(x|z) p(z) with its approximate posterior q(z|x).

    Each part is a :class:`Conditional`, or any module that returns a ``torch.distributions.Distribution`` with the
    shapes that Conditional names.

    Raises:
        TypeError: for a part that is no module.
        InputError: for a posterior and a prior that live in different places, as far as they can tell without data.
    """

    def __init__(self, prior: nn.Module, likelihood: nn.Module, posterior: nn.Module) -> None:
        super().__init__()
        for role, part in (("prior", prior), ("likelihood", likelihood), ("posterior", posterior)):
            if not isinstance(part, nn.Module):
                raise TypeError(
                    f"the {role} must be a module that returns a distribution, such as "
                    f"reparam.{'priors.StandardNormal' if role == 'prior' else role + 's'}; got {type(part).__name__}"
                )
        self.prior, self.likelihood, self.posterior = prior, likelihood, posterior
        _check_places(posterior, prior)
        self.register_state_dict_post_hook(_once)
        self.register_load_state_dict_pre_hook(_everywhere)

    def forward(self, x: Tensor, *c: Tensor, k: int = 1, check: bool = True, seen: Tensor | None = None) -> Draw:
        """K reparameterized samples of z for each datum, and everything known about them.

        A posterior may draw in its own way (``draws(k)`` of its distribution): discrete ones may list all values.
        Shapes: x (B, *event), contexts (B, ...); the draw holds z (K, B, D). ``check=False`` spares the look at the
        support, for loops that have checked their data once. ``seen`` is what the encoder reads in place of x, such as
        a corrupted copy: the likelihood scores x all the same, and log_qz is that of q(z|seen).

        Raises:
            InputError: if x has another shape than the likelihood's, or values outside its support; if the posterior
                lives elsewhere than the prior (a sphere, a simplex, positive numbers, bits, one-hot codes, all real
                ones).
        """
        q = self.posterior(x if seen is None else seen, *c)
        samples = own_draws(q, k) or Samples(q.rsample((k,)) if q.has_rsample else q.sample((k,)))
        return self.at(samples, x, *c, q=q, check=check)

    def at(
        self, samples: Tensor | Samples, x: Tensor, *c: Tensor, q: Distribution | None = None, check: bool = True
    ) -> Draw:
        """The draw for given samples z (K, B, D), whatever they were drawn from; ``q`` spares a call of the encoder."""
        z, log_shares, log_qz, soft = Samples(samples) if isinstance(samples, Tensor) else samples
        q = self.posterior(x, *c) if q is None else q
        p = self.prior(*c)
        check_latent(q, p)
        given = [t.expand(z.shape[0], *t.shape) for t in c]
        p_x = self.likelihood(z if soft is None else soft, *given)
        if check:
            check_support(self.likelihood, p_x, x)
        log_px = p_x.log_prob(x)
        if soft is not None:  # the gradient is that of the relaxation, the value is that at z
            with torch.no_grad():
                there = self.likelihood(z, *given).log_prob(x)
            log_px = there + (log_px - log_px.detach())
        return Draw(
            q, p, z, log_px, log_qz=log_qz, log_shares=log_shares, likelihood=self.likelihood, contexts=c
        )  # fmt: skip

    def dream(self, n: int, *c: Tensor) -> Draw:
        """n pairs (z, x) from the model, one for each row of the contexts, and the posterior's densities of them.

        The draw has z (1, n, D) and q = q(z|x) at the x drawn. Gradients pass through q alone: prior, likelihood and
        what they drew count as given.
        """
        with torch.no_grad():
            p = self.prior(*c)
            z = p.sample((n,)) if p.batch_shape == () else p.sample()
            p_x = self.likelihood(z, *c)
            x = p_x.sample()
            z, log_px = z.unsqueeze(0), p_x.log_prob(x).unsqueeze(0)
        return Draw(self.posterior(x, *c), p, z, log_px, likelihood=self.likelihood, contexts=c)

    def absorb(self, draw: Draw) -> None:
        """Let the posterior take from a training step what no gradient brings, such as the means of a codebook.

        Training calls it after each step; in evaluation mode it does nothing.
        """
        learn = getattr(self.posterior, "absorb", None)
        if callable(learn) and self.posterior.training:
            learn(draw.q)

    @torch.no_grad()
    def check(self, x: Tensor, *c: Tensor, columns: Sequence[str] | None = None, first_row: int = 0) -> None:
        """Refuse data that this model cannot explain: another shape, or values outside the likelihood's support.

        ``columns`` are names for the elements of a datum of one dimension; ``first_row`` is the number of the first
        datum in the whole data, for the message. Each datum is held against its own contexts.

        Raises:
            InputError: naming the place, the value, the allowed range, and what to choose instead.
        """
        check_rows(len(x), c)
        z = _any_latent(self.prior(*(t[:1] for t in c)), reference(self))
        size = _CHECKED_AT_ONCE if c else max(1, len(x))
        for start in range(0, len(x), size):
            rows = x[start : start + size]
            given = [t[start : start + size] for t in c]
            p_x = self.likelihood(z.expand(len(rows), -1) if c else z, *given)
            check_support(self.likelihood, p_x, rows, columns, first_row + start)

    @torch.no_grad()
    def sample(self, n: int, *c: Tensor, mean: bool = False) -> Tensor:
        """n data from the model: z from the prior and x from p(x|z), or with ``mean`` the mean of p(x|z).

        Shapes: contexts (n, ...); the result is (n, *event).

        Raises:
            InputError: for n below 1, or contexts that are not n.
        """
        if n < 1:
            raise InputError(f"the number of samples must be at least 1, not {n}")
        check_rows(n, c)
        p = self.prior(*c)
        z = p.sample((n,)) if p.batch_shape == () else p.sample()
        p_x = self.likelihood(z, *c)
        return p_x.mean if mean else p_x.sample()

    @torch.no_grad()
    def encode(self, x: Tensor, *c: Tensor) -> Tensor:
        """The mean of q(z|x) for each datum: (B, *event) to (B, D).

        On a sphere it is the mean direction, of a hierarchy the means layer by layer; of bits and one-hot codes, the
        probability of each 1; where the mean has no closed form, an average over fixed noise.
        """
        return centre(self.posterior(x, *c))

    @torch.no_grad()
    def decode(self, z: Tensor, *c: Tensor, mean: bool = True) -> Tensor:
        """The mean of p(x|z), or a sample of it: (..., D) to (..., *event)."""
        p_x = self.likelihood(z, *c)
        return p_x.mean if mean else p_x.sample()

    @torch.no_grad()
    def reconstruct(self, x: Tensor, *c: Tensor) -> Tensor:
        """The mean of p(x|z) at ``encode(x)``, or at the most probable z where z is discrete: (B, *event) each."""
        return self.decode(typical(self.posterior(x, *c)), *c)


_CHECKED_AT_ONCE = 512  # data that are decoded together, where the support may depend on contexts


def check_rows(n: int, contexts: Sequence[Tensor]) -> None:
    """Raise InputError unless there is one of each context for each of n data."""
    for i, c in enumerate(contexts):
        if c.shape[:1] != (n,):
            raise InputError(f"{n} data, but context {i} has shape {tuple(c.shape)}: each datum needs its own")


def check_support(
    likelihood: nn.Module,
    p_x: Distribution,
    x: Tensor,
    columns: Sequence[str] | None = None,
    first_row: int = 0,
) -> None:
    """Raise InputError unless every element of x can be explained by ``p_x``, the likelihood's distribution."""
    if p_x.event_shape != x.shape[1:]:
        raise InputError(
            f"a datum of this model has shape {tuple(p_x.event_shape)}; the data have shape {tuple(x.shape[1:])}"
        )
    support = element_support(p_x)
    if support is None:  # a distribution need not tell
        return
    inside = x.isfinite() if support is constraints.real else support.check(x)  # "real" lets infinities pass
    if bool(inside.all()):
        return
    inside = inside.reshape(inside.shape + (1,) * (x.dim() - inside.dim())).expand_as(x)
    row, *place = (int(i) for i in (~inside).nonzero()[0])
    value = float(x[(row, *place)])
    where = f"column {columns[place[0]]!r}" if columns and len(place) == 1 else f"element {tuple(place)}"
    allowed = getattr(likelihood, "allowed", None) or _words(support)
    remedy = getattr(likelihood, "remedy", "choose a likelihood whose support holds these values")
    raise InputError(
        f"{type(likelihood).__name__} explains values that are {allowed}; row {first_row + row}, {where} "
        f"is {value:.6g}: {remedy}"
    )


def _words(support: constraints.Constraint) -> str:
    """The support in a few words, also where it holds tensors, such as a number of trials for each datum."""
    text = " ".join(str(support).split())
    return text if len(text) < 80 else f"within the bounds of {type(support).__name__.lstrip('_')}"


_PLACES: tuple[tuple[str, tuple[constraints.Constraint, ...]], ...] = (
    ("all real numbers", (constraints.real, constraints.real_vector)),
    ("positive numbers", (constraints.positive, constraints.nonnegative)),
    ("shares that sum to one", (constraints.simplex,)),
    ("vectors of length one", (sphere,)),
    ("vectors of a codebook", (code_vectors,)),
)


def _place(d: Distribution) -> str | None:
    codes = codes_of(d)
    return _name_of(element_support(d)) if codes is None else str(codes)


def _name_of(support: constraints.Constraint | None) -> str | None:
    if isinstance(support, Codes):
        return str(support)
    return next((name for name, supports in _PLACES if any(support is s for s in supports)), None)


@torch.no_grad()
def _check_places(posterior: nn.Module, prior: nn.Module) -> None:
    """Refuse parts of different places when they are put together; one that needs data or contexts is seen later."""
    here = _name_of(getattr(posterior, "support", None))
    if here is None or posterior in prior.modules():  # a prior that is made of the posterior lives where that does
        return
    try:
        p = prior()
    except Exception:  # noqa: BLE001 (it needs contexts, or is not ready: the first draw will tell)
        return
    if isinstance(p, Distribution):
        _refuse_places(here, _place(p))


def _any_latent(p: Distribution, like: Tensor) -> Tensor:
    """One value (1, D) in the support of the prior, of the dtype and device of ``like``."""
    if isinstance(p, Hierarchical):
        return p.filled(lambda layer: _any_latent(layer, like))
    if (codes := codes_of(p)) is not None:
        return codes.values(0, 1, like)
    size = p.event_shape[-1]
    level = {"positive numbers": 1.0, "shares that sum to one": 1 / size, "vectors of length one": size**-0.5}
    return like.new_full((1, size), level.get(str(_place(p)), 0.0))


def _refuse_places(here: str | None, there: str | None) -> None:
    if here is not None and there is not None and here != there:
        raise InputError(
            f"the posterior gives {here} and the prior expects {there}: choose two with one support, such as "
            "VonMisesFisher with SphereUniform, Dirichlet or LogisticNormal with Dirichlet, Gamma with Gamma, "
            "Categorical with Categorical or Autoregressive, Bernoulli with Bernoulli, VectorQuantized with Codes, or "
            "any Gaussian with StandardNormal"
        )


def check_latent(q: Distribution, p: Distribution) -> None:
    """Raise InputError where posterior and prior are known to live in different places: their KL would be infinite.

    Supports that are none of the known ones are left to the caller.
    """
    if isinstance(q, NormalVector) and isinstance(p, NormalVector):  # as most are, at every step
        return
    _refuse_places(_place(q), _place(p))
    if isinstance(q, Quantized) and isinstance(p, Codewords) and q.book is not p.book:
        raise InputError(
            "the posterior gives codes of another codebook than the prior expects: give priors.Codes the very "
            "posterior of the model"
        )


def _aliases(vae: nn.Module) -> list[tuple[str, str]]:
    """(other name, name) of every module that stands in the model more than once; its name is the shortest."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in vae.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    ordered = (sorted(each, key=lambda n: n.count(".")) for each in names.values() if len(each) > 1)
    return [(other, own) for own, *others in ordered for other in others]


def _once(vae: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    """A shared module, such as the posterior of a VampPrior, is saved once."""
    for other, _ in _aliases(vae):
        for key in [k for k in state if k.startswith(f"{prefix}{other}.")]:
            del state[key]


def _everywhere(vae: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    """The reverse of ``_once``: torch looks a shared module up under all of its names."""
    for other, own in _aliases(vae):
        for key in [k for k in state if k.startswith(f"{prefix}{own}.")]:
            state[f"{prefix}{other}.{key.removeprefix(f'{prefix}{own}.')}"] = state[key]


def has_density(q: Distribution) -> bool:
    """Whether q(z|x) has a density, so that bounds on log p(x) by q exist."""
    return not isinstance(q, Delta)


def reference(module: nn.Module) -> Tensor:
    """An empty tensor of the dtype and device in which the module computes."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.new_empty(0)
    return torch.empty(0)
