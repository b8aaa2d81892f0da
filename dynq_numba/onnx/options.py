"""How a session runs, as code written for ONNX Runtime says it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arguments import checks
from ..files.weight_cache import WeightCache

CPU = "CPUExecutionProvider"


class SessionOptions:
    """In the place of onnxruntime.SessionOptions: any attribute can be set, and one of them counts.

    Attributes
    ----------
    intra_op_num_threads : int
        The most threads a run uses; 0 for as many as pay for the work.

    Examples
    --------
    >>> from dynq_numba.onnx import SessionOptions
    >>> options = SessionOptions()
    >>> options.intra_op_num_threads = 2
    """

    intra_op_num_threads: int = 0

    def __setattr__(self, name: str, value: Any) -> None:  # says to type checkers that any name will do
        super().__setattr__(name, value)


def thread_count(threads: Any, options: Any) -> int:
    """The most threads; 0 chooses. Options may stand in the place of `threads`."""
    if hasattr(threads, "intra_op_num_threads"):
        threads, options = None, threads
    name = "threads"
    if threads is None and options is not None:
        name, threads = "intra_op_num_threads", getattr(options, "intra_op_num_threads", 0) or None
    return 0 if threads is None else checks.thread_count(name, threads)


def cache_of(folder: Any) -> WeightCache | None:
    """The weight cache of a session."""
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"weight_cache must be a path or None; got {checks.describe(folder)}")
    place = Path(folder)
    if (place.exists() or place.is_symlink()) and not place.is_dir():
        raise ValueError(f"weight_cache must be a folder, or not be there yet; got {str(place)!r}")
    return WeightCache(place)


def check_providers(providers: Sequence[Any] | None) -> None:
    """Raise ValueError where the CPU is not among them."""
    names = [each[0] if isinstance(each, tuple) else each for each in providers or [CPU]]
    if CPU not in names:
        raise ValueError(f'providers must have "{CPU}"; got {names}')
