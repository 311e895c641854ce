"""scikit-learn faces of the models, loaded at their first use: not all of them need scikit-learn, or pandas."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reparam.estimators.autoencoder import VariationalAutoencoder
    from reparam.estimators.tabular import Quality, TabularVAE

_PLACES = {"Quality": "tabular", "TabularVAE": "tabular", "VariationalAutoencoder": "autoencoder"}

__all__ = ["Quality", "TabularVAE", "VariationalAutoencoder"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"reparam.estimators.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'reparam.estimators' has no attribute {name!r}")
