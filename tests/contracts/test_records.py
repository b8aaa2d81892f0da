"""Records: fields by name in Python, in compiled code and in emitted code; tasks, each taken once."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from dynq_numba.kernels.base.context import Context, new_context
from dynq_numba.kernels.base.memory import data_ptr, load_int, offset
from dynq_numba.kernels.base.record import Float, Line, Pointer, Record, Slot, bytes_of
from dynq_numba.kernels.threads.tasks import tasks_of


class Image(Record):
    pixels: Pointer
    height: int
    scale: Float


class Part(Image):
    first: int
    slot: Slot


def test_a_record_has_the_places_of_its_base():
    assert (Image.pixels, Image.height, Image.scale, Image.size) == (0, 1, 2, 3)
    assert (Part.pixels, Part.height, Part.scale, Part.first, Part.slot, Part.size) == (0, 1, 2, 3, 4, 5)


def test_a_line_begins_a_cache_line():
    class Lines(Part):
        third: Line
        fourth: int
        fifth: Line

    class First(Record):
        only: Line

    assert (Lines.third, Lines.fourth, Lines.fifth, Lines.size) == (8, 9, 16, 17) and (First.only, First.size) == (0, 1)


def test_python_fills_by_name_and_forgets_none():
    words = Part.array(pixels=5, height=-3, scale=0, first=2**40, slot=0)
    assert words.dtype == np.int64 and words.tolist() == [5, -3, 0, 2**40, 0]
    Part.fill(words, height=7)
    assert words.tolist() == [5, 7, 0, 2**40, 0]
    with pytest.raises(TypeError, match="scale"):
        Image.array(pixels=0, height=0)
    with pytest.raises(ValueError, match="depth"):
        Image.fill(words, depth=1)


def test_compiled_code_reads_and_writes_fields():
    @njit
    def run(words, inner):
        part = Part(data_ptr(words))
        part.pixels = data_ptr(inner)
        part.height, part.scale = part.first + 1, np.float32(0.1)
        image = Image(part)
        return load_int(image.pixels, 1), image.height, image.scale, load_int(part.slot, 0), bytes_of(Part)

    words = Part.array(pixels=0, height=0, scale=0, first=41, slot=9)
    assert run(words, np.array([3, 4])) == (4, 42, np.float32(0.1), 9, 64)
    assert words[1] == 42 and words.view(np.float32)[4] == np.float32(0.1) and words[3:].tolist() == [41, 9]


def test_an_integer_field_takes_no_pointer():
    @njit
    def run(words):
        image = Image(data_ptr(words))
        image.height = image.pixels

    with pytest.raises((TypingError, NotImplementedError)):
        run(Image.array(pixels=0, height=0, scale=0))


def test_a_field_that_is_not_there_is_told():
    @njit
    def run(words):
        return Image(data_ptr(words)).depth

    with pytest.raises(TypingError, match="depth"):
        run(Image.array(pixels=0, height=0, scale=0))


@njit
def taken(threads, tasks, index, most):
    """The first tasks that one worker takes, and what it says is done."""
    context = new_context(Context, threads)
    context.tasks = tasks
    found, count = np.full(tasks + 1, -1, np.int64), 0
    for task in tasks_of(context, index):
        if count == most:
            break
        found[count] = task
        count += 1
    return found[:count], context.done, load_int(offset(context, bytes_of(Context)), 0)


@pytest.mark.parametrize(("threads", "tasks"), [(1, 1), (1, 5), (2, 5), (3, 3), (4, 3), (7, 50)])
def test_a_worker_alone_takes_every_task_once_its_own_share_first(threads, tasks):
    for index in range(threads):
        found, done, _ = taken(threads, tasks, index, tasks)
        assert sorted(found) == list(range(tasks)) and done == tasks
        own = range(index * tasks // threads, (index + 1) * tasks // threads)
        assert list(found[: len(own)]) == list(own)


def test_a_worker_that_leaves_has_done_nothing():
    found, done, counter = taken(1, 5, 0, 2)
    assert list(found) == [0, 1] and done == 0 and counter == 3
