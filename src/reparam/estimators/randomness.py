"""Seeds from what scikit-learn calls a random state, without numpy's global generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from reparam.errors import InputError


def seed_of(random_state: Any) -> int:
    """A seed: the number itself, or one drawn from a RandomState or Generator; None asks the operating system.

    Raises:
        InputError: for what is none of these.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    whole = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if not whole or not 0 <= random_state < 2**32:
        raise InputError(
            f"random_state must be a whole number from 0 to 2**32 - 1 or a RandomState, not {random_state!r}"
        )
    return int(random_state)


def derived(seed: int, number: int) -> int:
    """A further seed, as good as independent of the first and of those with other numbers."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
