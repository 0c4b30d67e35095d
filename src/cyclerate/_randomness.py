"""What is lent and put back: random generators, the order of data, and the way out to do it.

Nothing here knows a framework: PyTorch's generators and tensors are looked at where it is loaded.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from cyclerate._errors import CyclerateError

PutBack = Callable[[], None]
"""Puts back what was noted when it was made."""

_IN_USE = threading.RLock()
_MOST_SECONDS_INSIDE = 10.0


@contextmanager
def sole_use_of_generators(*, wait: bool) -> Generator[None]:
    """Lends the generators that all threads share to one thread at a time.

    Raises:
        CyclerateError: Another thread has them, and this one is not to wait.
    """
    if not _IN_USE.acquire(blocking=wait):
        raise CyclerateError(
            "a range test runs in another thread: they would share the random generators of "
            "Python, NumPy and the framework. Run one after the other, or in processes of their "
            "own."
        )
    try:
        yield
    finally:
        _IN_USE.release()


@contextmanager
def lending() -> Generator[ExitStack]:
    """Lends something for the block; what the stack is given to do at its end is done for sure.

    An interrupt (Ctrl-C, or another signal with a Python function for it) ends the block; whatever
    comes after it, or after the block, waits until all is put back. One thread at a time.

    >>> import signal
    >>> done = []
    >>> try:
    ...     with lending() as stack:
    ...         _ = stack.callback(done.append, "last")
    ...         _ = stack.callback(signal.raise_signal, signal.SIGINT)
    ... except KeyboardInterrupt:
    ...     done.append("interrupted")
    >>> done
    ['last', 'interrupted']
    """
    handlers: dict[int, Any] = {}
    late: list[tuple[int, Any]] = []
    ending = False

    def handle(number: int, frame: Any) -> None:
        nonlocal ending
        if ending:
            late.append((number, frame))
            return
        ending = True
        handlers[number](number, frame)
        ending = False  # it was only taken note of

    with ExitStack() as whole:
        whole.enter_context(sole_use_of_generators(wait=False))
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    handlers[number] = handler
                    whole.callback(signal.signal, number, handler)
                    signal.signal(number, handle)
        try:
            with ExitStack() as stack:
                try:
                    yield stack
                finally:
                    ending = True
        finally:
            for number, frame in late[:1]:
                handlers[number](number, frame)


class Gate:
    """Where threads of a framework read data of the user's: nothing is put back while one does.

    TensorFlow, and Keras with several workers, read ahead: also after a test was interrupted.
    """

    def __init__(self) -> None:
        self._changed, self._inside, self._closed = threading.Condition(), 0, False

    @classmethod
    def among(cls, gates: list[Gate]) -> Gate:
        """Returns a new one, noted with the others."""
        gates.append(cls())
        return gates[-1]

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise CyclerateError("the range test is over, and its data are given back")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Waits for those inside, as long as is sensible, and lets none in any more."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside, _MOST_SECONDS_INSIDE)

    def __reduce__(self) -> tuple[type[Gate], tuple[()]]:
        return Gate, ()  # another process reads by itself


def after_closing(gates: list[Gate], put_back: PutBack) -> PutBack:
    """Puts back once none of the gates lets anybody in, and none is inside."""

    def close_and_put_back() -> None:
        while gates:
            gates.pop().close()
        put_back()

    return close_and_put_back


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
    np.random.seed(seed % 2**32)  # noqa: NPY002 - many data sets shuffle with the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed % 2**64)


def remember_generators_of(*holders: Any) -> PutBack:
    """Notes the states of the generators that objects keep in their attributes, one level down.

    A data set that augments, or a sampler, may have its own generator; a function that makes
    batches may have one in its closure, its arguments, or on the object that it is a method of.
    """
    generators = {id(g): g for holder in holders for g in _generators_in(holder)}
    return all_of([_remember(generator) for generator in generators.values()])


def all_of(actions: Iterable[PutBack]) -> PutBack:
    """Several of them as one, done in their order, each whatever happens in the others."""
    listed = list(actions)

    def put_back() -> None:
        with ExitStack() as stack:
            for action in reversed(listed):
                stack.callback(action)

    return put_back


def held_by(function: Any) -> list[Any]:
    """Returns what a function, bound method or partial holds: closure, arguments, owner.

    >>> import functools
    >>> held_by(functools.partial(pow, 2)) == [pow, 2], held_by([].append)
    (True, [])
    """
    if isinstance(function, partial):
        return [function.func, *function.args, *function.keywords.values()]
    if isinstance(function, MethodType):
        return [function.__func__, function.__self__]
    held: list[Any] = []
    if isinstance(function, FunctionType):
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # not assigned yet
                held.append(cell.cell_contents)
    return held


CONTAINERS = (dict, set, list, deque, np.ndarray)


def remember_contents(container: Any) -> PutBack:
    """Notes what a dict, set, list, deque or NumPy array holds; the items are not copied."""
    if isinstance(container, np.ndarray):
        values = container.copy()
        return lambda: np.copyto(container, values) if container.flags.writeable else None
    held = dict(container) if isinstance(container, dict) else list(container)

    def put_back() -> None:
        container.clear()
        if isinstance(container, (dict, set)):
            container.update(held)
        else:
            container.extend(held)

    return put_back


def remember_order(data: Any) -> PutBack:
    """Notes the attributes, generators and orders of an iterable, its samplers and its data set.

    A loader with persistent workers keeps them in an attribute, too: those of the test are let go.
    Of a function that gives batches, the same of all that it holds.
    """
    ordering = [data, *held_by(data)]
    for holder in ordering:  # a sampler of batches has one of rows
        parts = [getattr(holder, name, None) for name in ("sampler", "batch_sampler")]
        parts += held_by(holder)
        ordering += [p for p in parts if p is not None and all(p is not o for o in ordering)]
    containers = [order for holder in ordering for order in _orders_in(holder)]
    holders = [*ordering, *(getattr(holder, "dataset", None) for holder in ordering)]
    containers += [vars(holder) for holder in holders if _has_state(holder)]
    return all_of([remember_generators_of(*holders), *map(remember_contents, containers)])


def _has_state(holder: Any) -> bool:
    """Whether its attributes may decide on an order; those of functions, classes and modules not.

    Nor those of a framework's own things, as a `tf.data.Dataset`, or an array.
    """
    root = type(holder).__module__.partition(".")[0]
    return hasattr(holder, "__dict__") and root not in ("builtins", "tensorflow", "pandas")


def _orders_in(holder: Any) -> Iterator[Any]:
    """Gives what a sampler may shuffle in place. Its data, which are large, stay."""
    if not _has_state(holder):
        return
    torch = sys.modules.get("torch")
    for value in vars(holder).values():
        array = value
        if torch is not None and isinstance(value, torch.Tensor):
            if value.device.type != "cpu" or value.requires_grad or value.is_sparse:
                continue
            array = value.numpy()
        whole_numbers = not isinstance(array, np.ndarray) or (
            array.ndim == 1 and array.dtype.kind in "iu"
        )
        if isinstance(array, CONTAINERS) and whole_numbers:
            yield array


def _generators_in(holder: Any) -> Iterator[Any]:
    for value in (*held_by(holder), *getattr(holder, "__dict__", {}).values()):
        for candidate in (value, *getattr(value, "__dict__", {}).values()):
            if _kind(candidate) is not None:
                yield candidate


def _kind(thing: Any) -> str | None:
    if type(thing).__module__ in ("builtins", "collections"):
        return None  # most things are; asking whether one is PyTorch's takes long
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
