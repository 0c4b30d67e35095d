"""Random states are put back, and so is everything else that is put back with them."""

from __future__ import annotations

import functools
import random
import signal
import threading
import time

import numpy as np
import pytest

from cyclerate._errors import CyclerateError
from cyclerate._randomness import (
    Gate,
    after_closing,
    all_of,
    lending,
    remember_generators_of,
    remember_global_randomness,
    remember_order,
    seed_global_randomness,
    sole_use_of_generators,
)


def draw():
    return [random.random(), np.random.random()]  # noqa: NPY002


def test_global_generators_go_on_as_if_nothing_had_been_drawn():
    seed_global_randomness(3)
    put_back = remember_global_randomness()
    expected = draw()
    for _ in range(2):
        put_back()
        assert draw() == expected
    seed_global_randomness(3)
    assert draw() == expected


@pytest.mark.parametrize("seed", [2**32, 2**64 + 7, 10**30])
def test_a_seed_of_any_size_is_one(seed: int):
    torch = pytest.importorskip("torch")
    seed_global_randomness(seed)
    expected = [*draw(), torch.rand(1).item()]
    seed_global_randomness(seed)
    assert [*draw(), torch.rand(1).item()] == expected


def test_generators_in_attributes_are_found_one_level_down():
    class Holder:
        def __init__(self, rng):
            self.rng = rng

    for rng in (np.random.default_rng(1), random.Random(1), np.random.RandomState(1)):
        put_back = remember_generators_of(Holder(Holder(rng)), None, 3)
        expected = rng.random()
        put_back()
        assert rng.random() == expected


def test_every_action_is_done_in_order_whatever_happens_in_the_others():
    done = []

    def failing():
        done.append("failing")
        raise OSError("disk")

    put_back = all_of([lambda: done.append("first"), failing, lambda: done.append("last")])
    with pytest.raises(OSError, match="disk"):
        put_back()
    assert done == ["first", "failing", "last"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", ["in the block", "while things are put back"])
def test_interrupts_end_the_block_once_and_wait_until_all_is_put_back(number, first):
    done = []

    def interrupt_again():
        done.append("begun")
        signal.raise_signal(number)
        done.append("whole")

    def ended(*_):
        raise SystemExit(3)

    def borrow():
        with lending() as stack:
            stack.callback(done.append, "last")
            stack.callback(interrupt_again)
            if first == "in the block":
                signal.raise_signal(number)
                done.append("not reached")

    before = signal.signal(number, ended)
    try:
        with pytest.raises(SystemExit):
            borrow()
        assert done == ["begun", "whole", "last"]
        assert signal.getsignal(number) is ended
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_only_noted_changes_nothing():
    noted = []
    before = signal.signal(signal.SIGTERM, lambda *_: noted.append(1))
    try:
        with lending():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert noted == [1, 1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_second_thread_is_refused_by_name_or_waits():
    told = []

    def borrow(wait):
        try:
            with sole_use_of_generators(wait=wait):
                told.append("had them")
        except CyclerateError as error:
            told.append(str(error))

    with lending():
        refused, waiting = (threading.Thread(target=borrow, args=(w,)) for w in (False, True))
        refused.start()
        refused.join()
        waiting.start()
        assert [text[:37] for text in told] == ["a range test runs in another thread: "]
    waiting.join()
    assert told[1:] == ["had them"]


class Ready:
    """Batches in an order of its own, counted."""

    def __init__(self):
        self.rng, self.order, self.read = np.random.default_rng(1), [0, 1, 2], 0

    def batches(self):
        self.rng.shuffle(self.order)
        self.read += 1
        return list(self.order)


@pytest.mark.parametrize("way", ["iterable", "method", "closure", "partial"])
def test_the_order_of_data_is_put_back_however_they_are_reached(way):
    ready = Ready()
    data = {
        "iterable": ready,
        "method": ready.batches,
        "closure": lambda: [ready.batches()][0],
        "partial": functools.partial(Ready.batches, ready),
    }[way]
    put_back = remember_order(data)
    expected = [ready.batches() for _ in range(3)]
    for _ in range(2):
        put_back()
        assert ready.read == 0
        assert [ready.batches() for _ in range(3)] == expected


class TestGate:
    def test_nothing_is_put_back_while_somebody_reads(self):
        gates: list[Gate] = []
        gate, inside, told = Gate.among(gates), threading.Event(), []

        def read() -> None:
            with gate:
                inside.set()
                time.sleep(0.2)
                told.append("read")

        thread = threading.Thread(target=read)
        thread.start()
        inside.wait()
        after_closing(gates, lambda: told.append("put back"))()
        thread.join()
        assert told == ["read", "put back"]

    def test_none_comes_in_afterwards(self):
        gates: list[Gate] = []
        gate = Gate.among(gates)
        with gate:
            pass
        after_closing(gates, lambda: None)()
        with pytest.raises(CyclerateError, match="the range test is over"), gate:
            pass
