"""Importing costs nothing and changes nothing; the layers and the public names are what they claim."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import reparam as rp
from reparam.errors import MissingExtraError, require

OPTIONAL = ["sklearn", "pandas", "pyarrow", "PIL", "matplotlib", "jaxtyping", "beartype", "zuko", "starlette"]


def _fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def _loaded_after(code: str) -> set[str]:
    return set(
        json.loads(_fresh(f"{code}\nimport sys, json; print('\\n' + json.dumps(list(sys.modules)))").splitlines()[-1])
    )


def test_importing_reparam_loads_no_torch_and_no_optional_dependency():
    assert not _loaded_after("import reparam") & {"torch", "numpy", *OPTIONAL}


def test_using_the_library_loads_no_optional_dependency():
    code = "import reparam as rp; rp.VAE, rp.fit, rp.load, rp.recipes, rp.evaluate, rp.Dataset, rp.likelihoods"
    assert not _loaded_after(code) & set(OPTIONAL)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train"], ["trian"]])
def test_help_and_usage_errors_do_not_import_torch(words):
    assert "torch" not in _loaded_after(f"from reparam.cli.main import main; main({words!r})")


def test_importing_changes_no_global_state_of_torch():
    code = """
import torch, json
state = lambda: [torch.get_default_dtype() == torch.float32, torch.get_num_threads(), torch.is_grad_enabled(),
                 torch.distributions.Distribution._validate_args, torch.get_rng_state().sum().item(),
                 float(torch.tensor(1e-20) ** 2)]
before = state()
import reparam as rp
rp.VAE, rp.fit, rp.load, rp.recipes, rp.evaluate
print(json.dumps([before, state()]))
"""
    before, after = json.loads(_fresh(code))
    assert before == after


def test_every_public_name_exists_and_unknown_ones_are_errors():
    for name in rp.__all__:
        assert getattr(rp, name) is not None
    assert set(rp.__all__) <= set(dir(rp))
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        rp.nothing_of_this_name  # noqa: B018


def test_a_missing_extra_is_named():
    with pytest.raises(
        MissingExtraError, match=r"juggling needs the package 'no_such_package': pip install 'reparam\[plot\]'"
    ):
        require("no_such_package.part", "plot", "juggling")
