"""The cells: what a step does with its products, unit by unit. ONNX LSTM-14, GRU-14 and RNN-14.

    a_g = x·W_gᵀ + bias_g + h·R_gᵀ                 two float32 sums, rounded separately, then one addition

    LSTM   i = f(a_i + p_i·c)   f = f(a_f + p_f·c)   g = g(a_c)      or, coupled, f = 1 - i
           c' = f·c + i·g       o = f(a_o + p_o·c')  h' = o·h(c')    or, projected, h' = (o·h(c'))·Projᵀ
    GRU    z = f(a_z)   r = f(a_r)
           n = g(x·W_hᵀ + bias + r·(h·R_hᵀ + bias'))                 linear_before_reset
           n = g(x·W_hᵀ + bias + (r·h)·R_hᵀ)                         else: a second product, after all r are known
           h' = (1 - z)·n + z·h
    RNN    h' = f(a)

Every operation is one float32 rounding in the order written; no FMA. With a clip, each a is limited to [-clip, clip]
(as in ONNX Runtime; the argument of h is not limited). A row whose sequence has ended (or, in reverse, not begun) keeps
its state, and its y is 0.

A cell is a function ``cell(job, rows)`` reached by address, compiled once for a combination of activations and options
(context.py has the words of its job). `reference.py` defines them, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..activations.jitted import at_least, at_most
from ..activations.reference import ONE, ZERO
from ..base.jit import kernel
from ..base.memory import is_null, load_f32, load_int, offset, store_f32
from .activations import ACTIVATIONS
from .context import LANES, Job
from .emit import copy_floats, load, load_first, store_first, store_second

#: Parameters: alpha and beta of three activations, then the clip.
CLIP = 6


@kernel
def is_active(job, row):
    """Whether the sequence of a row covers the job's time."""
    lengths = job.lengths
    return is_null(lengths) or job.time < load_int(lengths, row)


@kernel
def finish_row(job, row, active):
    """A row's new state goes to y; or the old one stays, and y is 0."""
    place = row * job.state_stride
    new = offset(job.new, place)
    y, values = offset(job.y, row * job.y_stride), job.values
    if active:
        copy_floats(new, y, values)
    else:
        copy_floats(offset(job.old, place), new, LANES * job.blocks)
        for i in range(values):
            store_f32(y, i, ZERO)


@kernel
def limited(x, clip, clipped):
    """x in [-clip, clip]; NaN stays NaN."""
    return at_most(at_least(x, -clip), clip) if clipped else x


@cache
def lstm_cell(activations: tuple[str, ...], peepholes: bool, clipped: bool, coupled: bool, projected: bool) -> Callable:
    """The gates of an LSTM; `activations` are f, g, h."""
    f, g, h = (ACTIVATIONS[name] for name in activations)

    @kernel(variant=f"{activations}{peepholes}{clipped}{coupled}{projected}")
    def lstm(job, rows):
        job = Job(job)
        parameters = job.parameters
        fa, fb, ga, gb = (load_f32(parameters, 0), load_f32(parameters, 1), load_f32(parameters, 2),
                          load_f32(parameters, 3))  # fmt: skip
        ha, hb, clip = load_f32(parameters, 4), load_f32(parameters, 5), load_f32(parameters, CLIP)
        blocks, unit_stride = job.blocks, job.unit_stride
        for row in range(job.rows):
            before = offset(job.c_old, row * unit_stride)
            after = offset(job.c_new, row * unit_stride)
            active = is_active(job, row)
            if not active:
                copy_floats(before, after, LANES * blocks)
            else:
                x = offset(job.gates, row * job.gates_stride)
                r = offset(job.out, row * job.out_stride)
                p = job.peepholes
                if projected:
                    new = offset(job.middle, row * unit_stride)
                else:
                    new = offset(job.new, row * job.state_stride)
                # c, then h: one loop would be a chain so long that a CPU sees less than three blocks of it at a time
                for block in range(blocks):
                    g_x, g_r, g_p = offset(x, 256 * block), offset(r, 256 * block), offset(p, 192 * block)
                    old, c_new = offset(before, 64 * block), offset(after, 64 * block)
                    for u in range(LANES):
                        c = load(old, u)
                        i = load(g_x, u) + load(g_r, u)
                        keep = load(g_x, 2 * LANES + u) + load(g_r, 2 * LANES + u)
                        a = load(g_x, 3 * LANES + u) + load(g_r, 3 * LANES + u)
                        if peepholes:
                            i += load(g_p, u) * c
                            keep += load(g_p, 2 * LANES + u) * c
                        i = f(limited(i, clip, clipped), fa, fb)
                        keep = ONE - i if coupled else f(limited(keep, clip, clipped), fa, fb)
                        store_first(c_new, u, keep * c + i * g(limited(a, clip, clipped), ga, gb))
                for block in range(blocks):
                    g_x, g_r, g_p = offset(x, 256 * block), offset(r, 256 * block), offset(p, 192 * block)
                    c_new, h_new = offset(after, 64 * block), offset(new, 64 * block)
                    for u in range(LANES):
                        c = load_first(c_new, u)
                        o = load(g_x, LANES + u) + load(g_r, LANES + u)
                        if peepholes:
                            o += load(g_p, LANES + u) * c
                        store_second(h_new, u, f(limited(o, clip, clipped), fa, fb) * h(c, ha, hb))
            if not projected:
                finish_row(job, row, active)

    return lstm


@kernel
def project_cell(job, rows):
    """The product is the new state."""
    job = Job(job)
    for row in range(job.rows):
        active = is_active(job, row)
        if active:
            r = offset(job.out, row * job.out_stride)
            new = offset(job.new, row * job.state_stride)
            copy_floats(r, new, LANES * job.blocks)
        finish_row(job, row, active)


@cache
def gru_cell(activations: tuple[str, ...], clipped: bool) -> Callable:
    """A GRU's whole step with linear_before_reset; `activations` are f, g."""
    f, g = (ACTIVATIONS[name] for name in activations)

    @kernel(variant=f"{activations}{clipped}")
    def gru(job, rows):
        job = Job(job)
        parameters = job.parameters
        fa, fb, ga, gb = (load_f32(parameters, 0), load_f32(parameters, 1), load_f32(parameters, 2),
                          load_f32(parameters, 3))  # fmt: skip
        clip = load_f32(parameters, CLIP)
        for row in range(job.rows):
            active = is_active(job, row)
            if active:
                x = offset(job.gates, row * job.gates_stride)
                r = offset(job.out, row * job.out_stride)
                old = offset(job.old, row * job.state_stride)
                new = offset(job.new, row * job.state_stride)
                for _ in range(job.blocks):
                    for u in range(LANES):
                        z = f(limited(load(x, u) + load(r, u), clip, clipped), fa, fb)
                        reset = f(limited(load(x, LANES + u) + load(r, LANES + u), clip, clipped), fa, fb)
                        a = load(x, 2 * LANES + u) + reset * load(r, 2 * LANES + u)
                        n = g(limited(a, clip, clipped), ga, gb)
                        store_first(new, u, (ONE - z) * n + z * load(old, u))
                    x, r = offset(x, 12 * LANES), offset(r, 12 * LANES)
                    old, new = offset(old, 4 * LANES), offset(new, 4 * LANES)
            finish_row(job, row, active)

    return gru


@cache
def gru_gates_cell(activations: tuple[str, ...], clipped: bool) -> Callable:
    """A GRU's z, and r·h for the second product."""
    f = ACTIVATIONS[activations[0]]

    @kernel(variant=f"{activations}{clipped}")
    def gru_gates(job, rows):
        job = Job(job)
        parameters = job.parameters
        fa, fb, clip = load_f32(parameters, 0), load_f32(parameters, 1), load_f32(parameters, CLIP)
        unit_stride = job.unit_stride
        for row in range(job.rows):
            if is_active(job, row):
                x = offset(job.gates, row * job.gates_stride)
                r = offset(job.out, row * job.out_stride)
                old = offset(job.old, row * job.state_stride)
                update = offset(job.update, row * unit_stride)
                middle = offset(job.middle, row * unit_stride)
                for _ in range(job.blocks):
                    for u in range(LANES):
                        store_first(update, u, f(limited(load(x, u) + load(r, u), clip, clipped), fa, fb))
                        reset = f(limited(load(x, LANES + u) + load(r, LANES + u), clip, clipped), fa, fb)
                        store_second(middle, u, reset * load(old, u))
                    x, r, old = offset(x, 12 * LANES), offset(r, 8 * LANES), offset(old, 4 * LANES)
                    update, middle = offset(update, 4 * LANES), offset(middle, 4 * LANES)

    return gru_gates


@cache
def gru_state_cell(activations: tuple[str, ...], clipped: bool) -> Callable:
    """A GRU's n and new state, after the second product."""
    g = ACTIVATIONS[activations[1]]

    @kernel(variant=f"{activations}{clipped}")
    def gru_state(job, rows):
        job = Job(job)
        parameters = job.parameters
        ga, gb, clip = load_f32(parameters, 2), load_f32(parameters, 3), load_f32(parameters, CLIP)
        for row in range(job.rows):
            active = is_active(job, row)
            if active:
                x = offset(job.gates, row * job.gates_stride)
                r = offset(job.out, row * job.out_stride)
                old = offset(job.old, row * job.state_stride)
                new = offset(job.new, row * job.state_stride)
                update = offset(job.update, row * job.unit_stride)
                for _ in range(job.blocks):
                    for u in range(LANES):
                        z = load(update, u)
                        n = g(limited(load(x, 2 * LANES + u) + load(r, u), clip, clipped), ga, gb)
                        store_first(new, u, (ONE - z) * n + z * load(old, u))
                    x, r, update = offset(x, 12 * LANES), offset(r, 4 * LANES), offset(update, 4 * LANES)
                    old, new = offset(old, 4 * LANES), offset(new, 4 * LANES)
            finish_row(job, row, active)

    return gru_state


@cache
def rnn_cell(activations: tuple[str, ...], clipped: bool) -> Callable:
    """The step of a plain recurrent layer; `activations` is f."""
    f = ACTIVATIONS[activations[0]]

    @kernel(variant=f"{activations}{clipped}")
    def rnn(job, rows):
        job = Job(job)
        parameters = job.parameters
        fa, fb, clip = load_f32(parameters, 0), load_f32(parameters, 1), load_f32(parameters, CLIP)
        for row in range(job.rows):
            active = is_active(job, row)
            if active:
                x = offset(job.gates, row * job.gates_stride)
                r = offset(job.out, row * job.out_stride)
                new = offset(job.new, row * job.state_stride)
                for u in range(LANES * job.blocks):
                    store_first(new, u, f(limited(load(x, u) + load(r, u), clip, clipped), fa, fb))
            finish_row(job, row, active)

    return rnn
