"""From arrays to a running chain: fill in the addresses of its values, choose blocks or steps, run. See worker.py."""

from __future__ import annotations

from ..base.context import LINE, Context, new_context
from ..base.jit import kernel
from ..base.memory import copy_bytes, insist, is_null, load_ptr, offset, stack_bytes, stack_zeros
from ..linear.call import micros_of, start
from ..linear.context import LinearContext
from ..objects.cpython import ITEMS, data_of, stride
from ..rowwise.call import run_rows
from ..rowwise.context import RowsContext
from ..rowwise.entry import WORTH_US as ROWS_WORTH_US
from ..threads.partition import WORTH_US, rows_in_blocks
from ..threads.pool import Pool, run, worthwhile
from ..threads.scratch import borrow, give_back
from .context import CONTEXT_BYTES, VALUE_BYTES, ChainContext, ChainProgram, Value
from .worker import after, fill, steps_of


@kernel
def by_blocks(program, values, m, block, threads):
    """Blocks of at most `block` rows, each through all steps."""
    tasks = (m + block - 1) // block
    tasks = (tasks + threads - 1) // threads * threads  # so that all threads end together
    context = new_context(ChainContext, threads)
    context.worker = program.worker
    context.pool = program.pool
    context.tasks = tasks
    context.program = program
    context.values = values
    context.rows = m
    context.row_block = (m + tasks - 1) // tasks
    insist(run(Context(context), threads))


@kernel
def one_step(step, contexts, m, threads, pool, most):
    """A step whose contexts are filled, on as many threads as it is worth; counters are there for `most`.

    The setting, which `worthwhile` looks at, may change meanwhile.
    """
    if step.rate > 0:
        operator = RowsContext(contexts)
        micros = m * operator.k / step.rate
        operator.threads = min(most, worthwhile(pool, threads, micros, ROWS_WORTH_US))
        run_rows(operator)  # needs no memory
        return True
    first = LinearContext(contexts)
    micros, each = 0.0, first
    while not is_null(each):
        micros += micros_of(m, each)
        each = LinearContext(each.next)
    wanted = min(most, worthwhile(pool, threads, micros, WORTH_US))
    return start(first, m, first.all_panels, wanted)


@kernel
def by_steps(program, values, m, scratch, threads):
    """The steps one after another, each on all rows. Whether there was enough memory."""
    pool = program.pool
    most = threads if threads > 0 else Pool(pool).setting
    contexts = stack_zeros(CONTEXT_BYTES * program.most + 8 * LINE * most)
    step, left = steps_of(program), program.steps
    while left > 0:
        fill(contexts, step, values, 0, m, scratch, m, most)
        if not one_step(step, contexts, m, threads, pool, most):
            return False
        together = 1 + step.followers
        step = after(step, together)
        left -= together
    return True


@kernel
def chain_into(program, values, m, threads):
    """Run a program on m > 0 rows; `values` have their addresses. `threads` 0 chooses."""
    micros = m * program.row_ns / 1000
    wanted = worthwhile(program.pool, threads, micros, WORTH_US)
    block = program.block
    if rows_in_blocks(m, block, program.least, wanted):
        by_blocks(program, values, m, block, wanted)
        return
    slots = program.slots
    slot, scratch = borrow(slots, m * program.row_bytes)
    fine = not is_null(scratch) and by_steps(program, values, m, scratch, threads)
    give_back(slots, slot, scratch)
    insist(fine)


@kernel
def chain_entry(arrays, program, m, threads):
    """`arrays`: a tuple of float32 matrices of m rows, last axes contiguous, in the order of the program's values."""
    program = ChainProgram(program.data)
    values = stack_bytes(VALUE_BYTES * program.values)
    copy_bytes(values, after(steps_of(program), program.steps), VALUE_BYTES * program.values)
    items = offset(arrays.at, ITEMS)
    for i in range(program.arrays):
        array, value = load_ptr(items, i), Value(offset(values, VALUE_BYTES * i))
        value.data = data_of(array)
        value.stride = stride(array, 0)
    chain_into(program, values, m, threads)
