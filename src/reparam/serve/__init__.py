"""A trained model over HTTP: encode, decode, score, sample and impute, in JSON and as .npy bytes."""

from reparam.serve.service import Service, server

__all__ = ["Service", "server"]
