"""Work in threads: the same items, calls and errors as without, in the same order, and no thread left."""

import threading
import time
import traceback

import pytest

from isogloss.background import ahead, behind

BOTH = pytest.mark.parametrize("threaded", [False, True])


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def broken_source(at: int):
    for number in range(100):
        if number == at:
            raise RuntimeError("a broken source")
        yield number


@BOTH
@pytest.mark.parametrize("count", [0, 1, 50])
def test_items_come_in_order(threaded, count):
    with ahead((number * number for number in range(count)), threaded=threaded) as items:
        assert list(items) == [number * number for number in range(count)]
        assert list(items) == []


@BOTH
def test_what_making_an_item_raises_is_raised_where_it_is_wanted(threaded):
    seen = []

    def read():
        with ahead(broken_source(3), threaded=threaded) as items:
            for item in items:
                seen.append(item)

    with pytest.raises(RuntimeError, match="a broken source") as caught:
        read()
    assert seen == [0, 1, 2]
    assert "broken_source" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_no_more_is_made_than_may_wait():
    made = []
    source = (made.append(number) or number for number in range(100))
    with ahead(source, threaded=True, size=3) as items:
        for wanted in range(5):
            assert next(items) == wanted
            assert len(made) <= wanted + 1 + 3
    count = len(made)
    time.sleep(0.01)
    assert len(made) == count <= 8


@BOTH
def test_an_error_of_the_reader_ends_the_making(threaded):
    def read():
        with ahead(iter(range(10**9)), threaded=threaded) as items:
            for item in items:
                if item == 5:
                    raise KeyError(item)

    with pytest.raises(KeyError):
        read()


@BOTH
def test_calls_are_made_in_order_and_all_of_them(threaded):
    made = []
    with behind(threaded=threaded) as call:
        for number in range(50):
            call(made.append, number)
    assert made == list(range(50))


def test_a_call_is_not_waited_for_until_too_many_wait():
    gate, made = threading.Event(), []

    def late(number):
        gate.wait()
        made.append(number)

    with behind(threaded=True, size=2) as call:
        call(late, 0)
        call(late, 1)
        assert made == []
        gate.set()
        for number in range(2, 20):
            call(late, number)
            assert number - len(made) <= 2
    assert made == list(range(20))


@BOTH
@pytest.mark.parametrize("calls", [4, 50])
def test_what_a_call_raises_is_raised_and_no_call_is_made_after_it(threaded, calls):
    made = []

    def add(number):
        if number == 3:
            raise ValueError("a broken call")
        made.append(number)

    def run():
        with behind(threaded=threaded) as call:
            for number in range(calls):
                call(add, number)

    with pytest.raises(ValueError, match="a broken call") as caught:
        run()
    assert made == [0, 1, 2]
    assert "add" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@BOTH
def test_an_error_of_the_caller_drops_what_waits(threaded):
    made = []

    def run():
        with behind(threaded=threaded, size=10) as call:
            for number in range(8):
                call(lambda number=number: (time.sleep(0.01), made.append(number)))
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert made == list(range(len(made)))
    assert len(made) < 8 or not threaded
