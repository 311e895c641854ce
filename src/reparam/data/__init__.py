"""Data: files and arrays to tensors, with a schema that says what the numbers mean."""

from reparam.data.dataset import BINARIZE, Dataset, as_dataset, as_given
from reparam.data.opened import open, open_source, too_large
from reparam.data.readers import Source, read
from reparam.data.schema import Schema, infer

__all__ = [
    "BINARIZE",
    "Dataset",
    "Schema",
    "Source",
    "as_dataset",
    "as_given",
    "infer",
    "open",
    "open_source",
    "read",
    "too_large",
]
