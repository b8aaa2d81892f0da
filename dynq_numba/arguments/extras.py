"""Packages of the extras, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(module: str, extra: str, what: str) -> Any:
    """A module of a package that an extra brings.

    Raises
    ------
    ImportError
        One sentence, with the pip line.
    """
    try:
        return import_module(module)
    except ImportError as error:
        name = error.name or module
        raise ImportError(f"{what} needs {name}: pip install 'dynq-numba[{extra}]'", name=name) from error
