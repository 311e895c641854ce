"""Rows that are arrays: images, tables of numbers, counts; in the units of the training data, as nested lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam import seeding
from reparam.data import Dataset, Schema
from reparam.data.context import Context, joined
from reparam.data.readers import Source
from reparam.errors import InputError, nearest
from reparam.evaluate import log_likelihood
from reparam.evaluate.draws import batches, evaluating, rows_per_call
from reparam.evaluate.moments import moments
from reparam.posteriors import Point
from reparam.run import Run
from reparam.serve.wire import WrongFormError, numbers
from reparam.vae import reference

Answer = dict[str, Any]
_DECODED = 4096  # at a time


class Arrays:
    """The answers of a model of arrays.

    Raises:
        InputError: for what the model cannot use, in one sentence; as WrongFormError for what is no row at all.
    """

    npy = True  # whether rows can be arrays of bytes

    def __init__(self, run: Run, schema: Schema) -> None:
        self.vae, self.units, self.name = run.vae, schema, "x"
        self.contexts: Sequence[Context] = schema.contexts or ()
        sizes = schema.counting.column if schema.counting else None
        self.sizes = sizes  # the name of a context of sizes of libraries
        first = self._given({c.name: c.categories[0] if c.categories else 0.0 for c in self.contexts}, 1, zero=True)
        with evaluating(self.vae):
            self.dim = int(self.vae.prior(*first).event_shape[-1])

    # -- what is taken and given, as JSON Schema ----------------------------------------------------------------------

    def row(self) -> dict[str, Any]:
        """A row."""
        if self.units.pixel_max is not None:
            number: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": self.units.pixel_max}
        elif self.units.counting is not None:
            number = {"type": "integer", "minimum": 0, "maximum": 2**31}
        else:
            number = {"type": "number"}
        for size in reversed(self.units.event_shape):
            number = {"type": "array", "items": number, "minItems": size, "maxItems": size}
        return number

    def shown(self, mean: bool) -> dict[str, Any]:
        """A row of an answer: no bounds, as a mean is one of the model."""
        number: dict[str, Any] = {"type": "number" if mean or not self.units.integers else "integer"}
        if self.units.dtype == "bool" and not mean:
            number = {"type": "boolean"}
        for _ in self.units.event_shape:
            number = {"type": "array", "items": number}
        return number

    def context(self, most: int) -> dict[str, Any] | None:
        """The contexts of rows: of each name a list, one entry for each row."""
        entries = {c.name: _value(c) for c in self.contexts}
        if self.sizes:
            entries[self.sizes] = {"type": "number", "exclusiveMinimum": 0}
        lists = {n: {"type": "array", "items": e, "minItems": 1, "maxItems": most} for n, e in entries.items()}
        needed = [n for n in lists if n == self.sizes or not self._context(n).partial]
        return _object(lists, needed) if lists else None

    def given(self) -> dict[str, Any] | None:
        """The contexts of all rows: of each name one entry."""
        entries = {c.name: _value(c) for c in self.contexts}
        return _object(entries, [c.name for c in self.contexts if not c.partial]) if entries else None

    # -- answers ------------------------------------------------------------------------------------------------------

    def read(self, rows: Any, context: dict[str, Any] | None) -> Dataset:
        """The rows as data of the model."""
        x = rows if isinstance(rows, np.ndarray) else numbers(rows, self.units.event_shape, "x")
        found = self._context_values(context, len(x))
        return self.units.dataset(Source(x, "x", columns=None, contexts=found))

    def encode(self, data: Dataset, seed: int) -> Answer:
        """Mean and standard deviations of q(z|x)."""
        means, sds = [], []
        with evaluating(self.vae):
            for at, x, c in batches(data, reference(self.vae), rows_per_call(self.vae, data), seed):
                self.vae.check(x, *c, columns=data.columns, first_row=at.start)
                mean, sd, _ = moments(self.vae.posterior(x, *c), self.dim)
                means.append(mean)
                sds.append(sd)
        found = {"mean": _numpy(torch.cat(means)), "sd": _numpy(torch.cat(sds))}
        _finite_rows(found["mean"] + found["sd"], "code")
        return found

    def score(self, data: Dataset, k: int, seed: int) -> Answer:
        """log p(x) of each row in nats, and the effective sample size of its estimate."""
        method = "prior" if isinstance(self.vae.posterior, Point) else "importance"
        found = log_likelihood(self.vae, data, k, method, seed)
        scores = (found.per_datum + self.units.row_units(data)).numpy()
        _finite_rows(scores, "density")
        return {"log_likelihood": scores, "ess": found.ess.numpy()}

    def decode(self, z: np.ndarray, given: dict[str, Any] | None, sample: bool, seed: int) -> Answer:
        """The mean of p(x|z) at each z, or a draw."""
        latents = torch.from_numpy(z.astype(np.float64)).to(reference(self.vae))
        if not bool(latents.isfinite().all()):
            raise InputError("z holds a number that is too large for this model")
        with seeding.seeded(seed), inside_training():
            parts = [
                self.vae.decode(part, *self._given(given, len(part)), mean=not sample)
                for part in latents.split(_DECODED)
            ]
        return {"x": self._shown(torch.cat(parts), not sample)}

    def sample(self, n: int, given: dict[str, Any] | None, mean: bool, seed: int) -> Answer:
        """Rows of the model: z from the prior, x from p(x|z), or its mean."""
        with seeding.seeded(seed):
            x = self.vae.sample(n, *self._given(given, n), mean=mean)
        return {"x": self._shown(x, mean)}

    def _shown(self, x: Tensor, mean: bool) -> np.ndarray:
        """Draws in the dtype of the data; means as they are, which are no data."""
        if not mean:
            return self.units.restore(x)
        values = x.detach().cpu().double().numpy() * (self.units.pixel_max or 1.0)
        if not np.isfinite(values).all():
            raise InputError("the decoder gives numbers that are not finite there: z lies beyond all of training")
        return values.astype(np.float32)

    # -- contexts -----------------------------------------------------------------------------------------------------

    def _context(self, name: str) -> Context:
        return next(c for c in self.contexts if c.name == name)

    def _context_values(self, context: dict[str, Any] | None, rows: int) -> dict[str, np.ndarray]:
        """Each context as an array of one entry for each row."""
        known = [*(c.name for c in self.contexts), *([self.sizes] if self.sizes else [])]
        found = {}
        for name, values in (context or {}).items():
            if name not in known:
                raise WrongFormError(f"there is no context {name!r}: {_known(name, known)}")
            if type(values) is not list:
                raise WrongFormError(f"context {name!r} is a list of values, one for each row")
            if len(values) != rows:  # which no description of a form can tell
                raise InputError(
                    f"context {name!r} is a list of {rows} values, one for each row: here are {len(values)}"
                )
            found[name] = np.array([self._entry(name, v) for v in values])
        if missing := [n for n in known if n not in found and (n == self.sizes or not self._context(n).partial)]:
            raise WrongFormError(f"this model is of data given {', '.join(known)}: context lacks {missing[0]!r}")
        return found

    def _entry(self, name: str, value: Any) -> Any:
        """One value of a context."""
        if name == self.sizes or self._context(name).categories is None:
            wide = 1 if name == self.sizes else self._context(name).width
            each = value if type(value) is list and wide > 1 else [value]
            if len(each) != wide or not all(type(v) in (int, float) and abs(v) < 1e300 for v in each):
                raise WrongFormError(f"context {name!r} takes {wide} number{'s' * (wide > 1)} a row")
            return each if wide > 1 else float(value)
        if type(value) not in (int, str):
            raise WrongFormError(f"context {name!r} is one of its categories, as text, not {str(value)[:40]}")
        return str(value)

    def _given(self, given: dict[str, Any] | None, n: int, zero: bool = False) -> tuple[Tensor, ...]:
        """The contexts of n rows that are all alike."""
        like = reference(self.vae)
        sizes = (torch.ones(n, 1).to(like),) if self.units.exposed else ()  # usual cells
        names = [c.name for c in self.contexts]
        if not names and given:
            raise WrongFormError("this model was trained without contexts: leave given out")
        if not names:
            return sizes
        values: dict[str, np.ndarray] = {}
        for name, value in (given or {}).items():
            if name not in names:
                raise WrongFormError(f"there is no context {name!r}: {_known(name, names)}")
            wide = self._context(name).width
            whole = [0.0] * wide if zero and wide > 1 and not self._context(name).categories else value
            values[name] = np.array([self._entry(name, whole)])
        if missing := [c.name for c in self.contexts if c.name not in values and not c.partial]:
            raise WrongFormError(f"this model is of data given {', '.join(names)}: given lacks {missing[0]!r}")
        return (torch.from_numpy(joined(self.contexts, values, "given", 1)).to(like).expand(n, -1), *sizes)


@contextmanager
def inside_training() -> Iterator[None]:
    """Distributions of latents so far away that their parameters overflow are refused in words."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError("the decoder gives no distribution there: z lies beyond all of training") from error


def _finite_rows(values: np.ndarray, what: str) -> None:
    """Refuse rows that lie so far away that the model's numbers overflow.

    Raises:
        InputError: naming the first of them.
    """
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"row {row} has no finite {what} under this model: its values are beyond all of training")


def _known(name: str, known: Sequence[str]) -> str:
    return nearest(name, known) if known else "this model was trained without"


def _value(c: Context) -> dict[str, Any]:
    """One value of a context, as JSON Schema."""
    if c.categories is None:
        number = {"type": "number", "minimum": -1e300, "maximum": 1e300}
        return number if c.width == 1 else {"type": "array", "items": number, "minItems": c.width, "maxItems": c.width}
    whole = [int(v) for v in c.categories if v.lstrip("-").isdigit() and str(int(v)) == v]
    return {"enum": [*c.categories, *whole]}


def _object(properties: dict[str, Any], needed: list[str]) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": needed} if needed else {})


def _numpy(t: Tensor) -> np.ndarray:
    return np.asarray(t.detach().cpu().float().numpy())
