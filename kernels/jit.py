"""Every compilation option of the package, and the disk cache, in one place.

``kernel``    compiles a function once per signature, with one set of options.
``address``   the C address of a compiled kernel, so that one kernel can call another through memory.
``entry``     the C-level callable of one signature, without numba's per-call type lookup.

The cache differs from numba's own in four ways, each of which cost somebody hours:

* One file per function, variant and signature, named by a hash of its key. numba keeps an index file
  that two processes can overwrite for one another, so that a key then leads to another function's code.
* The key holds a fingerprint of *all* kernel sources. numba watches only the file of the cached function,
  so an edit of an emitter goes unnoticed.
* A template is a closure, and `variant` names what it closed over. numba hashes the closure's pickled
  cells, which differ in every process once an ``@intrinsic`` is among them.
* The variant is also part of the symbol. numba names one after the function and a counter of the process, so two
  variants from two processes would meet in a third under one name, and one would run for both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import (
    CompileResultCacheImpl,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
    _Cache,
)
from numba.core.serialize import dumps

#: NUMBA_DISABLE_JIT=1 leaves nothing to compile: the API then runs on ``reference.py``.
JIT_ENABLED = not config.DISABLE_JIT

#: No fastmath: reassociation or contraction would make results depend on the machine.
#: error_model="numpy": a division by zero is a number, not an exception, so loops vectorise.
OPTIONS = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}


def _fingerprint() -> str:
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    versions = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, np.__version__, config.OPT)
    digest.update(repr(versions).encode())
    return digest.hexdigest()[:24]


#: A hash of every kernel source and of what else decides the machine code. Taken when this module is imported, which
#: is before the others are: code must not be filed under the hash of an edit made while its process was running.
FINGERPRINT = _fingerprint()


class _Impl(CompileResultCacheImpl):
    """numba's (de)serialisation, looking for a writable folder in these places only (none: no cache)."""

    _locator_classes = [UserProvidedCacheLocator, InTreeCacheLocator, UserWideCacheLocator]  # noqa: RUF012


class KernelCache(_Cache):
    """One file per (function, variant, signature, target, fingerprint), replaced atomically."""

    def __init__(self, py_func: Callable, variant: str):
        self._impl = _Impl(py_func)
        self._directory = Path(self._impl.locator.get_cache_path())
        self._name = f"{py_func.__module__}.{py_func.__qualname__}.{variant}"
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(self._directory)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        for path in self._directory.glob(f"dynq-{self._stem()}-*.nbc"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _stem(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:12]

    def _path(self, sig: Any, codegen: Any) -> Path:
        key = repr((self._name, str(sig), codegen.magic_tuple(), FINGERPRINT))
        return self._directory / f"dynq-{self._stem()}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled:
            return None
        target_context.refresh()
        try:
            payload = pickle.loads(self._path(sig, target_context.codegen()).read_bytes())
            return self._impl.rebuild(target_context, payload)
        except Exception:  # no file, or a truncated or foreign one: it costs a compilation, never an answer
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not (self._enabled and self._impl.check_cachable(data)):
            return
        path = self._path(sig, data.codegen)
        with contextlib.suppress(OSError):  # full or read-only disk: compile again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(dumps(self._impl.reduce(data)))
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise


def kernel(function: Callable | None = None, *, variant: str = "", parallel: bool = False, cached: bool = True) -> Any:
    """``numba.njit`` with the package's options and cache. Cached only for files of this folder: see FINGERPRINT.

    Parameters
    ----------
    variant : str
        What a template closed over (an instruction set, a scheme); part of the cache key.
    parallel : bool
        Let ``prange`` loops run on numba's threads.
    cached : bool
        False outside this folder, and where a user's own function is inlined: that code is not fingerprinted.
    """
    if function is None:
        return lambda f: kernel(f, variant=variant, parallel=parallel, cached=cached)
    tag = hashlib.sha256(variant.encode()).hexdigest()[:12] if cached else uuid.uuid4().hex
    function.__qualname__ += f"_{tag}"
    dispatcher = numba.njit(parallel=parallel, **OPTIONS)(function)
    if cached and JIT_ENABLED:
        with contextlib.suppress(RuntimeError, OSError):  # no writable place at all: run uncached
            dispatcher._cache = KernelCache(function, variant)
    return dispatcher


def cache_directory() -> str | None:
    """Where compiled kernels are kept, or None where nothing can be written."""
    try:
        return KernelCache(cache_directory, "").cache_path
    except (RuntimeError, OSError):
        return None


def compiled(dispatcher: Any, signature: tuple) -> Any:
    """numba's compilation result of one signature."""
    if signature not in dispatcher.overloads:
        dispatcher.compile(signature)
    return dispatcher.overloads[signature]


def address(dispatcher: Any, signature: tuple) -> int:
    """C address of `dispatcher` for `signature`; the code lives as long as the process."""
    result = compiled(dispatcher, signature)
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def entry(dispatcher: Any, signature: tuple) -> Callable:
    """The callable of exactly `signature`: The caller vouches for every argument's type."""
    return compiled(dispatcher, signature).entry_point
