"""Every compilation option of the package in one place; compiled code is kept on disk (cache.py).

``kernel``    compiles a function once per signature, with one set of options.
``address``   the C address of a compiled kernel, so that one kernel can call another through memory.
``entry``     the C-level callable of one signature, without numba's per-call type lookup.
"""

from __future__ import annotations

import gc
import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from .cache import FINGERPRINT as FINGERPRINT
from .cache import cache_directory as cache_directory
from .handlers import handlers_held
from .parts import Kernel, part

#: NUMBA_DISABLE_JIT=1 leaves nothing to compile: the API then runs on ``linear/reference.py``.
JIT_ENABLED = not config.DISABLE_JIT

#: No fastmath: reassociation or contraction would make results depend on the machine.
#: error_model="numpy": a division by zero is a number, not an exception, so loops vectorise.
OPTIONS = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}


def kernel(function: Callable | None = None, *, variant: str = "", parallel: bool = False, cached: bool = True) -> Any:
    """``numba.njit`` with the package's options and cache. Cached only for files of this folder: see sources.py.

    Parameters
    ----------
    variant : str
        What a template closed over (an instruction set, a scheme); part of the cache key.
    parallel : bool
        Let ``prange`` loops run on numba's threads; not with `cached`.
    cached : bool
        False outside this folder, and where a user's own function is inlined: that code is not fingerprinted.
    """
    if function is None:
        return lambda f: kernel(f, variant=variant, parallel=parallel, cached=cached)
    tag = hashlib.sha256(variant.encode()).hexdigest()[:12] if cached else uuid.uuid4().hex
    function.__qualname__ += f"_{tag}"
    if cached and JIT_ENABLED:
        return part(function, variant, OPTIONS)
    return numba.njit(parallel=parallel, **OPTIONS)(function)


@contextmanager
def _collections_held() -> Iterator[None]:
    """No garbage collection within: it would go through the many objects of a compilation again and again, in vain."""
    with global_compiler_lock:
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()


def compiled(dispatcher: Any, signature: tuple) -> Any:
    """numba's compilation result of one signature, as it can be reached by address."""
    return _compiled(dispatcher, "address", signature)


def _compiled(dispatcher: Any, role: str, signature: tuple) -> Any:
    if isinstance(dispatcher, Kernel):
        dispatcher = dispatcher.root(role)
    if signature not in dispatcher.overloads:
        with handlers_held(), _collections_held():
            dispatcher.compile(signature)
    return dispatcher.overloads[signature]


def address(dispatcher: Any, signature: tuple) -> int:
    """C address of `dispatcher` for `signature`; the code lives as long as the process."""
    result = compiled(dispatcher, signature)
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)


def entry(dispatcher: Any, signature: tuple) -> Callable:
    """The callable of exactly `signature`: The caller vouches for every argument's type."""
    return _compiled(dispatcher, "entry", signature).entry_point
