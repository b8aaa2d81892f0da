"""Compiled code on disk: one file per function, variant, signature, target and fingerprint of the sources behind it.

    ⟨place⟩/dynq_numba/⟨function⟩-⟨key⟩.nbc      sha256 of key and code ┊ code, as numba pickles it

A place is `NUMBA_CACHE_DIR`, or else the package's ``__pycache__`` (looked in first) and the user's cache directory.
All are read. New files go to the first place that can be written. So an image may contain its kernels, read-only.

Loading a pickle can run any code. So a file is loaded only if it and its folder belong to this user or to root, if
nobody else may write to them, and if its digest is right. Truncated, renamed or damaged files never reach the loader.
Code whose file is refused is compiled.

There are four more differences from numba's own cache. Each of them has cost somebody hours:

* numba keeps an index file. Two processes can overwrite each other's entries; then a key leads to the code of another
  function.
* numba watches only the file of the cached function, so it misses an edit of an emitter (here: sources.py).
* A template is a closure, and `variant` names the values in it. numba hashes the closure's pickled cells, which
  differ in every process once an ``@intrinsic`` is among them.
* The variant is also part of the symbol. numba names one after the function and a counter of the process, so two
  variants from two processes could have the same name in a third process, and one would run for both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import _nrt_python
from numba.core.serialize import dumps

from . import sources
from .start import STARTED_IN

#: The folder of all kernels.
KERNELS = Path(__file__).parents[1]
_DIGEST = hashlib.sha256().digest_size
#: How numba begins the name of a function's environment: Python objects that it refers to.
ENVIRONMENT = "_ZN08NumbaEnv"
#: Only the owner may write. Everybody who runs an image may read its files.
_FOLDER_MODE, _FILE_MODE, _OTHERS_WRITE = 0o755, 0o644, 0o022
#: What else decides the machine code.
VERSIONS = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__, np.__version__, config.OPT)
#: A hash of all that can change any kernel, for what is kept elsewhere: users' own cached functions.
FINGERPRINT = hashlib.sha256(repr((sources.everything(), VERSIONS)).encode()).hexdigest()[:24]


def places() -> list[Path]:
    """Folders that may hold compiled code, in the order they are looked in."""
    if os.name != "posix":
        return []  # there, other means say who may write to a file
    if config.CACHE_DIR:
        roots = [Path(STARTED_IN, config.CACHE_DIR)]
    else:
        roots = [KERNELS / "__pycache__"]
        with contextlib.suppress(RuntimeError):  # a user without a home
            home = os.environ.get("XDG_CACHE_HOME", "")
            roots.append(Path(home if Path(home).is_absolute() else "~/.cache").expanduser())  # as its standard says
    return [root / "dynq_numba" for root in roots]


@cache
def _refuse(folder: Path, why: str) -> None:
    """Say once why kernels are compiled although there is a cache."""
    warnings.warn(f"code in the kernel cache {folder} is not used, since {why}", RuntimeWarning, 2)


def _only_ours(descriptor: int, folder: Path) -> bool:
    """Whether none but this user and root can have written what is in the open folder, or file of it."""
    status = os.fstat(descriptor)
    if status.st_uid not in (0, os.geteuid()):
        _refuse(folder, f"it belongs to user {status.st_uid}")
        return False
    if status.st_mode & _OTHERS_WRITE:
        _refuse(folder, f"others may write to it (mode {stat.filemode(status.st_mode)})")
        return False
    return True


@contextlib.contextmanager
def _opened(path: str | Path, flags: int, **options: Any) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, **options)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: Path, name: str, key: bytes) -> bytes | None:
    """The code that `key` is for, if a file that can be trusted holds it."""
    with contextlib.suppress(OSError), _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as inside:
        if not _only_ours(inside, folder):
            return None
        # By the folder that was looked at, whatever its name may lead to by now.
        with _opened(name, os.O_RDONLY, dir_fd=inside) as file, os.fdopen(os.dup(file), "rb") as reader:
            content = reader.read() if _only_ours(file, folder) else b""
        code = content[_DIGEST:]
        return code if content[:_DIGEST] == _digest(key, code) else None
    return None


def _made(folder: Path) -> bool:
    """Whether the folder is there, made if need be, and ours; OSError where it cannot be."""
    folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as inside:
        return _only_ours(inside, folder)


def _write(folder: Path, name: str, key: bytes, code: bytes) -> bool:
    """Whether the file could be put there, whole: it appears in one step or not at all."""
    with contextlib.suppress(OSError):  # read-only, full, or no place for folders: another place, or none
        if not _made(folder):
            return False
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(key, code) + code)
                os.fchmod(handle, _FILE_MODE)
            os.replace(temporary, folder / name)
        except BaseException:
            os.unlink(temporary)
            raise
        return True
    return False


@cache
def _know_runtime() -> None:
    """Tell LLVM where the functions of numba's runtime are, which loaded code may call.

    numba does it in a refresh of the target, which takes 0.2 s because it imports all that numba can compile. Compiling
    does that; loading needs no more than this.
    """
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def kept(name: str, key: bytes) -> Iterator[bytes]:
    """The code that `key` is for, of each place that has it."""
    for folder in places():
        code = _read(folder, name, key)
        if code is not None:
            yield code


def keep(name: str, key: bytes, code: bytes) -> None:
    """Put code where `kept` finds it, in the first place that can be written."""
    any(_write(folder, name, key, code) for folder in places())


def _digest(key: bytes, code: bytes) -> bytes:
    return hashlib.sha256(key + b"\0" + code).digest()


class KernelCache(_Cache):
    """The cache of one function; `variant` tells what it closed over."""

    def __init__(self, py_func: Callable, variant: str):
        self._name = f"{py_func.__module__}.{py_func.__qualname__}.{variant}"
        self._stem = hashlib.sha256(self._name.encode()).hexdigest()[:12]
        self._function = py_func
        self._enabled = True

    @property
    def cache_path(self) -> str:
        return str(next(iter(places()), ""))

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        for folder in places():
            for path in folder.glob(f"dynq-{self._stem}-*.nbc"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _file(self, sig: Any, codegen: Any) -> tuple[str, bytes]:
        """Name and key."""
        behind = sources.digest(sources.modules_of(self._function, *sig))
        key = repr((self._name, str(sig), codegen.magic_tuple(), behind, VERSIONS)).encode()
        return f"dynq-{self._stem}-{hashlib.sha256(key).hexdigest()[:24]}.nbc", key

    def _state(self, result: CompileResult) -> Any:
        """What is kept of a compilation, to be pickled.

        numba keeps the optimised IR beside the object code, for functions that link this one. Of a root these are only
        users' (njit/arguments.py: `address_of`), and parsing that IR is half of what loading takes. So the object code
        comes with the names that numba looks for in the IR, which is parsed when it is linked. And of the environments
        only those that hold something are kept: restoring one imports the module of its function.
        """
        (name, kind, (code, whole)), *rest, environments = result._reduce()
        module, own = result.library._get_module_for_linking(), result.fndesc
        entries = {own.llvm_func_name, own.llvm_cfunc_wrapper_name, own.llvm_cpython_wrapper_name}
        defined = [each.name for each in (*module.functions, *module.global_variables) if not each.is_declaration]
        names = [each for each in defined if each in entries or each.startswith(ENVIRONMENT)]
        stub = llvm.parse_assembly("".join(f'@"{each}" = global i64 0\n' for each in names))
        environments = tuple(each for each in environments if each.consts)
        return whole, ((name, kind, (code, stub.as_bitcode())), *rest, environments)

    def _restore(self, context: Any, state: Any) -> CompileResult:
        whole, parts = state
        result = CompileResult._rebuild(context, *parts)
        result.library._get_module_for_linking = cache(lambda: llvm.parse_bitcode(whole))
        return result

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not self._enabled:
            return None
        name, key = self._file(sig, target_context.codegen())
        for code in kept(name, key):
            _know_runtime()
            with contextlib.suppress(Exception):  # written by a numba that is not this one after all
                return self._restore(target_context, pickle.loads(code))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not self._enabled or data.library.has_dynamic_globals or any(not part.can_cache for part in data.lifted):
            return
        name, key = self._file(sig, data.codegen)
        try:
            code = dumps(self._state(data))
        except RuntimeError:  # Ctrl-C came in LLVM's call back to numba that hands over the code, where it is lost
            return
        keep(name, key, code)


def cache_directory() -> str | None:
    """Where compiled kernels go, or None where nothing can be written."""
    for folder in places():
        with contextlib.suppress(OSError):
            if _made(folder):
                tempfile.TemporaryFile(dir=folder).close()
                return str(folder)
    return None
