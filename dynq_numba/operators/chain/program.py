"""A chain's program for the instruction set in force; see kernels/chain/worker.py."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...kernels.base.jit import JIT_ENABLED, address, entry
from ...kernels.base.memory import WORKER_SIGNATURE
from ...kernels.chain.call import chain_entry
from ...kernels.chain.context import NONE, STEP_BYTES, ChainProgram, Step, Value
from ...kernels.chain.worker import chain_worker
from ...kernels.linear.context import LinearContext, Weight
from ...kernels.objects.arguments import OBJECT
from ...kernels.objects.view import ADDRESS
from ...kernels.threads.partition import MACS_PER_US, chain_block, rows_for_two
from ...runtime import cpu, scratch, threads
from ...runtime.signatures import WORD

if TYPE_CHECKING:
    from .plan import Plan


@cache
def _worker() -> int:
    return address(chain_worker, WORKER_SIGNATURE)


class Program:
    """The words of a chain, and what runs them."""

    def __init__(self, plan: Plan):
        self._keep: list[Any] = [plan]  # what addresses point to
        steps = np.zeros((len(plan.steps), STEP_BYTES // 8), np.int64)
        contexts = steps[:, Step.lines() // 8 :]
        micros, weight_bytes, tallest = 0.0, 0, 1
        for group in plan.groups:
            for i in group:
                _, each, source = plan.steps[i]
                cost = each.fill(contexts[i], plan.widths[source], self._keep)
                micros, weight_bytes = micros + cost.row_micros, weight_bytes + cost.weight_bytes
                tallest = max(tallest, cost.tile_rows)
                Step.fill(steps[i], rate=cost.rate, **self._values(plan, i))
            Step.fill(steps[group[0]], followers=len(group) - 1)
            if not cost.rate:
                LinearContext.fill(contexts[group[0]], all_panels=contexts[group, Weight.panels].sum())
        places = sorted(plan.places.values())
        values = [Value.array(data=0, stride=4 * place.width, scratch_offset=place.room) for place in places]
        head = np.zeros(ChainProgram.lines() // 8, np.int64)
        block, least = chain_block(plan.row_bytes, weight_bytes, tallest, cpu.l2_bytes(), cpu.last_cache_bytes())
        ChainProgram.fill(
            head, steps=len(steps), values=len(values), arrays=len(plan.arguments) + len(plan.returns),
            most=max(map(len, plan.groups)), row_bytes=plan.row_bytes, block=block, least=least,
            row_ns=max(1, int(1000 * micros)), pool=threads.POOL, slots=scratch.ADDRESS, worker=_worker(),
        )  # fmt: skip
        self._rows_for_two = rows_for_two(1, int(micros * MACS_PER_US), weight_bytes)
        self._words = np.concatenate([head, steps.reshape(-1), *values])
        self._entry = entry(chain_entry, (OBJECT, ADDRESS, WORD, WORD))

    def _values(self, plan: Plan, i: int) -> dict[str, int]:
        """The numbers of a step's values."""
        name, each, source = plan.steps[i]
        total = each.total or (name if each.stores_total else None)
        names = {"x": source, "out": name, "second": each.beside and each.beside[1], "total": total}
        return {field: NONE if of is None else plan.places[of].number for field, of in names.items()}

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
