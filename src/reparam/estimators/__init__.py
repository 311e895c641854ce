"""scikit-learn faces of the models."""

from reparam.estimators.tabular import Quality, TabularVAE

__all__ = ["Quality", "TabularVAE"]
