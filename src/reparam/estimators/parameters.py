"""What estimators without scikit-learn share with it: parameters by name."""

from __future__ import annotations

import inspect
import math
from typing import Any, TypeVar

from reparam.errors import InputError, nearest

_STEPS, _MOST_STEPS = 4000, 15_000  # of training, where the number of epochs is not given


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


def epochs_for(rows: int, batch_size: int, epochs: int | None = None) -> int:
    """How many passes over so many rows are made at most: 20, or as many as make 4000 to 15000 steps, unless given."""
    if epochs is not None:
        return epochs
    steps = min(max(20 * rows / batch_size, _STEPS), _MOST_STEPS)
    return math.ceil(steps * batch_size / max(rows, batch_size))
