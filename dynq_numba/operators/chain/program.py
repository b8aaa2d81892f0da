"""A chain's program for the instruction set in force; see kernels/chain/worker.py."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...kernels.base import context as at
from ...kernels.base.jit import JIT_ENABLED, address, entry
from ...kernels.base.memory import WORKER_SIGNATURE
from ...kernels.chain import worker as words
from ...kernels.chain.call import chain_entry
from ...kernels.objects.arguments import OBJECT
from ...kernels.objects.view import ADDRESS
from ...kernels.rowwise import worker as floats
from ...kernels.threads.partition import MACS_PER_US, chain_block, rows_for_two
from ...runtime import cpu, scratch, threads
from ...runtime.signatures import WORD

if TYPE_CHECKING:
    from .plan import Plan


@cache
def _worker() -> int:
    return address(words.chain_worker, WORKER_SIGNATURE)


class Program:
    """The words of a chain, and what runs them."""

    def __init__(self, plan: Plan):
        self._keep: list[Any] = [plan]  # what addresses point to
        steps = np.zeros((len(plan.steps), at.SIZE), np.int64)
        micros, weight_bytes, tallest = 0.0, 0, 1
        for group in plan.groups:
            for i in group:
                _, each, source = plan.steps[i]
                own = steps[i]
                cost = each.fill(own, plan.widths[source], self._keep)
                micros, weight_bytes = micros + cost.row_micros, weight_bytes + cost.weight_bytes
                tallest = max(tallest, cost.tile_rows)
                self._point(own, plan, i)
            leader = steps[group[0]]
            leader[words.FOLLOWERS] = len(group) - 1
            if not leader[words.RATE]:
                leader[at.ALL_PANELS] = steps[group, at.PANELS].sum()
        places = sorted(plan.places.values())
        values = np.array([(0, 4 * place.width, place.room) for place in places], np.int64)
        head = np.zeros(words.HEAD, np.int64)
        head[words.STEPS], head[words.VALUES] = len(steps), len(values)
        head[words.ARRAYS] = len(plan.arguments) + len(plan.returns)
        head[words.MOST], head[words.ROW_BYTES] = max(map(len, plan.groups)), plan.row_bytes
        head[words.BLOCK], head[words.LEAST] = chain_block(
            plan.row_bytes, weight_bytes, tallest, cpu.l2_bytes(), cpu.last_cache_bytes()
        )
        head[words.ROW_NS] = max(1, int(1000 * micros))
        self._rows_for_two = rows_for_two(1, int(micros * MACS_PER_US), weight_bytes)
        head[words.POOL], head[words.SLOTS], head[words.WORKER] = threads.POOL, scratch.ADDRESS, _worker()
        self._words = np.concatenate([head, steps.reshape(-1), values.reshape(-1)])
        self._entry = entry(chain_entry, (OBJECT, ADDRESS, WORD, WORD))

    def _point(self, own: np.ndarray, plan: Plan, i: int) -> None:
        """Numbers of values, where a context has addresses."""
        name, each, source = plan.steps[i]
        own[at.X], own[at.OUT] = plan.places[source].number, plan.places[name].number
        own[at.RESIDUAL] = words.NONE if each.beside is None else plan.places[each.beside[1]].number
        if own[words.RATE]:
            own[floats.TOTAL] = plan.places[each.total or name].number

    def run(self, arrays: tuple[np.ndarray, ...], count: int) -> None:
        """Fill the results, the last of the arrays; all float32 [rows, width] with a contiguous last axis."""
        if count > 1 or (count == 0 and len(arrays[0]) >= self._rows_for_two):
            threads.ready(count)
        self._entry(arrays, self._words, len(arrays[0]), count)


def program(plan: Plan) -> Program | None:
    """None where the steps must run as calls of their own."""
    fusible = all(each.fusible for _, each, _ in plan.steps)
    empty = any(0 in (plan.widths[source], plan.widths[name]) for name, _, source in plan.steps)
    return None if not fusible or empty or not JIT_ENABLED else Program(plan)
