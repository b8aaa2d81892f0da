"""Errors that callers tell apart from others of their kind."""

from __future__ import annotations


class UnsupportedModelError(ValueError):
    """A model has something that nothing here computes, such as an operator or an old opset. Status 3 of ``dynq``."""


class UsageError(ValueError):
    """What was asked for makes no sense, whatever the files hold. Status 2 of ``dynq``."""
