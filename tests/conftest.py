"""Shapes and types of the library are checked at every call: jaxtyping's annotations, by beartype."""

from __future__ import annotations

import warnings

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("reparam", "typechecker.check")
# The tensors of the tests are small: threads would only wait for each other, for long where the machine is shared.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _only_options():
    """The variable that test_mnist has read by now is gone: to the command this prefix is of its options,
    and warns of one that is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REPARAM_MNIST", raising=False)
        yield


@pytest.fixture(autouse=True)
def _the_process_as_it_was():
    """Every test starts from the same generator, so that a failure repeats; the command may change its process."""
    torch.manual_seed(0)
    show = warnings.showwarning
    yield
    warnings.showwarning = show
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


@pytest.fixture
def double():
    """float64 as the default dtype, for theorems that hold to 1e-9."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
