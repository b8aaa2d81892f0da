"""`linear_many(x, (w, …))` for Python, compiled as a C function: see vectorcall.py."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import address_value, is_null, load_int, load_ptr, null, stack_zeros, store_int, store_ptr
from ..objects.cpython import (
    ITEMS,
    LENGTH,
    data_of,
    descriptor_of,
    dimension,
    forget,
    hold,
    interpret,
    is_matrix,
    items_of,
    new_matrix,
    new_tuple,
    process_words,
    restore_thread,
    save_thread,
    stride,
)
from ..threads.partition import worthwhile_threads
from ..threads.pool import Pool
from .call import micros_of
from .context import Weight
from .many import linear_many_into, together
from .vectorcall import COUNT_MASK, LET_RUN_US, options, takes

#: As many weights as this path takes.
MOST = 16
#: What `attempt` gives.
DONE, OTHER, FAILED = range(3)


@kernel
def compute_linear_many(x, m, x_stride, table, weights, post_ops, threads):
    """Whether it was done; False for lack of memory."""
    try:
        linear_many_into(x, m, x_stride, table, weights, post_ops, threads)
    except Exception:
        return False
    return True


@kernel
def attempt(words, x, sequence, weights, results, post_ops, threads):
    """Fill the tuple `results`: DONE; OTHER where the case is not plain; FAILED with an exception set.

    Nothing here runs Python before the weights are held.
    """
    items = items_of(words, sequence)
    if is_null(items) or load_int(sequence, LENGTH // 8) != weights or not is_matrix(words, x) or dimension(x, 0) == 0:
        return OTHER
    table, micros, m = stack_zeros(24 * weights), 0.0, dimension(x, 0)
    for i in range(weights):
        weight = load_ptr(items, i)
        descriptor = Weight(descriptor_of(words, weight))
        if is_null(descriptor) or not takes(x, descriptor):
            return OTHER
        store_ptr(table, i, descriptor)
        store_ptr(table, 2 * weights + i, weight)
        micros += micros_of(m, descriptor)
    pool = Pool(Weight(load_ptr(table, 0)).pool)
    wanted = threads if threads > 0 else min(worthwhile_threads(micros), pool.setting)
    if pool.helpers + 1 < wanted or not together(table, weights):
        return OTHER
    for i in range(weights):
        out = new_matrix(words, m, Weight(load_ptr(table, i)).n)
        if is_null(out):
            return FAILED
        store_ptr(results, ITEMS // 8 + i, out)  # the tuple has the reference now
        store_int(table, weights + i, address_value(data_of(out)))
    source, x_stride = data_of(x), stride(x, 0)
    if micros < LET_RUN_US:
        return DONE if compute_linear_many(source, m, x_stride, table, weights, post_ops, threads) else OTHER
    for i in range(weights):
        hold(load_ptr(table, 2 * weights + i))  # others may change a list meanwhile
    state = save_thread()
    done = compute_linear_many(source, m, x_stride, table, weights, post_ops, threads)
    restore_thread(state)
    for i in range(weights):
        forget(load_ptr(table, 2 * weights + i))
    return DONE if done else OTHER


@kernel
def linear_many_vectorcall(function, arguments, count, names):
    """vectorcallfunc of `linear_many`; `function` does every other case."""
    words = process_words()
    if words.on != 1 or count & COUNT_MASK != 2:
        return interpret(words, function, arguments, count, names)
    plain, _, threads, post_ops = options(words, arguments, names, False)
    x, sequence = load_ptr(arguments, 0), load_ptr(arguments, 1)
    weights = 0 if is_null(items_of(words, sequence)) else load_int(sequence, LENGTH // 8)
    if not (plain and 1 <= weights <= MOST):
        return interpret(words, function, arguments, count, names)
    results = new_tuple(weights)  # first of all: it may collect garbage, and so run any Python
    if is_null(results):
        return results
    outcome = attempt(words, x, sequence, weights, results, post_ops, threads)
    if outcome == DONE:
        return results
    forget(results)
    if outcome == FAILED:
        return null()
    return interpret(words, function, arguments, count, names)
