"""Training: the loop, its checkpoints, and what it says while it runs."""

from reparam.train import checkpoint
from reparam.train.history import History
from reparam.train.loop import fit
from reparam.train.optimisers import OPTIMIZERS, make, moments, put_moments
from reparam.train.prior import fit_prior
from reparam.train.process import keep_freed_memory, threads, threads_for
from reparam.train.progress import Progress

__all__ = [
    "OPTIMIZERS", "History", "Progress", "checkpoint", "fit", "fit_prior", "keep_freed_memory", "make", "moments",
    "put_moments", "threads", "threads_for",
]  # fmt: skip
