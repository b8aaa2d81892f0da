"""How threads share a sequence: rows before units, no more than there are, and alone where sharing costs more."""

import numba
import numpy as np
import pytest

from dynq_numba.kernels.base.memory import data_ptr
from dynq_numba.kernels.recurrent import call
from dynq_numba.kernels.recurrent.context import LayerDescriptor, padded
from dynq_numba.kernels.threads import pool


@numba.njit
def plan_of(layer, times, batch, threads):
    return call.plan(LayerDescriptor(data_ptr(layer)), times, batch, threads)


def planned(hidden, batch, times, threads=0, *, cores=2, gates=4, inputs=64, directions=1, phases=1):
    """(groups of rows, parts of a step, threads) on a machine of so many cores, whose helpers are awake."""
    room = np.zeros(pool.POOL_WORDS, np.int64)
    room[pool.Pool.setting], room[pool.Pool.helpers] = cores, cores - 1
    layer = LayerDescriptor.array(
        sequence_worker=0, pool=room.ctypes.data, inputs=inputs, hidden=hidden, state=hidden, directions=directions,
        gate_columns=gates * padded(hidden), phases=phases, has_cells=0, multiplier=0,
    )  # fmt: skip
    return plan_of(layer, times, batch, threads)


@pytest.mark.parametrize(("hidden", "batch", "times"), [(16, 1, 5), (32, 8, 4), (100, 1, 12), (64, 2, 12), (512, 1, 1)])
def test_what_is_over_soon_goes_alone(hidden, batch, times):
    assert planned(hidden, batch, times, gates=1) == (1, 1, 1)


def test_rows_are_shared_before_units():
    for hidden, batch in ((100, 33), (256, 8), (512, 16), (64, 64)):
        for phases, gates in ((1, 4), (2, 3), (1, 1)):
            assert planned(hidden, batch, 50, gates=gates, phases=phases) == (2, 1, 2)
            assert planned(hidden, batch, 50, 2, gates=gates, phases=phases) == (2, 1, 2)


def test_units_are_shared_where_rows_are_too_few_or_weights_too_many():
    assert planned(512, 1, 50) == (1, 2, 2)
    assert planned(1024, 2, 50) == (1, 2, 2), "two rows would stream all of the weights twice"
    assert planned(100, 1, 12, 2) == (1, 2, 2), "their number is given"
    assert planned(100, 1, 12) == (1, 1, 1)
    assert planned(1024, 1, 50, cores=8) == (1, 8, 8)


def test_both_are_shared_by_many_threads():
    groups, parts, threads = planned(512, 64, 50, cores=16)
    assert groups * parts == threads == 16 and groups > 1 and parts > 1
    for directions in (1, 2):
        for cores in (1, 2, 3, 5, 64):
            for hidden, batch in ((1, 1), (33, 1), (33, 2), (100, 3), (100, 100)):
                for given in (0, 1, 2, 3, 7, 64):
                    groups, parts, threads = planned(hidden, batch, 20, given, cores=cores, directions=directions)
                    assert 1 <= groups <= batch and 1 <= parts <= max(1, (hidden + 15) // 16 // 2)
                    assert 1 <= threads <= (given or cores) and threads <= groups * parts * directions


def test_a_given_number_is_employed_as_far_as_it_goes():
    for given in (2, 3, 4, 8):
        groups, parts, threads = planned(512, 8, 50, given)
        assert threads == groups * parts >= given - given % 2
        assert planned(16, 8, 1, given)[2] == given
    assert planned(16, 1, 50, 4) == (1, 1, 1)
    assert planned(16, 1, 50, 4, directions=2) == (1, 1, 2)
