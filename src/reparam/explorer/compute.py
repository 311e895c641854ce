"""What the page asks of a model that stays here: the answers of ``page/model.js``, for any network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset
from reparam.distributions import Observed, filled, log_prob_of_each
from reparam.errors import InputError
from reparam.evaluate import elbo_terms, log_likelihood
from reparam.evaluate.draws import evaluating
from reparam.evaluate.moments import moments
from reparam.explorer.view import View
from reparam.posteriors import Point
from reparam.vae import reference

ROWS, NUMBERS, TIMES, DRAWS = 4096, 8_000_000, 1000, 5000  # the most of one request
_QUANTILES = 20_000  # draws by which those of a prior are known
_STEPS = 200  # of probability, of a prior that is not standard normal

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


class Computer:
    """Answers by name: each takes a table of plain data and arrays, and gives a table and arrays.

    Raises:
        InputError: for what cannot be answered, in one sentence.
    """

    def __init__(self, view: View) -> None:
        self.view, self.vae = view, view.vae
        self.dim, self.event = int(view.meta["dim"]), view.data.event_shape
        self.size = math.prod(self.event)
        self.widths = [math.prod(c.shape[1:]) for c in view.data.contexts]
        self.like = reference(view.vae)
        self.answers: Mapping[str, Callable[[dict[str, Any], list[np.ndarray]], Answer]] = {
            "rows": self.rows, "column": self.column, "decode": self.decode, "draw": self.draw, "classes": self.classes,
            "encode": self.encode, "score": self.score, "prior": self.prior, "logprior": self.log_prior,
        }  # fmt: skip

    def answer(self, what: str, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """The answer to one request."""
        with evaluating(self.vae), torch.no_grad():
            return self.answers[what](table, arrays)

    def points(self) -> Answer:
        """All that the page begins with; data of images and lines are asked for row by row."""
        kept = {k: v for k, v in self.view.arrays.items() if k != "x" or self.view.meta["data"]["kind"] == "table"}
        return self.view.meta | {"prior": self._prior_moments()}, kept

    def rows(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """Data in the units of the model."""
        at = table.get("rows")
        most = len(self.view.data)
        if not isinstance(at, list) or not all(type(i) is int and 0 <= i < most for i in at) or len(at) > ROWS:
            raise InputError(f"rows are numbers from 0 to {most - 1}, {ROWS} at most")
        x = self.view.arrays["x"].reshape(most, -1)[np.array(at, dtype=np.int64)].astype("<f4")
        return {}, {"x": x / (self.view.meta["data"]["pixelMax"] or 1)}

    def column(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """One number of every datum, in its own units."""
        j = _whole(table, "column", 0, self.size - 1)
        return {}, {"x": self.view.arrays["x"].reshape(len(self.view.data), -1)[:, j].astype("<f4")}

    def decode(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """The mean of p(x|z); where asked, the most probable class of columns of classes."""
        z, c = self._latents(table, arrays)
        px = self._likelihood(z, c)
        x = px.mean.reshape(len(z), self.size).clone()
        if table.get("typical"):
            for column, p in self._classes(px, len(z)).items():
                x[:, column] = p.argmax(-1).to(x.dtype)
        return {}, {"x": _numpy(x)}

    def draw(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """Draws of p(x|z), so many of each row."""
        z, c = self._latents(table, arrays)
        times = _whole(table, "times", 1, TIMES)
        if times * len(z) * self.size > NUMBERS:
            raise InputError(f"that is more than {NUMBERS} numbers in one answer")
        with seeding.seeded(_whole(table, "seed", 0, 2**32 - 1)):
            x = self._likelihood(z, c).sample((times,)).transpose(0, 1)
        return {}, {"x": _numpy(x.reshape(-1, self.size))}

    def classes(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """The probabilities of the classes of each column at one z, None for columns without."""
        z, c = self._latents(table, arrays)
        found = self._classes(self._likelihood(z[:1], [v[:1] for v in c]), 1)
        return {"classes": [found[j][0].tolist() if j in found else None for j in range(self.size)]}, {}

    def encode(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """Mean, standard deviations and covariance of q(z|x)."""
        x, c = self._data(table, arrays)
        mean, sd, covariance = moments(self.vae.posterior(x, *c), self.dim)
        return {}, {"mean": _numpy(mean), "sd": _numpy(sd), "covariance": _numpy(covariance)}

    def score(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """log p(x) of one datum with the error of its draws, and the KL of its code."""
        x, c = self._data(table, arrays)
        if len(x) != 1:
            raise InputError("one datum is scored at a time")
        k, seed = _whole(table, "k", 1, DRAWS), _whole(table, "seed", 0, 2**32 - 1)
        data = Dataset(x, contexts=c, missing=self.view.data.missing)
        point = isinstance(self.vae.posterior, Point)
        found = log_likelihood(self.vae, data, k, "prior" if point else "importance", seed)
        kl = None if point else elbo_terms(self.vae, data, 100, seed).kl.value
        ess = float(found.ess[0]) if found.ess is not None else float(k)
        error = math.sqrt(max(0.0, 1 / max(ess, 1e-9) - 1 / k))
        if not math.isfinite(found.value):
            raise InputError("this datum has no density under the model: it is outside of what its likelihood holds")
        return {"logp": found.value, "error": error, "ess": ess, "k": k, "kl": kl}, {}

    def prior(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """Draws of the prior, their distance from its mean multiplied by the temperature."""
        n, heat = _whole(table, "rows", 1, ROWS), table.get("temperature", 1.0)
        if not isinstance(heat, int | float) or not 0 <= heat <= 10:
            raise InputError("temperature is a number from 0 to 10")
        with seeding.seeded(_whole(table, "seed", 0, 2**32 - 1)):
            z = self._prior(n).sample((n,) if not self._conditional() else ())
        mean = torch.tensor(self._prior_moments()["mean"], dtype=z.dtype, device=z.device)
        return {}, {"z": _numpy(mean + float(heat) * (z.reshape(n, self.dim) - mean))}

    def log_prior(self, table: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        """log p(z), or None where the prior has no density."""
        z, _ = self._latents(table, arrays)
        try:
            value = float(self._prior(1).log_prob(z).reshape(-1)[0])
        except (NotImplementedError, ValueError):
            return {"log": None}, {}
        return {"log": value if math.isfinite(value) else None}, {}

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _likelihood(self, z: Tensor, c: Sequence[Tensor]) -> Any:
        return self.vae.likelihood(z, *c)

    def _conditional(self) -> bool:
        return bool(self.vae.prior(*self._first(1)).batch_shape)

    def _first(self, n: int) -> list[Tensor]:
        return [c.expand(n, *c.shape[1:]) for c in self.view.data.contexts_of(slice(0, 1), self.like)]

    def _prior(self, n: int) -> Any:
        return self.vae.prior(*self._first(n))

    def _prior_moments(self) -> dict[str, Any]:
        with evaluating(self.vae), torch.no_grad():
            mean, sd, _ = moments(self._prior(1), self.dim)
            plain = bool((mean == 0).all() and (sd == 1).all())
            found = {"plain": plain, "mean": mean.reshape(-1).tolist(), "sd": sd.reshape(-1).tolist()}
            return found if plain else found | {"quantiles": self._quantiles()}

    def _quantiles(self) -> list[list[float]]:
        """Of each dimension of the prior alone, at the middles of even steps of probability, from draws."""
        with seeding.seeded(0):
            p = self._prior(1)
            z = p.sample((_QUANTILES,)).reshape(-1, self.dim).double()
        middles = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
        return z.quantile(middles.to(z.device), 0).T.tolist()

    def _classes(self, px: Any, rows: int) -> dict[int, Tensor]:
        columns = self.view.meta["data"].get("columns") if self.view.meta["data"]["kind"] == "table" else None
        counts = {j: int(col["classes"]) for j, col in enumerate(columns or []) if col["classes"]}
        if not counts:
            return {}
        px = px.base if isinstance(px, Observed) else px
        x = filled(px, torch.full((rows, self.size), math.nan, dtype=self.like.dtype, device=self.like.device))
        logs = []
        for k in range(max(counts.values())):
            for j, n in counts.items():
                x[:, j] = min(k, n - 1)
            logs.append(log_prob_of_each(px, x).reshape(rows, self.size))
        return {j: torch.stack(logs[:n], -1)[:, j].exp() for j, n in counts.items()}

    def _latents(self, table: dict[str, Any], arrays: list[np.ndarray]) -> tuple[Tensor, list[Tensor]]:
        n = _whole(table, "rows", 1, ROWS)
        z = self._tensor(arrays, 0, n * self.dim, "latents").reshape(n, self.dim)
        if n * self.size > NUMBERS:
            raise InputError(f"that is more than {NUMBERS} numbers in one answer")
        return z, self._contexts(arrays, n)

    def _data(self, table: dict[str, Any], arrays: list[np.ndarray]) -> tuple[Tensor, list[Tensor]]:
        n = _whole(table, "rows", 1, ROWS)
        x = self._tensor(arrays, 0, n * self.size, "data", holes=bool(self.view.data.missing)).reshape(n, *self.event)
        if self.view.data.binarize:
            x = (x >= 0.5).to(x.dtype)
        return x, self._contexts(arrays, n)

    def _contexts(self, arrays: list[np.ndarray], n: int) -> list[Tensor]:
        total = sum(self.widths)
        if not total:
            return []
        given = arrays[1] if len(arrays) > 1 else np.zeros(0, np.float32)
        if given.size not in (total, n * total):
            raise InputError(f"a model with contexts needs their {total} numbers")
        values = self._tensor(arrays, 1, given.size, "contexts").reshape(-1, total).expand(n, total)
        shapes = [c.shape[1:] for c in self.view.data.contexts]
        return [part.reshape(n, *shape) for part, shape in zip(values.split(self.widths, -1), shapes, strict=True)]

    def _tensor(self, arrays: list[np.ndarray], at: int, size: int, what: str, holes: bool = False) -> Tensor:
        if at >= len(arrays) or arrays[at].size != size:
            raise InputError(f"there must be {size} numbers of {what}")
        known = np.isfinite(arrays[at]) | (np.isnan(arrays[at]) if holes else False)
        if not known.all():
            raise InputError(f"the {what} must be finite")
        return torch.from_numpy(arrays[at]).to(self.like)


def _numpy(t: Tensor) -> np.ndarray:
    return np.asarray(t.detach().cpu().numpy(), dtype="<f4").reshape(-1)


def _whole(table: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = table.get(name, least)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} is a whole number from {least} to {most}")
    return value
