"""`linear_many(x, (w, …))` for Python, compiled as a C function: see quick.py."""

from __future__ import annotations

from . import context as at
from .blocking import worthwhile_threads
from .call import micros_of
from .call_many import linear_many_into, together
from .jit import kernel
from .memory import address_value, is_null, load_int, load_ptr, null, stack_zeros, store_int, store_ptr
from .parallel import HELPERS, SETTING
from .python import (
    ITEMS,
    LENGTH,
    ON,
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
from .quick import COUNT_MASK, LET_RUN_US, options, takes

#: As many weights as this path takes.
MOST = 16


@kernel
def compute_many(x, table, weights, finish, threads):
    """Whether it was done; False for want of memory."""
    try:
        linear_many_into(data_of(x), dimension(x, 0), stride(x, 0), table, weights, finish, threads)
    except Exception:
        return False
    return True


@kernel
def quick_linear_many(function, arguments, count, names):
    """vectorcallfunc of `linear_many`; `function` does every other case."""
    words = process_words()
    if load_int(words, ON) != 1 or count & COUNT_MASK != 2:
        return interpret(words, function, arguments, count, names)
    plain, given, threads, finish = options(words, arguments, names)
    x, sequence = load_ptr(arguments, 0), load_ptr(arguments, 1)
    if not (plain and is_null(given) and is_matrix(words, x)):
        return interpret(words, function, arguments, count, names)
    items = items_of(words, sequence)
    weights = 0 if is_null(items) else load_int(sequence, LENGTH // 8)
    if not 1 <= weights <= MOST or dimension(x, 0) == 0:
        return interpret(words, function, arguments, count, names)
    table, micros, m = stack_zeros(16 * weights), 0.0, dimension(x, 0)
    for i in range(weights):
        descriptor = descriptor_of(words, load_ptr(items, i))
        if is_null(descriptor) or not takes(x, descriptor):
            return interpret(words, function, arguments, count, names)
        store_ptr(table, i, descriptor)
        micros += micros_of(m, descriptor)
    pool = load_ptr(load_ptr(table, 0), at.POOL)
    wanted = threads if threads > 0 else min(worthwhile_threads(micros), load_int(pool, SETTING))
    if load_int(pool, HELPERS) + 1 < wanted or not together(table, weights):
        return interpret(words, function, arguments, count, names)
    results = new_tuple(weights)
    if is_null(results):
        return results
    for i in range(weights):
        out = new_matrix(words, m, load_int(load_ptr(table, i), at.N))
        if is_null(out):
            forget(results)
            return null()
        store_ptr(results, ITEMS // 8 + i, out)  # the tuple has the reference now
        store_int(table, weights + i, address_value(data_of(out)))
    if micros < LET_RUN_US:
        done = compute_many(x, table, weights, finish, threads)
    else:
        held = new_tuple(weights)  # of the weights: others may change the list meanwhile
        if is_null(held):
            forget(results)
            return held
        for i in range(weights):
            hold(load_ptr(items, i))
            store_ptr(held, ITEMS // 8 + i, load_ptr(items, i))
        state = save_thread()
        done = compute_many(x, table, weights, finish, threads)
        restore_thread(state)
        forget(held)
    if done:
        return results
    forget(results)
    return interpret(words, function, arguments, count, names)
