"""What a person writes in plain PyTorch for the same model: the loops that the library is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Epoch = Callable[[], None]


class HandWritten(nn.Module):
    """A VAE with a diagonal Gaussian posterior and Bernoulli pixels, as tutorials write it."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, k: int = 1) -> None:
        super().__init__()
        self.encoder, self.decoder, self.k = encoder, decoder, k

    def loss(self, x: Tensor) -> Tensor:
        """Minus the ELBO, or with k > 1 minus the importance-weighted bound, a mean over rows."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        if self.k == 1:
            z = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
            cross = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
            kl = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
            return (cross + kl) / len(x)
        noise = torch.randn(self.k, *mean.shape)
        z = mean + noise * torch.exp(log_variance / 2)
        log_p = self.log_likelihood(z, x) - 0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
        log_q = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi)).sum(-1)
        return -(torch.logsumexp(log_p - log_q, 0) - math.log(self.k)).mean()

    def log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """log p(x|z), (K, B)."""
        logits = self.decoder(z.flatten(0, 1)).reshape(len(z), *x.shape)
        cross = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return -cross.flatten(2).sum(-1)

    @torch.no_grad()
    def importance(self, x: Tensor, k: int) -> Tensor:
        """log p(x) of each row by k samples, row by row."""
        values = []
        for row in x:
            mean, log_variance = self.encoder(row[None]).chunk(2, -1)
            noise = torch.randn(k, *mean.shape)
            z = mean + noise * torch.exp(log_variance / 2)
            log_w = self.log_likelihood(z, row[None]) - 0.5 * z.square().sum(-1)
            log_w += 0.5 * (noise.square() + log_variance).sum(-1)
            values.append(torch.logsumexp(log_w, 0) - math.log(k))
        return torch.cat(values)


def dataloader(model: HandWritten, x: Tensor, batch: int) -> Epoch:
    """An epoch as tutorials write it: a shuffling DataLoader and Adam. (It does not read the loss at each step.)"""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=batch, shuffle=True)

    def epoch() -> None:
        for (rows,) in loader:
            optimizer.zero_grad()
            model.loss(rows).backward()
            optimizer.step()

    return epoch


def fast(model: HandWritten, x: Tensor, batch: int) -> Epoch:
    """An epoch as somebody writes it who knows torch well: fused Adam, rows shuffled once into a buffer."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def epoch() -> None:
        shuffled = x[torch.randperm(len(x))]
        for rows in shuffled.split(batch):
            optimizer.zero_grad(set_to_none=True)
            model.loss(rows).backward()
            optimizer.step()

    return epoch
