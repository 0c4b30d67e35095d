"""The global random generators of Keras and TensorFlow, beside those that every adapter knows."""

from __future__ import annotations

import sys

import keras

from cyclerate._randomness import (
    PutBack,
    all_of,
    remember_global_randomness,
    seed_global_randomness,
)
from cyclerate.keras._internals import (
    global_seed_generator,
    set_global_seed_generator,
    set_tensorflow_seeds,
    tensorflow_seeds,
)


def remember_all_randomness() -> PutBack:
    """Notes the state of every global generator; the call that it returns puts it back.

    Python, NumPy, Keras, and PyTorch and TensorFlow if they are loaded.
    """
    actions = [remember_global_randomness(), _remember_keras()]
    if "tensorflow" in sys.modules:
        actions.append(_remember_tensorflow())
    return all_of(actions)


def seed_all_randomness(seed: int) -> None:
    """Seeds the generators that `remember_all_randomness` notes, and loads no framework."""
    seed_global_randomness(seed)
    set_global_seed_generator(keras.random.SeedGenerator(seed))
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(seed)


def _remember_keras() -> PutBack:
    generator = global_seed_generator()
    state = None if generator is None else keras.ops.convert_to_numpy(generator.state).copy()

    def put_back() -> None:
        if generator is not None:
            generator.state.assign(state)
        set_global_seed_generator(generator)

    return put_back


def _remember_tensorflow() -> PutBack:
    seeds = tensorflow_seeds()
    generator = seeds[-1]
    state = None if generator is None else generator.getstate()

    def put_back() -> None:
        set_tensorflow_seeds(seeds)
        if generator is not None:
            generator.setstate(state)

    return put_back
