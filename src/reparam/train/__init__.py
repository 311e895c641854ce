"""Training: the loop, its checkpoints, and what it says while it runs."""

from reparam.train import checkpoint
from reparam.train.crew import Crew, device_of, restarted, start
from reparam.train.history import History
from reparam.train.loop import fit
from reparam.train.optimisers import OPTIMIZERS, make, moments, put_moments
from reparam.train.prior import fit_prior
from reparam.train.process import keep_freed_memory, threads, threads_for
from reparam.train.progress import Progress

__all__ = [
    "OPTIMIZERS", "Crew", "History", "Progress", "checkpoint", "device_of", "fit", "fit_prior", "keep_freed_memory",
    "make", "moments", "put_moments", "restarted", "start", "threads", "threads_for",
]  # fmt: skip
