"""Scratch for values that live at different times: nothing that is alive is written over, and room is used again."""

from hypothesis import given
from hypothesis import strategies as st

from dynq_numba.runtime.arena import Life, arena

LIVES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 50)), max_size=20).map(
    lambda rows: [Life(first, first + more, size) for first, more, size in sorted(rows)]
)


@given(LIVES)
def test_values_that_live_together_lie_apart(lives):
    begins, total = arena(lives)
    assert len(begins) == len(lives)
    for i, (a, begin) in enumerate(zip(lives, begins, strict=True)):
        assert 0 <= begin <= begin + a.size <= total
        for b, other in list(zip(lives, begins, strict=True))[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert begin + a.size <= other or other + b.size <= begin


@given(LIVES)
def test_no_more_than_all_of_them(lives):
    assert arena(lives)[1] <= sum(life.size for life in lives)


def test_a_line_of_steps_takes_the_room_of_two():
    assert arena([Life(i, i + 1, 8) for i in range(10)])[1] == 16


def test_the_smallest_room_that_is_large_enough_is_taken():
    lives = [Life(0, 0, 30), Life(0, 0, 10), Life(0, 0, 20), Life(1, 1, 15), Life(1, 1, 5)]
    assert arena(lives) == ([0, 30, 40, 40, 30], 60)
