"""Linear-Gaussian hierarchies, whose marginal and posterior are Gaussian and known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import reparam as rp
from models import Function
from reparam.posteriors import DiagonalGaussian, FullGaussian


def gaussian(net: nn.Module, scale: float) -> DiagonalGaussian:
    """N(net(z), scale²)."""

    def both(z: Tensor, *c: Tensor) -> Tensor:
        mean = net(z)
        return torch.cat([mean, 2 * torch.full_like(mean, scale).log()], -1)

    return DiagonalGaussian(Function(both))


@dataclass(frozen=True)
class Tower:
    """z_L ~ N(0, I), then y = W z + b + s eps from layer to layer, down to x: ``maps`` are (W, b, s) from the top."""

    maps: tuple[tuple[Tensor, Tensor, float], ...]

    @staticmethod
    def random(sizes: Sequence[int], seed: int, orthogonal: bool = False) -> Tower:
        """Sizes from the top down to x; orthogonal maps have columns of equal length at right angles."""
        generator = torch.Generator().manual_seed(seed)
        maps = []
        for above, below in pairwise(sizes):
            w, b = (torch.randn(*s, generator=generator) for s in ((below, above), (below,)))
            w = 1.3 * torch.linalg.qr(w)[0] if orthogonal else w / above**0.5
            maps.append((w, b, 0.4 + 0.5 * float(torch.rand((), generator=generator))))
        return Tower(tuple(maps))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the layers, from the top, and of x."""
        return (self.maps[0][0].shape[1], *(w.shape[0] for w, _, _ in self.maps))

    @property
    def joint(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of (z_L, ..., z_1, x)."""
        dim = self.sizes[0]
        mean, root = torch.zeros(dim), torch.eye(dim)  # the vector is mean + root noise
        below, shift = root, mean
        for w, b, s in self.maps:
            below, shift = torch.cat([w @ below, s * torch.eye(len(b))], 1), w @ shift + b
            root = torch.cat([torch.nn.functional.pad(root, (0, len(b))), below])
            mean = torch.cat([mean, shift])
        return mean, root @ root.T

    def places(self) -> tuple[Tensor, ...]:
        """The indices of each layer, from the top, and of x."""
        return torch.arange(sum(self.sizes)).split(self.sizes)

    def given(self, what: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """G, g, V with ``what`` ~ N(G known + g, V) given ``known``."""
        mean, covariance = self.joint
        gain = torch.linalg.solve(covariance[known][:, known], covariance[known][:, what]).T
        rest = covariance[what][:, what] - gain @ covariance[known][:, what]
        return gain, mean[what] - gain @ mean[known], (rest + rest.T) / 2

    def log_p(self, x: Tensor) -> Tensor:
        """log p(x), with every layer integrated out."""
        (mean, covariance), at = self.joint, self.places()[-1]
        return MultivariateNormal(mean[at], covariance[at][:, at]).log_prob(x)

    def posterior_mean(self, x: Tensor) -> Tensor:
        """E[z | x], all layers."""
        gain, shift, _ = self.given(torch.cat(self.places()[:-1]), self.places()[-1])
        return x @ gain.T + shift

    def data(self, n: int, seed: int = 0) -> Tensor:
        """Samples of x."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, self.sizes[0], generator=generator)
        for w, b, s in self.maps:
            z = z @ w.T + b + s * torch.randn(n, len(b), generator=generator)
        return z

    def prior(self) -> rp.priors.TopDown:
        layers: list[nn.Module] = [rp.priors.StandardNormal(self.sizes[0])]
        layers += [gaussian(linear(w, b), s) for w, b, s in self.maps[:-1]]
        return rp.priors.TopDown(layers, self.sizes[:-1])

    def vae(self, posterior: nn.Module, prior: nn.Module | None = None) -> rp.VAE:
        w, b, s = self.maps[-1]
        net = rp.networks.Lowest(linear(w, b), w.shape[1])
        return rp.VAE(prior or self.prior(), rp.likelihoods.Gaussian(net, s), posterior)

    def exact(self) -> rp.VAE:
        """With p(z_L|x) Π p(z_l | z_{l+1}, x) as posterior."""
        *layers, data = self.places()
        parts = [conditional(*self.given(layers[0], data))]
        for above, layer in pairwise(layers):
            parts.append(conditional(*self.given(layer, torch.cat([above, data]))))
        return self.vae(rp.posteriors.TopDown(parts, self.sizes[:-1]))

    def exact_upward(self) -> rp.VAE:
        """With p(z_1|x) Π p(z_l | z_{l-1}) as posterior: given the layer below, the datum says nothing more."""
        *layers, data = self.places()
        up = [*reversed(layers)]
        parts = [conditional(*self.given(layer, at)) for layer, at in zip(up, [data, *up[:-1]], strict=True)]
        return self.vae(rp.posteriors.BottomUp(parts, self.sizes[:-1][::-1]))

    def ladder(self, spread: float = 1.0) -> rp.VAE:
        """Messages N(z_l; ...) proportional to p(x | z_l), with its diagonal precision over ``spread``².

        Where the maps are orthogonal and spread is 1, the ladder's posterior is exact.
        """
        heads = []
        for place in reversed(self.places()[:-1]):
            gain, shift, noise = self.given(self.places()[-1], place)
            precise = torch.linalg.solve(noise, gain).T  # M' C⁻¹
            width = (precise @ gain).diagonal()
            heads.append(linear_head(precise / width.unsqueeze(-1), -(precise @ shift) / width, spread**2 / width))
        prior = self.prior()
        return self.vae(rp.posteriors.Ladder(prior, [nn.Identity() for _ in heads], heads), prior)


def linear(w: Tensor, b: Tensor) -> nn.Linear:
    net = nn.Linear(w.shape[1], w.shape[0])
    net.load_state_dict({"weight": w, "bias": b})
    return net


def linear_head(w: Tensor, b: Tensor, variance: Tensor) -> nn.Linear:
    """x to the mean W x + b and the log-variance."""
    return linear(torch.cat([w, torch.zeros_like(w)]), torch.cat([b, variance.log()]))


def conditional(gain: Tensor, shift: Tensor, covariance: Tensor) -> FullGaussian:
    """N(gain (all that is given) + shift, covariance)."""
    factor = torch.linalg.cholesky(covariance)

    def packed(*given: Tensor) -> Tensor:
        return FullGaussian.pack(torch.cat(given, -1) @ gain.T + shift, factor)

    return FullGaussian(Function(packed))
