"""Row-wise steps one after another: each block of rows goes through all of them while it is in one core's cache.

    values    x ──step──▶ · ──step──▶ · ──step──▶ y       float32 [M, width] each
    step      a linear, or some that share their x and its quantization; a norm; a function element by element

    many rows    a task is a block of rows, and does every step on it; intermediate values are in the thread's scratch
    few rows     the steps one after another on all rows, each split among the threads as in a call of its own

A row's result depends on that row alone in every step, so both give the bits of the single calls. This saves
calls and memory traffic: the values inside 1024 rows of a layer 384 → 1536 → 384 are 6 MB, of which one block is in L2.
"""

from __future__ import annotations

from ..base.context import LINE, Context
from ..base.jit import kernel
from ..base.memory import call_worker, copy_bytes, is_null, null, offset, stack_bytes, store_int
from ..base.record import bytes_of
from ..linear.context import LinearContext
from ..rowwise.context import NormContext, RowsContext
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import CONTEXT_BYTES, NONE, STEP_BYTES, VALUE_BYTES, ChainContext, ChainProgram, Step, Value


@kernel
def place_of(number, values, first, scratch, capacity):
    """(address, stride) of a value's rows from the first on. `scratch` holds `capacity` rows."""
    if number == NONE:
        return null(), 0
    value = Value(offset(values, VALUE_BYTES * number))
    if value.scratch_offset >= 0:
        return offset(scratch, capacity * value.scratch_offset), value.stride
    return offset(value.data, first * value.stride), value.stride


@kernel
def steps_of(program):
    """The first step."""
    return Step(offset(program, bytes_of(ChainProgram)))


@kernel
def after(step, count):
    """The step so many behind this one."""
    return Step(offset(step, STEP_BYTES * count))


@kernel
def fill(contexts, step, values, first, rows, scratch, capacity, threads):
    """The contexts of a step and its followers for rows first … first+rows: all but how they are cut.

    Followers stand behind the first one's counters, of `threads` lines.
    """
    context, last = contexts, step.followers
    for i in range(last + 1):
        each = after(step, i)
        copy_bytes(context, offset(each, bytes_of(Step)), CONTEXT_BYTES)
        following = offset(context, CONTEXT_BYTES + (8 * LINE * threads if i == 0 else 0))
        if step.rate > 0:
            operator = RowsContext(context)
            operator.rows = rows
            operator.x, operator.x_stride = place_of(each.x, values, first, scratch, capacity)
            operator.out, operator.out_stride = place_of(each.out, values, first, scratch, capacity)
            operator.second, operator.second_stride = place_of(each.second, values, first, scratch, capacity)
            if each.total != NONE:
                norm = NormContext(context)
                norm.total, norm.total_stride = place_of(each.total, values, first, scratch, capacity)
        else:
            linear = LinearContext(context)
            linear.m = rows
            linear.x, linear.x_stride = place_of(each.x, values, first, scratch, capacity)
            linear.out, linear.out_stride = place_of(each.out, values, first, scratch, capacity)
            linear.residual, linear.residual_stride = place_of(each.second, values, first, scratch, capacity)
            if i < last:
                linear.next = following
        context = following
    counters = offset(contexts, CONTEXT_BYTES)
    for word in range(LINE * threads):
        store_int(counters, word, 0)
    head = Context(contexts)
    head.counters = counters


@kernel
def on_block(program, contexts, values, first, rows, scratch, capacity):
    """All steps on rows first … first+rows, by this thread; False for lack of memory."""
    head, step, left = Context(contexts), steps_of(program), program.steps
    while left > 0:
        fill(contexts, step, values, first, rows, scratch, capacity, 1)
        head.threads = 1
        head.tasks = 1
        if step.rate == 0:
            linear = LinearContext(contexts)
            linear.row_tasks = 1
            linear.column_tasks = 1
            linear.row_block = rows
        call_worker(head.worker, contexts, 0)
        if head.done != 1:
            return False
        together = 1 + step.followers
        step = after(step, together)
        left -= together
    return True


@kernel
def chain_worker(context, index):
    context = ChainContext(context)
    program, capacity = ChainProgram(context.program), context.row_block
    contexts = stack_bytes(CONTEXT_BYTES * program.most + 8 * LINE)
    slots = program.slots
    slot, scratch = borrow(slots, capacity * program.row_bytes)
    if not is_null(scratch):
        for task in tasks_of(context, index):
            first, rows = share(task, context.tasks, context.rows)
            if not on_block(program, contexts, context.values, first, rows, scratch, capacity):
                break
    give_back(slots, slot, scratch)
