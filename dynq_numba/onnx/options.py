"""How a session runs, as code written for ONNX Runtime says it."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arguments import checks
from ..files.weight_cache import WeightCache

CPU = "CPUExecutionProvider"


class GraphOptimizationLevel(enum.IntEnum):
    """ONNX Runtime's levels, for code written for it: a session of ours always does all."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """ONNX Runtime's modes, for code written for it: steps of ours run one after the other, each on all threads."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class RunOptions:
    """In the place of onnxruntime.RunOptions: any attribute can be set, and none counts."""

    def __setattr__(self, name: str, value: Any) -> None:  # says to type checkers that any name will do
        super().__setattr__(name, value)

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Taken, and not looked at."""


def get_available_providers() -> list[str]:
    """What computes here, as ONNX Runtime calls it.

    Examples
    --------
    >>> from dynq_numba.onnx import get_available_providers
    >>> get_available_providers()
    ['CPUExecutionProvider']
    """
    return [CPU]


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

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Taken, and not looked at."""


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
