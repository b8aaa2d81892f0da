"""Calls of functions of domain `dynq`: their bodies have the bits of our kernels in every runtime."""

from __future__ import annotations

from ..layers import Found, Replacement
from .base import Format


class _Calls(Format):
    def written(self, found: Found, made: Replacement) -> Replacement:
        return made


DYNQ = _Calls("dynq", "every scheme", lambda scheme: True)
