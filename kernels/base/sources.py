"""Which source files the machine code of a kernel depends on, so that an edit recompiles only what it affects.

    a kernel ──▶ the modules of its function and of all that it closes over (kernels, emitters, instruction sets, …)
                 and of the types of its arguments; and all that these modules import, directly or not

A kernel's module must import every name that the kernel uses. Values from a template are in its closure. Imports are
read from the source, not from the loaded modules, because these do not tell where a constant came from.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

#: The package whose sources these are: ``dynq_numba.kernels``.
PACKAGE = __name__[: __name__.rindex(".kernels") + len(".kernels")]
_FROM = re.compile(r"^[ \t]*from[ \t]+(\.+)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#(]*)", re.MULTILINE)
_NAME = re.compile(r"(\w+)(?:\s+as\s+\w+)?")


def _read() -> dict[str, tuple[str, bool]]:
    """Source of every module of the package by full name, and whether it is a package itself."""
    found = {}
    root = Path(sys.modules[PACKAGE].__path__[0])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join((PACKAGE, *parts)).removesuffix(".__init__")
        found[name] = path.read_text(encoding="utf-8"), parts[-1] == "__init__"
    return found


#: Taken when this module is imported, which is before kernels are: code must not be filed under the hash of an edit
#: made while its process was running.
_SOURCES = _read()


@cache
def _imported(module: str) -> frozenset[str]:
    """Modules of the package that `module` imports by name, and the packages that it is in."""
    source, is_package = _SOURCES[module]
    parts = module.split(".")
    found = {".".join(parts[:i]) for i in range(1, len(parts))}
    for dots, path, names in _FROM.findall(source):
        above = parts[: len(parts) - len(dots) + is_package]
        base = ".".join([*above, path] if path else above)
        found |= {base, *(f"{base}.{name}" for name in _NAME.findall(names))}
    return frozenset(found & _SOURCES.keys())


@cache
def closure(module: str) -> frozenset[str]:
    """`module` and all modules of the package that it imports, directly or not."""
    found, waiting = {module}, [module]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return frozenset(found)


def modules_of(*things: Any) -> frozenset[str]:
    """Modules of the package that functions and what they close over (or types) come from, with all these import."""
    found: set[str] = set()
    seen: dict[int, Any] = {}
    waiting = list(things)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, (str, bytes, int, float, ModuleType, CodeType, type(None))):
            continue
        seen[id(thing)] = thing  # alive, so that no other object has its id
        module = getattr(thing, "__module__", None)
        if isinstance(module, str) and module in _SOURCES:
            found |= closure(module)
        waiting += _parts(thing)
    return frozenset(found)


def _parts(thing: Any) -> Iterable[Any]:
    """What else has a say in the code that comes of `thing`."""
    if isinstance(thing, FunctionType):
        cells = (cell.cell_contents for cell in thing.__closure__ or ())
        return [*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    if isinstance(thing, MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, dict):
        return [*thing, *thing.values()]
    if isinstance(thing, (tuple, list, set, frozenset)):
        return thing
    if isinstance(thing, type):
        return thing.__mro__[1:]
    if isinstance(thing, Enum):
        return [type(thing)]
    # numba's dispatchers, its intrinsics, functools.cache, and instances of this package's own classes
    inner = [getattr(thing, name, None) for name in ("py_func", "_defn", "__wrapped__")]
    own = vars(thing).values() if type(thing).__module__ in _SOURCES and hasattr(thing, "__dict__") else ()
    return [*inner, *own, type(thing)]


@cache
def digest(modules: frozenset[str]) -> str:
    """A hash of the sources of these modules."""
    found = hashlib.sha256()
    for module in sorted(modules):
        found.update(module.encode() + b"\0" + _SOURCES[module][0].encode() + b"\0")
    return found.hexdigest()[:24]


def everything() -> str:
    """A hash of all sources of the package."""
    return digest(frozenset(_SOURCES))
