"""Random states are put back, and so is everything else that is put back with them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cyclerate._randomness import (
    all_of,
    remember_generators_of,
    remember_global_randomness,
    seed_global_randomness,
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


def test_ctrl_c_is_let_through_when_all_is_done():
    done = []

    def interrupted_once():
        done.append("tried")
        if done == ["tried"]:
            raise KeyboardInterrupt
        done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        all_of([interrupted_once, lambda: done.append("last")])()
    assert done == ["tried", "tried", "whole", "last"]
