"""`linear` for Python, compiled as a C function, for small calls.

    linear(x, w, out=…, threads=…, activation=…)     x and out float32 matrices, rows contiguous and apart

Any other case goes to the Python function, which also raises the errors. This code only decides whether a case is
plain.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.limits import MAX_THREADS
from ..base.memory import address_value, is_null, load_i32, load_int, load_ptr, null
from ..objects.cpython import (
    FLAGS,
    ITEMS,
    LENGTH,
    PROCESS,
    WRITEABLE,
    Process,
    data_of,
    descriptor_of,
    dimension,
    forget,
    hold,
    integer,
    interpret,
    is_matrix,
    new_matrix,
    process_words,
    restore_thread,
    same,
    save_thread,
    stride,
)
from ..threads.partition import worthwhile_threads
from ..threads.pool import Pool
from .call import linear_into, micros_of
from .context import Weight

#: The first word of the pairs behind the process words.
NAMED = Process.size
#: The top bit of a vectorcall's count says something else.
COUNT_MASK = (1 << 63) - 1
#: Microseconds of work from which other Python threads are let run meanwhile: handing them the lock and taking it back
#: costs 0.04, and when somebody else takes it, up to the switch interval.
LET_RUN_US = 5.0


@kernel
def apart(out, x):
    """Whether two matrices of floats, rows in ascending order, have no byte in common."""
    if stride(out, 0) < 0 or stride(x, 0) < 0:
        return False
    begin, other = address_value(data_of(out)), address_value(data_of(x))
    end = begin + (dimension(out, 0) - 1) * stride(out, 0) + 4 * dimension(out, 1)
    other_end = other + (dimension(x, 0) - 1) * stride(x, 0) + 4 * dimension(x, 1)
    return end <= other or other_end <= begin


@kernel
def fits(words, out, m, n, x):
    """Whether a result [m, n] can be written into `out` while x is read."""
    return (
        is_matrix(words, out)
        and dimension(out, 0) == m
        and dimension(out, 1) == n
        and (stride(out, 1) == 4 or n <= 1)
        and load_i32(out, FLAGS // 4) & WRITEABLE != 0
        and apart(out, x)
    )


@kernel
def options(words, arguments, names, has_out):
    """(plain, out or NULL, threads or 0, post-ops or NULL) of arguments by keyword, which follow x and w."""
    out, threads, post_ops = null(), 0, null()
    for i in range(0 if is_null(names) else load_int(names, LENGTH // 8)):
        name, value = load_ptr(names, ITEMS // 8 + i), load_ptr(arguments, 2 + i)
        if has_out and same(name, words.out):
            out = null() if same(value, words.none) else value
        elif same(name, words.threads):
            threads = 0 if same(value, words.none) else integer(words, value)
            if not (same(value, words.none) or 1 <= threads <= MAX_THREADS):
                return False, out, threads, post_ops
        elif same(name, words.activation):
            post_ops = null()
            for entry in range(NAMED, PROCESS.size, 2):
                if same(value, load_ptr(words, entry)):
                    post_ops = load_ptr(words, entry + 1)
            if is_null(post_ops) and not same(value, words.none):
                return False, out, threads, post_ops
        else:
            return False, out, threads, post_ops
    return True, out, threads, post_ops


@kernel
def takes(x, descriptor):
    """Whether a weight takes a matrix as it is."""
    k = descriptor.k
    return dimension(x, 1) == k and (stride(x, 1) == 4 or k <= 1)


@kernel
def compute(x, m, x_stride, out, out_stride, descriptor, post_ops, threads):
    """Whether it was done; False for lack of memory. On addresses: objects may change when other threads run."""
    try:
        linear_into(x, m, x_stride, out, out_stride, null(), 0, descriptor, post_ops, threads)
    except Exception:
        return False
    return True


@kernel
def linear_vectorcall(function, arguments, count, names):
    """vectorcallfunc of `linear`; `function` does every other case."""
    words = process_words()
    if words.on != 1 or count & COUNT_MASK != 2:
        return interpret(words, function, arguments, count, names)
    plain, given, threads, post_ops = options(words, arguments, names, True)
    x, descriptor = load_ptr(arguments, 0), Weight(descriptor_of(words, load_ptr(arguments, 1)))
    if not plain or is_null(descriptor) or not is_matrix(words, x):
        return interpret(words, function, arguments, count, names)
    m, n = dimension(x, 0), descriptor.n
    if not takes(x, descriptor) or m == 0:
        return interpret(words, function, arguments, count, names)
    micros = micros_of(m, descriptor)
    pool = Pool(descriptor.pool)
    wanted = threads if threads > 0 else min(worthwhile_threads(micros), pool.setting)
    if pool.helpers + 1 < wanted or not (is_null(given) or fits(words, given, m, n, x)):
        return interpret(words, function, arguments, count, names)  # which starts the helpers
    out = new_matrix(words, m, n) if is_null(given) else given
    if is_null(out):
        return out
    source, x_stride, target, out_stride = data_of(x), stride(x, 0), data_of(out), stride(out, 0)
    if micros < LET_RUN_US:
        done = compute(source, m, x_stride, target, out_stride, descriptor, post_ops, threads)
    else:
        state = save_thread()
        done = compute(source, m, x_stride, target, out_stride, descriptor, post_ops, threads)
        restore_thread(state)
    if not is_null(given):
        hold(out)
    if done:
        return out
    forget(out)
    return interpret(words, function, arguments, count, names)
