"""One copy of all that training changes in a model, to be put back to the last bit."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, cast

import keras
import numpy as np
from keras import ops

from cyclerate._errors import bad_argument
from cyclerate._randomness import (
    PutBack,
    all_of,
    held_by,
    remember_global_randomness,
    seed_global_randomness,
)
from cyclerate.keras._internals import (
    LATEST_FUNCTION,
    RATE,
    global_seed_generator,
    innermost,
    layers_of,
    rate_of,
    set_global_seed_generator,
    set_tensorflow_seeds,
    tensorflow_seeds,
    track,
    untrack,
)

TRAINER_ATTRIBUTES = (
    "history",
    "stop_training",
    "stop_evaluating",
    "steps_per_execution",
    "train_function",
    "test_function",
    "_eval_epoch_iterator",
    "_initial_epoch",
    "_jax_state",
    "_jax_state_synced",
    LATEST_FUNCTION,
)
"""What Keras's training loop and this adapter leave on a model, beside its variables."""


def remember_trainer_attributes(model: Any) -> PutBack:
    """Notes the attributes that a training loop leaves on a model, before anything is built."""
    # In `vars` directly: none of these is tracked state of the layer.
    attributes = vars(model)
    before = dict(attributes)

    def put_back() -> None:
        for name in TRAINER_ATTRIBUTES:
            if name in before:
                attributes[name] = before[name]
            else:
                attributes.pop(name, None)

    return put_back


class Snapshot:
    """The values of all variables: weights, statistics, seeds, optimizer, metrics, of the loss.

    And the plain attributes of layers, as a counter. Taken of a model whose state exists (built),
    since what does not exist cannot be copied. On PyTorch it includes the buffers, the gradients
    and the train/eval flags of its modules. It costs one copy of each variable, on the device that
    it lives on.

    Without `metrics` these go on, and the attributes, and no gradients are kept: for a mark of a
    training that goes on.
    """

    def __init__(self, model: Any, *, metrics: bool = True) -> None:
        variables = variables_of(model, metrics=metrics)
        self._values = [(variable, _copy(variable.value)) for variable in variables]
        torch = keras.backend.backend() == "torch"
        self._torch = _TorchState(model, gradients=metrics) if torch else None
        layers = [model, *layers_of(model)] if metrics else []
        self._plain = [(vars(layer), _plain(layer)) for layer in layers]

    def put_back(self, *, again: bool = False) -> None:
        """Gives every variable its value; unless `again` follows, that may be the copy itself."""
        if self._torch is not None:
            self._torch.drop_gradients()
        in_place = keras.backend.backend() != "jax"
        for variable, value in self._values:
            variable.assign(value if in_place or not again else _copy(value))
        for attributes, values in self._plain:
            attributes.update(values)
        if self._torch is not None:
            self._torch.put_back(again=again)

    def arrays(self) -> list[Any]:
        """The values, for a file."""
        return [keras.ops.convert_to_numpy(value) for _, value in self._values]

    def take(self, parts: list[tuple[str, bytes]]) -> None:
        """Takes other values, as types and bytes of such arrays of the same model.

        Raises:
            ValueError: They are those of another model.
        """
        variables = [variable for variable, _ in self._values]
        self._values = [*zip(variables, revived(variables, self.arrays(), parts), strict=True)]


def revived(variables: list[Any], arrays: list[Any], parts: list[tuple[str, bytes]]) -> list[Any]:
    """Returns the values in a file as tensors for variables that now have those of `arrays`.

    Raises:
        ValueError: They are those of another model.
    """
    if [(str(a.dtype), a.nbytes) for a in arrays] != [(kind, len(raw)) for kind, raw in parts]:
        raise bad_argument("model", "the one that the values are of", len(parts))
    values = [
        np.frombuffer(raw, a.dtype).reshape(a.shape).copy()
        for a, (_, raw) in zip(arrays, parts, strict=True)
    ]
    of = zip(values, variables, strict=True)
    return [ops.convert_to_tensor(value, dtype=variable.dtype) for value, variable in of]


def random_states(model: Any) -> list[Any]:
    """Where the random numbers of dropout and noise stand, which `model.save` leaves out."""
    saved = {id(variable) for variable in (*model.weights, *model.metrics_variables)}
    return [variable for variable in model.variables if id(variable) not in saved]


def packed(what: str, arrays: list[Any]) -> dict[str, Any]:
    """Returns arrays as bytes, by names for `numpy.savez` that hold their place and type.

    Types that NumPy knows only by name, as bfloat16, would not come back from its own file.
    """
    return {
        f"{what}_{i:06d}_{a.dtype}": np.frombuffer(a.tobytes(), "uint8")
        for i, a in enumerate(arrays)
    }


def unpacked(file: Mapping[str, Any], what: str) -> list[tuple[str, bytes]]:
    """Returns types and bytes of what `packed` gave by that name, as `Snapshot.take` takes them."""
    names = sorted(name for name in file if re.fullmatch(what + "_[0-9]{6}_[a-z0-9_]+", name))
    return [(name[len(what) + 8 :], file[name].tobytes()) for name in names]


def variables_of(model: Any, *, metrics: bool = True) -> list[Any]:
    """Every variable that a training step may change, each once."""
    found = list(model.variables)
    for value in vars(model).values():
        # A model with its own `train_step` may keep optimizers beside the one it was compiled with.
        if isinstance(value, keras.optimizers.Optimizer):
            found += value.variables
    for thing in _behind(model.loss):
        found += [thing] if isinstance(thing, keras.Variable) else thing.variables
    of_metrics = list(model.metrics_variables)
    for metric in model.metrics:
        of_metrics += metric.variables
    if metrics:
        found += of_metrics
    by_id = dict(zip(map(id, found), found, strict=True))
    if not metrics:
        for variable in of_metrics:
            by_id.pop(id(variable), None)
    return list(by_id.values())


def _behind(losses: Any) -> list[Any]:
    """The variables and layers that losses hold: as attributes, in a closure, as arguments."""
    given = [loss for loss in keras.tree.flatten(losses) if callable(loss)]
    holders = [thing for loss in given for thing in (loss, *held_by(loss))]
    held = [*holders, *(v for thing in holders for v in getattr(thing, "__dict__", {}).values())]
    return [thing for thing in held if isinstance(thing, (keras.Variable, keras.Layer))]


def _plain(layer: Any) -> dict[str, Any]:
    """The attributes of a layer that are single values; a model has others beside its trainer's."""
    kinds = (bool, int, float, str, type(None))
    values = vars(layer).items()
    return {k: v for k, v in values if isinstance(v, kinds) and k not in TRAINER_ATTRIBUTES}


def _copy(tensor: Any) -> Any:
    """A copy on the same device: JAX gives buffers away at each step, PyTorch changes them."""
    if keras.backend.backend() == "jax":
        import jax

        # `jax.numpy.copy` would compile a function for each shape.
        return jax.device_put(tensor, may_alias=False)
    return ops.copy(ops.stop_gradient(tensor))


class _TorchState:
    """The state of a PyTorch module beside its Keras variables."""

    def __init__(self, model: Any, *, gradients: bool) -> None:
        known = {id(variable.value) for variable in variables_of(model)}
        tensors = [*model.parameters(), *model.buffers()]
        self._tensors = [(t, t.detach().clone()) for t in tensors if id(t) not in known]
        self._gradients = _Gradients(model) if gradients else None
        # By name: each fit of Keras makes new containers of its parameters.
        self._training = {name: module.training for name, module in model.named_modules()}
        self._model = model

    def drop_gradients(self) -> None:
        """Lets go of those that the test made, before there are others beside them."""
        for parameter in self._model.parameters() if self._gradients is not None else ():
            parameter.grad = None

    def put_back(self, *, again: bool) -> None:
        for tensor, value in self._tensors:
            tensor.detach().copy_(value)
        if self._gradients is not None:
            self._gradients.put_back(again=again)
        for name, module in self._model.named_modules():
            module.training = self._training.get(name, module.training)


_LARGE_BYTES = 2**26
_PIECE_BYTES = 2**24


class _Gradients:
    """The gradients that a fit has left behind; at the end they are back.

    Steps make new ones and drop the old, so the old need no copy. But beside the new they would
    take the memory of all weights once more. So large ones wait elsewhere, where nobody can miss
    them (Keras's own step begins by dropping them): in the host's memory if they are on a device,
    in a file without a name if they are not.
    """

    def __init__(self, model: Any) -> None:
        self._held = [(parameter, parameter.grad) for parameter in model.parameters()]
        self._aside: list[tuple[Any, Any]] = []  # parameters, and what makes their gradients
        self._file = ExitStack()
        of_keras = type(model).train_step is keras.Model.train_step
        if of_keras and "train_step" not in vars(model):
            known = [(p, g) for p, g in self._held if g is not None and _bytes_of(g) is not None]
            if sum(gradient.nbytes for _, gradient in known) >= _LARGE_BYTES:
                self._set_aside(known)

    def put_back(self, *, again: bool) -> None:
        """Gives them back; before another run only those that are at hand."""
        for parameter, gradient in self._held:
            parameter.grad = gradient
        if not again:
            with self._file:
                for parameter, read in self._aside:
                    parameter.grad = read()
            self._aside = []

    def _set_aside(self, known: list[tuple[Any, Any]]) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            try:
                aside = [(parameter, _kept_in(file, gradient)) for parameter, gradient in known]
            except OSError:  # no room there: they stay where they are
                return
            self._aside, self._file = aside, stack.pop_all()
        gone = {id(parameter) for parameter, _ in aside}
        self._held = [(p, None if id(p) in gone else gradient) for p, gradient in self._held]
        for parameter, _ in aside:
            parameter.grad = None


def _kept_in(file: Any, gradient: Any) -> Callable[[], Any]:
    """Writes a gradient into a file, or copies it to the host; returns what makes it again."""
    import torch

    device = gradient.device
    if device.type != "cpu":
        on_host = gradient.detach().to("cpu", copy=True)
        return lambda: on_host.to(device)
    start, form = file.tell(), torch.empty_like(gradient, device="meta")
    _whole(file.write, _bytes_of(gradient))

    def read() -> Any:
        made = torch.empty_like(form, device=device)
        file.seek(start)
        _whole(file.readinto, _bytes_of(made))
        return made

    return read


def _whole(step: Callable[[Any], int], memory: Any) -> None:
    """Writes all of a memory, or reads into it, piece by piece."""
    place = 0
    while place < len(memory):
        done = step(memory[place : place + _PIECE_BYTES])
        if not done:
            raise OSError("the file of the gradients is shorter than they are")
        place += done


def _bytes_of(tensor: Any) -> Any:
    """The memory of a tensor that fills it without gaps; None of others. No values are copied."""
    import torch

    plain = tensor.layout is torch.strided and type(tensor) is torch.Tensor
    if not plain or tensor._is_view():  # noqa: SLF001 - others write to the whole
        return None
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    laid = tensor.detach().permute(order)
    if not laid.is_contiguous():
        return None
    flat = laid.reshape(-1).view(torch.uint8)
    return memoryview(cast(Any, flat.numpy())) if tensor.device.type == "cpu" else flat


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


def lend_rate(model: Any, undo: list[PutBack]) -> None:
    """Gives the model's optimizer a rate that is a variable, if it has none.

    So the runs of a range test, each at rates of its own, share one compiled step. What puts the
    optimizer's own rate back is added to `undo` first; the train function is the caller's to put
    back.
    """
    optimizer = innermost(model.optimizer)
    own = rate_of(optimizer)
    if isinstance(own, keras.Variable):
        return
    lent = keras.Variable(0.0, dtype=keras.config.floatx(), trainable=False, name="rate")

    def put_back() -> None:
        vars(optimizer)[RATE] = own
        untrack(optimizer, lent)

    undo.append(put_back)
    track(optimizer, lent)
    vars(optimizer)[RATE] = lent
    vars(model)["train_function"] = None  # compiled with the schedule
