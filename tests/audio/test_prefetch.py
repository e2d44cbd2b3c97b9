import contextlib
import threading

import pytest

from jaxsep.audio.prefetch import prefetch


def count(closed: list[bool], end: int = 1000):
    try:
        yield from range(end)
    finally:
        closed.append(True)


def test_the_items_come_in_order_and_the_thread_ends():
    threads, closed = threading.active_count(), []
    assert list(prefetch(count(closed))) == list(range(1000))
    assert closed and threading.active_count() == threads


def test_it_works_no_further_ahead_than_told():
    made = []

    def work():
        for number in range(100):
            made.append(number)
            yield number

    with contextlib.closing(prefetch(work(), ahead=2)) as items:
        for _ in range(10):
            next(items)
        assert len(made) <= 10 + 2 + 1  # one is in the hand of the thread


def test_an_error_arrives_behind_the_items_before_it():
    def fail():
        yield 1
        raise OSError("disk on fire")

    items = prefetch(fail())
    assert next(items) == 1
    with pytest.raises(OSError, match="on fire"):
        next(items)


@pytest.mark.parametrize("consumed", [1, 500])
def test_a_chain_that_is_left_early_is_closed_to_its_end(consumed):
    threads, closed = threading.active_count(), []

    def double(items):
        for item in items:
            yield 2 * item

    with contextlib.closing(prefetch(double(prefetch(count(closed))))) as items:
        for _ in range(consumed):
            next(items)
    assert closed and threading.active_count() == threads
