"""Packed weights in files that processes map, so that those which run one model share its pages, and none packs again.

    ⟨folder⟩/⟨key⟩.weights      header ┊ zeros to a page ┊ room

A *room* is the memory of one packed weight: bytes that depend on nothing but the weight, the form of its panels and the
instruction set, and a place for its descriptor. The key is the SHA-256 of all these, and of the package's sources. So
nothing in a file ever changes, and a file that is too many is only a waste of disk: whoever made the folder may empty
it at any time, also while processes run.

A file is mapped copy-on-write. A descriptor holds addresses, which are different in every process: writing it copies
its page, and the others stay shared.

One process packs a weight, while others that want it wait for a lock on its ``.part``. A file has its name only when it
is whole and on disk. It is mapped if length and header are right, and if nobody but this user and root can have written
it. Where no file can be had, the weight is packed in memory, as without a cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import stat
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..kernels.base.cache import FINGERPRINT
from ..runtime.memory import aligned_zeros

#: Rooms from so many bytes on are kept in files: smaller ones are packed in less time than a file is opened.
LARGE = 1 << 18
#: Where a room begins in its file: at a page of every system.
BEGIN = 1 << 16
MAGIC = b"dynq-numba packed weight 1\n"
#: What is hashed at a time, on some threads.
PART, HASHERS = 1 << 22, 2
_OTHERS_WRITE = 0o022

Fill = Callable[[np.ndarray], object]


class WeightCache:
    """A folder of packed weights, made when the first is written.

    Parameters
    ----------
    folder : path
        On a local disk. It should be this user's own.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()

    def room(self, key: bytes, count: int, fill: Fill) -> np.ndarray:
        """The `count` bytes of this key: mapped, and else as `fill` makes them of zeros."""
        made: list[np.ndarray] = []
        name = hashlib.sha256(key).hexdigest()
        try:
            found = self._opened(name, count)
            return self._packed(name, count, fill, made) if found is None else found
        except OSError as error:  # read-only, full, another's, or no locks there
            _refuse(self.folder, str(error))
        if not made:
            made.append(aligned_zeros(count))
            fill(made[0])
        return made[0]

    def _packed(self, name: str, count: int, fill: Fill, made: list[np.ndarray]) -> np.ndarray:
        """The room once it is in its file, which one of the processes that want it writes."""
        self.folder.mkdir(0o755, parents=True, exist_ok=True)
        _check(self.folder.stat(), str(self.folder))
        part = self.folder / f"{name}.part"
        with _locked(part) as file:
            found = self._opened(name, count)
            if found is not None:  # while this process waited
                part.unlink()
                return found
            made.append(aligned_zeros(count))
            fill(made[0])
            try:
                os.ftruncate(file, 0)  # what a process left that was ended
                _write(file, _header(name, count), made[0])
                os.replace(part, self.folder / f"{name}.weights")
            except BaseException:
                part.unlink()
                raise
        found = self._opened(name, count)
        return made[0] if found is None else found

    def _opened(self, name: str, count: int) -> np.ndarray | None:
        """The room in a file that is whole and ours; None where there is none."""
        path = self.folder / f"{name}.weights"
        try:
            # a pipe of that name must not be waited for
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            status, header = os.fstat(file), _header(name, count)
            _check(status, str(path))
            whole = status.st_size == BEGIN + count and os.read(file, len(header)) == header
            return _mapped(file, count) if whole else None
        finally:
            os.close(file)


def _header(name: str, count: int) -> bytes:
    return MAGIC + f"{name} {count}\n".encode()


def _check(status: os.stat_result, path: str) -> None:
    """OSError unless none but this user and root can have written what is there."""
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionError(f"{path} belongs to user {status.st_uid}")
    if status.st_mode & _OTHERS_WRITE:
        raise PermissionError(f"others may write to {path} (mode {stat.filemode(status.st_mode)})")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A file of that name, open for writing by this thread alone. The system lets go of it when the process ends."""
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(file, path):  # else another process gave it its name, or removed it
                yield file
                return
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file open, too
            os.close(file)


def _is_still(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write(file: int, header: bytes, room: np.ndarray) -> None:
    """Header and room, on disk when this is done: a file with a name must not lose its contents with the power."""
    for begin, data in (0, memoryview(header)), (BEGIN, room.data):
        while data:
            size = os.pwrite(file, data[: 1 << 30], begin)
            begin, data = begin + size, data[size:]
    os.fsync(file)


@cache
def _libc() -> Any:
    """Python's own mmap keeps a file open for each map, and a process may have only some hundreds open."""
    libc = ctypes.CDLL(None, use_errno=True)
    word, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes, libc.mmap.restype = (word, word, number, number, number, ctypes.c_long), word
    libc.munmap.argtypes = word, word
    return libc


def _mapped(file: int, count: int) -> np.ndarray:
    address = _libc().mmap(0, count, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, file, BEGIN)
    if address == ctypes.c_size_t(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    memory = (ctypes.c_uint8 * count).from_address(address)
    weakref.finalize(memory, _libc().munmap, address, count).atexit = False  # kernels may still run then
    return np.frombuffer(memory, np.uint8)  # type: ignore[call-overload]  # which keeps `memory`


@cache
def _refuse(folder: Path, why: str) -> None:
    """Say once why weights are packed although there is a cache."""
    warnings.warn(f"the weight cache {folder} is not used: {why}", RuntimeWarning, 2)


#: What packs weights now, and where they are kept.
_now: ContextVar[Iterator[tuple[WeightCache, bytes]] | None] = ContextVar("_now", default=None)


@contextlib.contextmanager
def packing(place: WeightCache | None, kind: str, arrays: Sequence[np.ndarray | None]) -> Iterator[None]:
    """Keep what is packed within, of these arrays and in this way, in `place`."""
    token = _now.set(None if place is None else _keys(place, kind, arrays))
    try:
        yield
    finally:
        _now.reset(token)


def packed(count: int, form: object, fill: Fill) -> np.ndarray:
    """A new room of `count` bytes, which `fill` makes of zeros; or one of the cache in force, if it is there.

    Parameters
    ----------
    count : int
    form : object
        All that `fill` depends on besides the weights, as something whose repr says it.
    fill : callable
        fill(room) writes what depends on weights and form alone: no address.
    """
    keys = _now.get() if count >= LARGE else None
    if keys is None:
        room = aligned_zeros(count)
        fill(room)
        return room
    place, key = next(keys)
    return place.room(key + repr((count, form)).encode(), count, fill)


def _keys(place: WeightCache, kind: str, arrays: Sequence[np.ndarray | None]) -> Iterator[tuple[WeightCache, bytes]]:
    """What tells apart the rooms of these arrays, one after another."""
    behind = repr((FINGERPRINT, _sources(), kind, [None if each is None else digest(each) for each in arrays]))
    number = 0
    while True:
        yield place, f"{behind} {number} ".encode()
        number += 1


def digest(array: np.ndarray) -> str:
    """A hash of values, type and shape."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    parts = [data[begin : begin + PART] for begin in range(0, data.size, PART)]
    if len(parts) < 2:
        found = [_sha256(each) for each in parts]
    else:
        # Imported here: it takes a lock before every fork, where a handler that forks meanwhile would wait for ever.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(HASHERS) as pool:
            found = list(pool.map(_sha256, parts))
    return hashlib.sha256(repr((array.dtype.name, array.shape, found)).encode()).hexdigest()


def _sha256(data: np.ndarray) -> str:
    return hashlib.sha256(data.data).hexdigest()


@cache
def _sources() -> str:
    """A hash of this package's sources, which pack."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(path.read_bytes() + b"\0")
    return found.hexdigest()
