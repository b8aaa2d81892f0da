"""Imports onnx_ir without sympy, which takes longer than all the rest of it, and which it needs only to compute with
symbolic lengths. Nothing here does, so sympy is imported when a user does.

onnx_ir gets a stand-in for the module; nobody else sees it, and sympy itself is imported as ever.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any


class _Later:
    """What onnx_ir takes for sympy."""

    #: Whether onnx_ir is being imported, and only collects functions.
    collecting = True

    def __getattr__(self, name: str) -> Any:
        if not self.collecting:
            return getattr(import_module("sympy"), name)

        def function(*arguments: Any) -> Any:
            return getattr(import_module("sympy"), name)(*arguments)

        return function


def _importing(ordinary: Callable[..., Any], later: _Later) -> Callable[..., Any]:
    def import_(name: str, *context: Any, **named: Any) -> Any:
        globals_ = named.get("globals", context[0] if context else None)
        if name == "sympy" and globals_ is not None and globals_.get("__name__", "").startswith("onnx_ir."):
            return later
        return ordinary(name, *context, **named)

    return import_


def _import_onnx_ir() -> None:
    ordinary, later = builtins.__import__, _Later()
    builtins.__import__ = _importing(ordinary, later)
    try:
        import_module("onnx_ir")
    finally:
        builtins.__import__, later.collecting = ordinary, False


if "sympy" not in sys.modules and "onnx_ir" not in sys.modules:
    with suppress(Exception):  # another onnx_ir may do more with sympy than this one: then it is imported as it is
        _import_onnx_ir()
import_module("onnx_ir")
