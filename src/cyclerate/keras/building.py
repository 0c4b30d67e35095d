"""Makes the state that the first training step would make, and does not take that step."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras._data import A_BATCH, Data
from cyclerate.keras._internals import build_from_batch, is_built


class _Ready(Exception):
    """Ends a fit on purpose."""


def build(model: Any, data: Data) -> None:
    """Builds the model, its metrics and its optimizer as far as they are not built.

    On JAX and PyTorch a fit builds before its first step, and draws from the random generators for
    it. So a fit is begun with the data as they were given, and ended before that step: weights and
    generators are then as a fit would have them. On TensorFlow the first step itself builds, and
    draws nothing that is not drawn again.
    """
    if is_built(model):
        return
    if keras.backend.backend() == "tensorflow":
        _build_from_first_batch(model, data)
    else:
        _begin_fit(model, data.as_given, callbacks=[_StopBeforeTheFirstStep()])


def build_from_iterator(model: Any, iterator: Any) -> None:
    """Builds the same in a fit on TensorFlow, from the shapes of the batches that it will give."""
    if not is_built(model):
        spec = keras.tree.map_structure(_none_if_missing, iterator.element_spec)
        build_from_batch(model, spec)


@contextmanager
def quiet_about_the_end_of_data() -> Generator[None]:
    """Keras warns where a pass over data of unknown length ends; here it just begins another."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        yield


class _StopBeforeTheFirstStep(keras.callbacks.Callback):
    def on_train_begin(self, logs: Any = None) -> None:
        raise _Ready


def _build_from_first_batch(model: Any, data: Data) -> None:
    def build_only(iterator: Any) -> None:
        build_from_batch(model, keras.tree.map_structure(_none_if_missing, next(iter(iterator))))
        raise _Ready

    plain = model.train_function
    model.train_function = build_only
    try:
        _begin_fit(model, data.lend())
    finally:
        model.train_function = plain


def _none_if_missing(part: Any) -> Any:
    """A generator's batch without sample weights holds an empty Optional on TensorFlow."""
    return part if hasattr(part, "shape") else None


def _begin_fit(model: Any, arguments: dict[str, Any], **more: Any) -> None:
    with quiet_about_the_end_of_data():
        try:
            model.fit(**arguments, verbose=0, **more)
        except _Ready:
            return
    raise bad_argument("x", A_BATCH, "none")
