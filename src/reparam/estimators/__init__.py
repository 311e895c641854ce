"""scikit-learn faces of the models."""

from reparam.estimators.autoencoder import VariationalAutoencoder

__all__ = ["VariationalAutoencoder"]
