"""Operators other than the linear layer, each beside its peers: ``python -m bench operators``.

A topic is a module here with a `TOPIC` (see base.py); the list TOPICS is the only other place to name it. The modules
with a `main` are benchmarks of their own: linear, embedding, conversion, accuracy.
"""

from __future__ import annotations

import importlib

from bench.harness.remote import Remote

from .base import Topic, Way

TOPICS = (
    "projections", "chain", "matmul", "sgemm", "rowwise", "attention", "conv", "sconv", "pooling", "recurrent",
    "minilm",
)  # fmt: skip


def topic(name: str) -> Topic:
    """The topic of a module in this folder."""
    return importlib.import_module(f"bench.topics.{name}").TOPIC


def remote(name: str, way: Way, threads: int) -> Remote:
    """A process for one way of a topic."""
    return Remote(f"bench.topics.{name}:{way.name}", threads, way.environment(threads))
