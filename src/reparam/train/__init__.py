"""Training: the loop, its checkpoints, and what it says while it runs."""

from reparam.train import checkpoint
from reparam.train.history import History
from reparam.train.loop import fit
from reparam.train.process import keep_freed_memory
from reparam.train.progress import Progress

__all__ = ["History", "Progress", "checkpoint", "fit", "keep_freed_memory"]
