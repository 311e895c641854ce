"""Pickling an estimator without pickling its model: the model travels as the bytes of ``reparam.save``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from reparam.run import from_bytes, pack, to_bytes, unpack
from reparam.vae import VAE

_MODEL, _TENSORS = "safe bytes of ", "safe tensors of "


class SafeState:
    """A base of estimators, before ``BaseEstimator``: attributes that are models or tables of tensors become bytes.

    What is pickled is then plain data: no module or tensor of torch is, so that unpickling a model reads safetensors
    and rebuilds listed classes only, as :func:`reparam.load` does, and outlives versions as far as that does. copy and
    deepcopy go the same way, and a copy gives the same bits.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        given: Any = super().__getstate__()
        for name, value in given.items():
            if isinstance(value, VAE):
                state[_MODEL + name] = to_bytes(value)
            elif isinstance(value, dict) and value and all(isinstance(v, Tensor) for v in value.values()):
                state[_TENSORS + name] = pack(value, {})
            else:
                state[name] = value
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        plain: dict[str, Any] = {}
        for name, value in state.items():
            if name.startswith(_MODEL):
                plain[name.removeprefix(_MODEL)] = from_bytes(value)
            elif name.startswith(_TENSORS):
                plain[name.removeprefix(_TENSORS)] = unpack(value, "the saved state of training").tensors
            else:
                plain[name] = value
        super().__setstate__(plain)  # type: ignore[misc]
