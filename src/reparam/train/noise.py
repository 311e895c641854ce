"""Noise of a whole batch, of which a process keeps that of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from reparam import seeding
from reparam.train.crew import Share

_MAKERS = {torch.rand, torch.randn}
_LIKES = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}
_FILLS = {
    Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.cauchy_, Tensor.log_normal_, Tensor.geometric_,
    Tensor.random_,
}  # fmt: skip
_DROPOUTS = {
    torch.dropout, torch.feature_dropout, torch.alpha_dropout, functional.dropout, functional.dropout1d,
    functional.dropout2d, functional.dropout3d, functional.alpha_dropout, functional.feature_alpha_dropout,
}  # fmt: skip
# How many numbers these take from the generator depends on their arguments: each process has its own, from one seed.
_OTHERS = {
    torch.normal, torch.bernoulli, torch.multinomial, torch.poisson, torch.binomial, torch._standard_gamma,
    torch._sample_dirichlet, Tensor.bernoulli_, Tensor.multinomial, torch.randint, torch.randint_like, torch.randperm,
}  # fmt: skip


class RowNoise(TorchFunctionMode):
    """Inside the block random tensors with a dimension of the share's rows are drawn for the rows of the whole batch.

    What comes back are the share's own. So the processes of a crew, whose generators stand alike, draw what one process
    would, and their generators stand alike afterwards. It is told by shape what belongs to a row: (K, B, ...), (B, ...)
    and (K B, ...) do; what has another shape, such as noise of weights, is the same for all.

    Draws whose number of random numbers depends on values (gamma, Dirichlet, multinomial, Bernoulli with probabilities)
    and dropout come from a generator of the process, seeded by the common one: they have the right law, and are not
    those of one process.
    """

    def __init__(self, share: Share, k: int, rank: int) -> None:
        super().__init__()
        self.share, self.k, self.rank = share, k, rank

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function itself, or its draw for the whole batch."""
        kwargs = kwargs or {}
        if func in _MAKERS:
            given = kwargs.pop("size", args)
            shape = given[0] if len(given) == 1 and not isinstance(given[0], int) else given
            return self._cut(shape, lambda whole: func(whole, **kwargs))
        if func in _LIKES:
            like, maker = args[0], _LIKES[func]
            options = {"dtype": like.dtype, "device": like.device} | kwargs
            return self._cut(like.shape, lambda whole: maker(whole, **options))
        if func in _FILLS:
            target, rest = args[0], args[1:]
            made = self._cut(target.shape, lambda whole: func(target.new_empty(whole), *rest, **kwargs))
            return target.copy_(made)
        if func in _OTHERS or func in _DROPOUTS:
            return self._own(lambda: func(*args, **kwargs))
        return func(*args, **kwargs)

    def _cut(self, shape: Sequence[int], draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        share, shape = self.share, tuple(shape)
        mine = slice(share.first, share.first + share.rows)
        if len(shape) > 1 and shape[:2] == (self.k, share.rows):
            return draw((self.k, share.total, *shape[2:]))[:, mine].contiguous()
        if shape[:1] == (share.rows,):
            return draw((share.total, *shape[1:]))[mine]
        if shape[:1] == (self.k * share.rows,):
            whole = draw((self.k * share.total, *shape[1:])).unflatten(0, (self.k, share.total))
            return whole[:, mine].flatten(0, 1)
        return draw(shape)

    def _own(self, draw: Callable[[], Any]) -> Any:
        seed = int(torch.randint(2**62, ()))
        with seeding.seeded(seeding.derived(seed, f"process {self.rank}")):
            return draw()
