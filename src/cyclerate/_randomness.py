"""The states of random number generators, to be put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

PutBack = Callable[[], None]
"""Puts back what was noted when it was made."""


def remember_global_randomness() -> PutBack:
    """Notes the state of the global generators of Python, NumPy and, if it is loaded, PyTorch."""
    actions: list[PutBack] = [
        partial(random.setstate, random.getstate()),
        # Many data sets shuffle with the global generator.
        partial(np.random.set_state, np.random.get_state()),  # noqa: NPY002
    ]
    if "torch" in sys.modules:
        actions.append(_remember_torch())
    return all_of(actions)


def seed_global_randomness(seed: int) -> None:
    """Seeds the generators that `remember_global_randomness` notes, and loads no framework."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - many data sets shuffle with the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def remember_generators_of(*holders: Any) -> PutBack:
    """Notes the states of the generators that objects keep in their attributes, one level down.

    A data set that augments, or a sampler, may have its own generator.
    """
    generators = {id(g): g for holder in holders for g in _generators_in(holder)}
    return all_of([_remember(generator) for generator in generators.values()])


def all_of(actions: Iterable[PutBack]) -> PutBack:
    """Several of them as one, done in their order, each whatever happens in the others.

    An action that Ctrl-C comes into is done once more; the interrupt is let through at the end.
    """
    listed = list(actions)

    def put_back() -> None:
        with ExitStack() as stack:
            for action in reversed(listed):
                stack.callback(_finished, action)

    return put_back


def _finished(action: PutBack) -> None:
    try:
        action()
    except KeyboardInterrupt:
        action()
        raise


def _generators_in(holder: Any) -> Iterator[Any]:
    for value in getattr(holder, "__dict__", {}).values():
        for candidate in (value, *getattr(value, "__dict__", {}).values()):
            if _kind(candidate) is not None:
                yield candidate


def _kind(thing: Any) -> str | None:
    if isinstance(thing, random.Random):
        return "python"
    if isinstance(thing, np.random.Generator):
        return "numpy"
    if isinstance(thing, np.random.RandomState):
        return "legacy"
    torch = sys.modules.get("torch")
    return "torch" if torch is not None and isinstance(thing, torch.Generator) else None


def _remember(generator: Any) -> PutBack:
    kind = _kind(generator)
    if kind == "numpy":
        return partial(setattr, generator.bit_generator, "state", generator.bit_generator.state)
    if kind == "python":
        return partial(generator.setstate, generator.getstate())
    return partial(generator.set_state, generator.get_state())


def _remember_torch() -> PutBack:
    torch = sys.modules["torch"]
    actions = [partial(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_initialized():
        actions.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        actions.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return all_of(actions)
