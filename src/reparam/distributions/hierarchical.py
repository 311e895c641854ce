"""Joint distributions of several layers of latents, each layer drawn given the one before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, kl_divergence

from reparam.distributions.codes import Codes
from reparam.distributions.discrete import Discrete, Samples
from reparam.distributions.noise import centre, from_standard_normal
from reparam.errors import InputError

Step = Callable[[Tensor], Distribution]


class Layer(NamedTuple):
    """One layer of a posterior and of a prior, each given its own layer before, and the value of the layer."""

    q: Distribution
    p: Distribution
    z: Tensor


class _CodesFirst(constraints.Constraint):
    """Codes as the first layer, and whatever comes after."""

    is_discrete = True
    event_dim = 1

    def __init__(self, codes: Codes) -> None:
        self.codes = codes

    def check(self, value: Tensor) -> Tensor:
        """Whether each vector begins with a code: (..., D) to (...)."""
        return self.codes.check(value[..., : self.codes.size])

    def __repr__(self) -> str:
        return f"{self.codes} with other layers after them"


class Hierarchical(Distribution):
    """z = (z_L, ..., z_1), the top layer first, by a chain: the log density is the sum of those of the layers.

    ``first`` is the distribution of the layer that is drawn first, and each of ``steps`` gives that of the next layer
    for a value of the one before. ``sizes`` are the layers' in this order. The chain goes down from z_L, or ``upward``
    from z_1; the layers stand in z from the top all the same.

    Shapes: first has batch (*batch) and event (size,); a step maps (*lead, size before) to a distribution of batch
    (*lead) and event (size,), where lead ends in the batch, or in what broadcasts with it.

    Raises:
        InputError: when a layer is first evaluated, if it has not the size that ``sizes`` gives it.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own convention)

    def __init__(self, first: Distribution, steps: Sequence[Step], sizes: Sequence[int], upward: bool = False) -> None:
        self.first, self.steps, self.sizes, self.upward = first, tuple(steps), tuple(sizes), upward
        self._last: tuple[Tensor, int, bool, list[Distribution]] | None = None  # rsample's z, its version, its layers
        super().__init__(first.batch_shape, torch.Size((sum(sizes),)), validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws carry gradient: as in the first layer, so in all."""
        return bool(self.first.has_rsample)

    @property
    def support(self) -> Any:
        """That of the first layer, which all layers share unless it is discrete."""
        return _CodesFirst(self.first.codes) if isinstance(self.first, Discrete) else self.first.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Hierarchical:
        """The same distribution with a larger batch shape."""
        return Hierarchical(self.first.expand(batch_shape), self.steps, self.sizes, self.upward)

    def _walk(self, value: Callable[[Distribution, int], Tensor]) -> tuple[list[Distribution], list[Tensor]]:
        """The layers in the order of the chain and their values; ``value`` chooses that of the i-th."""
        layers: list[Distribution] = []
        values: list[Tensor] = []
        for i, size in enumerate(self.sizes):
            layer = self.steps[i - 1](values[-1]) if i else self.first
            if layer.event_shape != (size,):
                raise InputError(
                    f"layer {i + 1} of this hierarchy has event shape {tuple(layer.event_shape)}, and its sizes "
                    f"{self.sizes} say ({size},): give its net the number of outputs that the layer documents"
                )
            layers.append(layer)
            values.append(value(layer, i))
        return layers, values

    def _together(self, values: list[Tensor]) -> Tensor:
        return torch.cat(values[::-1] if self.upward else values, -1)

    def _apart(self, z: Tensor) -> list[Tensor]:
        """The layers' parts of z, in the order of the chain."""
        parts = z.split(self.sizes[::-1] if self.upward else self.sizes, -1)
        return list(parts[::-1] if self.upward else parts)

    def image(self, eps: Tensor) -> Tensor | None:
        """The draws that standard normal noise decides, or None where a layer knows no such map."""
        noise = self._apart(eps)
        missing: list[Distribution] = []

        def value(layer: Distribution, i: int) -> Tensor:
            z = None if missing else from_standard_normal(layer, noise[i])
            if z is None:
                missing.append(layer)
                return noise[i]
            return z

        _, values = self._walk(value)
        return None if missing else self._together(values)

    @property
    def centre(self) -> Tensor:
        """The mean of each layer given that of the one before, (*batch, D): the mean of z where all are linear."""
        return self.filled(centre)

    def filled(self, value: Callable[[Distribution], Tensor]) -> Tensor:
        """z of which each layer is what ``value`` makes of its distribution given the layer before, (..., D)."""
        return self._together(self._walk(lambda layer, _: value(layer))[1])

    def draws(self, k: int) -> Samples | None:
        """Where the first layer lists its values: all of them, and k draws of the other layers for each.

        Means are then expectations over the first layer, and samples carry the gradient of the others.
        """
        listing = self.first.listing() if isinstance(self.first, Discrete) and not self.upward else None
        if listing is None or listing.log_shares is None:
            return None
        z, log_shares = (t.repeat_interleave(k, 0) for t in listing[:2] if t is not None)
        _, values = self._walk(lambda layer, i: layer.rsample() if i else z)
        return Samples(self._together(values), log_shares - math.log(k))

    def listing(self) -> None:
        """Layers that are not discrete cannot be listed."""

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples (*sample, *batch, D), with gradient."""
        layers, values = self._walk(lambda layer, i: layer.rsample(torch.Size() if i else torch.Size(sample_shape)))
        z = self._together(values)
        self._last = (z, z._version, torch.is_grad_enabled(), layers)
        return z

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Samples, without gradient."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            return self._together(self._walk(lambda layer, i: layer.sample(torch.Size() if i else shape))[1])

    def layers(self, z: Tensor) -> list[Distribution]:
        """Each layer's distribution given the layer before it in z, the top layer first."""
        known = self._last
        if known is None or known[0] is not z or known[1] != z._version or known[2] < torch.is_grad_enabled():
            lead = torch.broadcast_shapes(z.shape[:-1], self.batch_shape)
            values = self._apart(z.expand(*lead, z.shape[-1]))
            layers = self._walk(lambda _, i: values[i])[0]
        else:
            layers = known[3]
        return layers[::-1] if self.upward else layers

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        parts = value.split(self.sizes[::-1] if self.upward else self.sizes, -1)
        terms = [layer.log_prob(z) for layer, z in zip(self.layers(value), parts, strict=True)]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


def typical(d: Distribution) -> Tensor:
    """One possible value that stands for ``d``: the most probable one of what is discrete, else its centre."""
    if isinstance(d, Discrete):
        return d.mode
    if isinstance(d, Hierarchical):
        return d.filled(typical)
    return centre(d)


def layers_of(q: Distribution, p: Distribution, z: Tensor) -> list[Layer] | None:
    """The layers of two hierarchies at z, the top one first; None unless both are, of equal sizes."""
    if not (isinstance(q, Hierarchical) and isinstance(p, Hierarchical)):
        return None
    sizes = [d.sizes[::-1] if d.upward else d.sizes for d in (q, p)]
    if sizes[0] != sizes[1]:
        return None
    return [Layer(*each) for each in zip(q.layers(z), p.layers(z), z.split(sizes[0], -1), strict=True)]


def one_way(q: Distribution, p: Distribution) -> bool:
    """Whether two hierarchies are chains of one direction, so that each layer of both is given the same layer."""
    return isinstance(q, Hierarchical) and isinstance(p, Hierarchical) and q.upward == p.upward


def kl_of_layers(q: Distribution, p: Distribution, z: Tensor) -> Tensor | None:
    """What each layer adds to KL(q || p), the top layer first, at draws z of q: (L, ...) for z (..., D), in nats.

    For chains of one direction it is KL(q(z_l | z_above) || p(z_l | z_above)) in closed form where there is one, given
    the layer above in z: without bias for the term of the KL, and of less variance than the log ratio (Rao-Blackwell).
    Elsewhere, as for a chain upward, it is log q(z_l | .) - log p(z_l | .). The sum over layers estimates the KL
    without bias. None unless both are hierarchies of equal sizes.
    """
    layers = layers_of(q, p, z)
    if layers is None:
        return None
    same = one_way(q, p)
    terms = [_closed(each) if same else each.q.log_prob(each.z) - each.p.log_prob(each.z) for each in layers]
    return torch.stack([term.expand(z.shape[:-1]) for term in terms])


def _closed(layer: Layer) -> Tensor:
    try:
        return kl_divergence(layer.q, layer.p)
    except NotImplementedError:
        return layer.q.log_prob(layer.z) - layer.p.log_prob(layer.z)


def product_of_gaussians(p: Distribution, message: Distribution) -> Independent:
    """The normalised product of two diagonal Gaussians: precisions add, means are weighted by them.

    Where the message is infinitely wide the product is p, to the last bit (Sønderby et al. 2016, eqs. 18 and 19).

    Raises:
        InputError: unless both are Gaussian with independent elements.
    """
    a, b = (d.base_dist if isinstance(d, Independent) else None for d in (p, message))
    if not (isinstance(a, Normal) and isinstance(b, Normal)):
        kinds = " and ".join(type(d).__name__ for d in (p, message))
        raise InputError(
            f"a ladder combines diagonal Gaussians by their precisions, not {kinds}: build the layers of its prior of "
            "posteriors.DiagonalGaussian, the first of priors.StandardNormal"
        )
    total = a.scale.square() + b.scale.square()
    mean = a.loc + a.scale.square() / total * (b.loc - a.loc)
    scale = a.scale * (b.scale / total.sqrt())
    return Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
