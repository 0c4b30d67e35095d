"""The mean of predictions is the mean of probabilities, made one at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cyclerate.cycles._members import mean_of, probabilities_from, running_mean

LOGITS = np.array([[2.0, 0.0, -1.0], [1000.0, -1000.0, 0.0]])


def test_the_running_mean_is_the_mean():
    values = np.random.default_rng(0).normal(size=(7, 3))
    mean = values[0]
    for number in range(2, 8):
        mean = running_mean(mean, values[number - 1], number)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-14)


def test_logits_become_probabilities_before_the_mean():
    convert = probabilities_from("logits")
    e = np.exp([2.0, 0.0, -1.0])
    np.testing.assert_allclose(convert(LOGITS), [e / e.sum(), [1, 0, 0]], rtol=1e-14)
    one = convert(np.array([[0.0], [-1000.0], [1.0]], "float32"))
    np.testing.assert_allclose(one, [[0.5], [0], [1 / (1 + np.exp(-1))]], rtol=1e-14)
    assert one.dtype == np.float64


def test_what_cannot_be_probabilities_is_refused():
    convert = probabilities_from("probabilities")
    assert convert(np.array([[0.25, 0.75]], "float32")).tolist() == [[0.25, 0.75]]
    for wrong in (LOGITS, np.array([-0.1, 1.1]), np.array([np.nan, 0.5])):
        with pytest.raises(ValueError, match='outputs must be "logits" or "values"'):
            convert(wrong)
    assert probabilities_from("values")(LOGITS).tolist() == LOGITS.tolist()
    assert probabilities_from(lambda array: array / 2)(np.array([3.0])).tolist() == [1.5]
    with pytest.raises(ValueError, match="outputs must be one of 'probabilities', 'logits'"):
        probabilities_from("softmax")


def test_outputs_in_a_structure_keep_it():
    trees = ({"a": [np.full(2, v)], "b": (np.full(1, 2 * v),)} for v in (1.0, 2.0, 6.0))
    mean = mean_of(map(probabilities_from("values"), trees))
    assert mean["a"][0].tolist() == [3.0, 3.0]
    assert isinstance(mean["b"], tuple)
    assert mean["b"][0].tolist() == [6.0]


def test_no_more_than_one_prediction_is_held_beside_the_mean():
    alive: list[weakref.ref[Any]] = []

    def predictions() -> Iterator[Any]:
        for value in range(4):
            gc.collect()
            # The first became the mean; of the later ones only the one just added may be left.
            assert sum(ref() is not None for ref in alive) <= 2
            array = np.full(3, float(value))
            alive.append(weakref.ref(array))
            yield array

    assert mean_of(predictions()).tolist() == [1.5] * 3
