"""One thing that was tried with a model, and digests of results."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes
    ----------
    name : str
    held : bool or None
        None where it could not be tried, or where no equality is promised; `detail` says so.
    tried : str
        What, in a few words.
    detail : str
        Where it did not hold, or why it could not be tried.
    sha256 : str
        Of the results, where there are whole ones.
    """

    name: str
    held: bool | None
    tried: str
    detail: str = ""
    sha256: str = ""


def digest(results: Sequence[Sequence[Any]]) -> str:
    """Of the results of some runs: types, shapes and bits; any NaN counts as any other."""
    whole = hashlib.sha256()
    for run in results:
        for each in run:
            array = np.asarray(each)
            whole.update(f"{array.dtype} {array.shape}".encode())
            if array.dtype.hasobject:
                whole.update(repr(array.tolist()).encode())
                continue
            if array.dtype.kind == "f":
                array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
            whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def same(a: Any, b: Any) -> bool:
    """Whether two results have the same bits."""
    return digest([[a]]) == digest([[b]])
