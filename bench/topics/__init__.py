"""Operators other than the linear layer, each beside its peers: ``python -m bench.topics.operators``.

A topic is a module here with a `TOPIC` (see base.py); this list is the only other place to name it.
"""

from __future__ import annotations

import importlib

from .base import Topic

TOPICS = ("projections", "chain", "matmul", "floats", "attention", "convolution", "recurrent", "minilm")


def topic(name: str) -> Topic:
    """The topic of a module in this folder."""
    return importlib.import_module(f"bench.topics.{name}").TOPIC
