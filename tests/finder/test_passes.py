"""Batches without end: which come, where a run and a repeat begin, and what a sample is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from cyclerate.finder._run import Passes, length_of


class Letters:
    """Passes over "abcde"; by a seed in another order. Counts the passes begun."""

    def __init__(self, letters: str = "abcde") -> None:
        self.letters = letters
        self.begun: list[int | None] = []

    def __call__(self, seed: int | None) -> Iterator[str]:
        self.begun.append(seed)
        order = np.random.default_rng(seed).permutation(len(self.letters)) if seed else None
        return iter(self.letters if order is None else [self.letters[i] for i in order])

    def passes(self, *, drawn: bool = False, rows: int | None = None) -> Passes:
        return Passes(self, drawn=drawn, rows=rows, rows_in=len, a_batch="a letter")


def taken(passes: Passes, count: int) -> str:
    return "".join(next(passes) for _ in range(count))


def test_the_data_are_gone_through_again_and_a_pass_begins_only_when_it_is_needed():
    letters = Letters()
    passes = letters.passes()
    assert letters.begun == []
    assert taken(passes, 5) == "abcde"
    assert len(letters.begun) == 1
    assert taken(passes, 7) == "abcdeab"


def test_every_run_of_a_repeat_begins_at_the_same_batch():
    passes = Letters().passes()
    passes.begin_repeat()
    for count in (3, 7, 1):
        assert taken(passes, count) == "abcdeabcde"[:count]
        passes.rewind()


@pytest.mark.parametrize("counts", [(2, 4), (4, 2), (4, 2, 1)])
def test_the_next_repeat_goes_on_where_the_longest_run_stopped(counts: tuple[int, ...]):
    passes = Letters().passes()
    passes.begin_repeat()
    for count in counts:
        taken(passes, count)
        passes.rewind()
    passes.begin_repeat()
    passes.rewind()
    assert taken(passes, 3) == "eab"
    passes.begin_repeat()
    passes.rewind()
    assert taken(passes, 2) == "cd"


def test_a_run_longer_than_a_pass_leaves_the_next_repeat_its_place_within_one():
    passes = Letters().passes()
    passes.begin_repeat()
    taken(passes, 12)
    passes.begin_repeat()
    assert taken(passes, 1) == "c"
    passes.rewind()
    assert taken(passes, 2) == "cd"


def test_data_that_are_drawn_have_an_order_for_each_repeat_and_begin_it_anew():
    letters = Letters()
    passes = letters.passes(drawn=True)
    orders = []
    for seed in (1, 2):
        passes.begin_repeat(seed)
        run = taken(passes, 7)
        passes.rewind()
        assert taken(passes, 7) == run
        assert sorted(run[:5]) == list("abcde")
        orders.append(run)
    assert orders[0] != orders[1]
    assert set(letters.begun) == {1, 2}


def test_a_sample_is_a_pass_of_its_own_of_just_enough_rows():
    passes = Letters("abcde").passes()
    assert taken(passes, 2) == "ab"
    assert passes.sample(3) == ["a", "b", "c"]
    assert passes.sample(100) == list("abcde")
    assert taken(passes, 2) == "cd"


def test_a_sample_of_data_without_end_stops_at_the_rows_there_are():
    endless = Letters("ab" * 1000).passes(rows=3)
    assert endless.sample(100) == ["a", "b", "a"]


def test_a_sample_has_the_order_of_its_seed_and_leaves_that_of_the_runs():
    letters = Letters()
    passes = letters.passes(drawn=True)
    passes.begin_repeat(1)
    run = taken(passes, 5)
    passes.rewind()
    assert passes.sample(5, seed=1) == list(run)
    assert passes.sample(5, seed=2) != list(run)
    assert taken(passes, 5) == run


def test_data_without_a_batch_are_named():
    with pytest.raises(ValueError, match=r"data must be a letter.*none in pass 1"):
        next(Letters("").passes())
    with pytest.raises(ValueError, match="none in pass 1"):
        Letters("").passes().sample(3)
    once = iter("ab")
    used_up = Passes(lambda _: once, drawn=False, rows_in=len, a_batch="a letter")
    with pytest.raises(ValueError, match="none in pass 2"):
        taken(used_up, 3)


def test_what_has_no_length_has_none():
    assert (length_of("abc"), length_of(iter("abc"))) == (3, None)
