"""What estimators without scikit-learn share with it: parameters by name."""

from __future__ import annotations

import inspect
import math
from typing import Any, TypeVar

from reparam.errors import InputError, nearest

_STEPS, _MOST_STEPS = 4000, 15_000  # of training, where the number of epochs is not given
# Of small tables no rows are held out, and training ends here. On breast_cancer with half of its cells missing, log p
# of other rows is best after 300 passes, 0.1 nats lower after 400 and 1 after 600; imputation is best from 400 on.
_FEW_STEPS, _FEW_PASSES = 2000, 400
_HELD, _SMALL_TABLE = 0.1, 2000


Own = TypeVar("Own", bound="Parameters")


class Parameters:
    """A base of estimators whose attributes are the parameters of their constructor."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: Own, **params: Any) -> Own:
        """Replace parameters of the constructor.

        Raises:
            InputError: for a name that is none.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}: {nearest(name, known)}")
            setattr(self, name, value)
        return self

    def _check_whole(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")


def held_share(rows: int) -> float:
    """The share of the rows of a table that is held out to choose the best epoch: none of a small one.

    There the rows are worth more in training than as a noisy judge: a bound of few samples on few rows falls as the
    encoder overfits, long before the model does.
    """
    return _HELD if rows >= _SMALL_TABLE else 0.0


def passes_for(rows: int, batch_size: int, epochs: int | None, held: bool) -> int:
    """How many passes over the rows of a table are made at most; fewer where no rows are ``held`` to end them early."""
    if epochs is not None or held or rows >= _SMALL_TABLE:
        return epochs_for(rows, batch_size, epochs)
    return min(_FEW_PASSES, math.ceil(_FEW_STEPS * batch_size / max(rows, batch_size)))


def epochs_for(rows: int, batch_size: int, epochs: int | None = None) -> int:
    """How many passes over so many rows are made at most: 20, or as many as make 4000 to 15000 steps, unless given."""
    if epochs is not None:
        return epochs
    steps = min(max(20 * rows / batch_size, _STEPS), _MOST_STEPS)
    return math.ceil(steps * batch_size / max(rows, batch_size))
