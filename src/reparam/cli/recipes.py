"""recipes: the models of papers, one line each."""

from __future__ import annotations

from reparam.cli.options import RecipesOptions
from reparam.recipes import RECIPES


def recipes(options: RecipesOptions) -> int:
    """``reparam recipes``."""
    for name, recipe in RECIPES.items():
        print(f"{name:<22} {(recipe.__doc__ or '').splitlines()[0]}")
    return 0
