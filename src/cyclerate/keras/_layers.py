"""Rates by the depth of a layer, and layers that begin to train one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras

from cyclerate._errors import bad_argument, check_count, listed
from cyclerate.cycles._rules import LAYER_DECAY, factor_schedule, layer_factors, thaw_turns
from cyclerate.keras._internals import innermost, raw_iterations
from cyclerate.keras._train_function import Shares, install, remove


class LayerRate(NamedTuple):
    """The part of the rate that layers get, from the callback's step `first_step` on."""

    layers: tuple[str, ...]
    factor: float
    first_step: int


class LayerRates(keras.callbacks.Callback):
    """Gives the layers of a model smaller rates the deeper they are, and thaws them one by one.

    A layer d layers below the top has the rate times `decay ** d`. It is the rate that is scaled,
    not the gradient, so it does the same for Adam as for SGD; weight decay is scaled with it. With
    `unfreeze_epochs`, only the top trains at first, and after every so many epochs one more layer
    does; the others do not move at all. It goes with `ScheduleCallback`, `as_schedule` and
    `fit_one_cycle`, whose range test it applies to, too (with all layers thawed).

    It is computed inside the compiled step, on every backend: thawing compiles nothing again. After
    the fit nothing is left of it, and nothing of it is saved with the model. Frozen layers are
    `trainable` as before, so their gradients are computed, their momentum warms up, and the moving
    statistics of a batch normalisation go on: set `layer.trainable = False` before `compile` for
    what is never to change.

    Args:
        decay: Of the rate from a layer to the one below it, above 0 and at most 1; 1 for equal
            rates. Default 1 / 2.6.
        groups: The layers from the bottom to the top, each a layer, the name of one, or a list of
            them that go together. Default: every layer that has weights of its own, those of nested
            models too; group the blocks of a deep network, or its lowest layers do not move.
        unfreeze_epochs: After how many epochs one more layer trains. Default: all train at once.

    Attributes:
        rates: What each layer got, from the bottom to the top; there when a fit has begun.

    Raises:
        ValueError: A wrong argument. When the fit begins: an unknown layer, a trainable weight that
            is in no group or in two, an optimizer with a moving average of the weights.

    Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.2 (discriminative fine-tuning) and
    section 3.3 (gradual unfreezing).

    >>> import keras
    >>> import numpy as np
    >>> layers = [keras.layers.Dense(2, name=name) for name in ("low", "middle", "top")]
    >>> model = keras.Sequential([keras.Input((2,)), *layers])
    >>> model.compile(keras.optimizers.Adam(), "mse")
    >>> layer_rates = LayerRates(decay=0.5, unfreeze_epochs=1)
    >>> x = np.ones((8, 2))
    >>> _ = model.fit(x, x, batch_size=4, epochs=3, callbacks=[layer_rates], verbose=0)
    >>> for rate in layer_rates.rates:
    ...     print(*rate)
    ('low',) 0.25 4
    ('middle',) 0.5 2
    ('top',) 1.0 0
    """

    def __init__(
        self,
        decay: float = LAYER_DECAY,
        groups: Sequence[Any] | None = None,
        *,
        unfreeze_epochs: int | None = None,
    ) -> None:
        super().__init__()
        layer_factors(1, decay)
        if groups is not None and not isinstance(groups, (list, tuple)):
            raise bad_argument("groups", "a list of layers, or None", groups)
        if unfreeze_epochs is not None:
            check_count("unfreeze_epochs", unfreeze_epochs)
        self._decay, self._groups, self._unfreeze_epochs = decay, groups, unfreeze_epochs
        self.rates: tuple[LayerRate, ...] = ()

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        optimizer = innermost(model.optimizer)
        shares = self._shares(model, offset=int(optimizer.iterations), thawed=False)
        install(model, optimizer, (shares,), when_over=lambda: None)

    def on_train_end(self, logs: Any = None) -> None:
        remove(self.model)

    @contextmanager
    def lent_to(self, model: Any) -> Generator[None]:
        """Makes all updates in the block with the layers' factors, none of them frozen."""
        optimizer = innermost(model.optimizer)
        shares = self._shares(model, offset=0, thawed=True)
        attributes = vars(optimizer)
        plain, model.train_function = model.train_function, None

        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            with shares.during(model.trainable_variables, optimizer.iterations):
                return type(optimizer).apply(optimizer, grads, trainable_variables)

        attributes["apply"] = apply
        try:
            yield
        finally:
            del attributes["apply"]
            model.train_function = plain

    def _shares(self, model: Any, *, offset: int, thawed: bool) -> Shares:
        if innermost(model.optimizer).use_ema:
            allowed = "one without use_ema, whose average would know nothing of the layers' rates"
            raise bad_argument("model.optimizer", allowed, model.optimizer)
        groups = [*_groups_of(model, self._groups)]
        every = None if thawed else self._unfreeze_epochs
        first_steps = [self._first_step(turn, every) for turn in thaw_turns(len(groups))]
        factors = layer_factors(len(groups), self._decay)
        by_variable: dict[int, Any] = {}
        for group, factor, first in zip(groups, factors, first_steps, strict=True):
            schedule = factor_schedule(factor, first)
            by_variable |= {id(v): schedule for layer in group for v in layer.trainable_variables}
        names = [tuple(layer.name for layer in group) for group in groups]
        self.rates = tuple(map(LayerRate, names, factors, first_steps))
        return Shares(tuple(by_variable[id(v)] for v in model.trainable_variables), offset)

    def _first_step(self, turn: int, every_epochs: int | None) -> int:
        """The step with which a layer begins to train."""
        if every_epochs is None or not turn:
            return 0
        batches = self.params.get("steps")
        if batches is None:
            raise bad_argument("steps_per_epoch", "given, so that a layer's turn is known", None)
        optimizer = innermost(self.model.optimizer)
        accumulated = optimizer.gradient_accumulation_steps or 1
        before = int(raw_iterations(optimizer))
        return (before + turn * every_epochs * batches) // accumulated - before // accumulated


def _groups_of(model: Any, groups: Sequence[Any] | None) -> list[list[Any]]:
    found = [[layer] for layer in _with_weights(model)] if groups is None else _asked(model, groups)
    held = [
        variable for group in found for layer in group for variable in layer.trainable_variables
    ]
    known = {id(variable) for variable in held}
    missing = [v.path for v in model.trainable_variables if id(v) not in known]
    if missing:
        allowed = f"such that every trainable weight is in one (or freeze it): {listed(missing, 5)}"
        raise bad_argument("groups", allowed, groups)
    if len(known) < len(held):
        raise bad_argument("groups", "such that no weight is in two of them", groups)
    return found


def _with_weights(model: Any) -> Iterable[Any]:
    """The layers that have something to train, once each; nested models are opened."""
    found: dict[int, Any] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= {id(inner): inner for inner in _with_weights(layer)}
        elif layer.trainable_variables:
            found[id(layer)] = layer
    return list(found.values())


def _asked(model: Any, groups: Sequence[Any]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for group in groups:
        parts = group if isinstance(group, (list, tuple)) else [group]
        layers = [model.get_layer(part) if isinstance(part, str) else part for part in parts]
        if not layers or not all(isinstance(layer, keras.Layer) for layer in layers):
            raise bad_argument("groups", "layers, their names, or lists of these", group)
        found.append(layers)
    if not found:
        raise bad_argument("groups", "at least one layer, or None", groups)
    return found
