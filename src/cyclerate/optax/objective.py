"""The user's loss function, in whichever of its forms, as one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cyclerate._errors import bad_argument
from cyclerate.optax.layout import difference


class Outcome(NamedTuple):
    """What a call of the loss function gave beside the loss to differentiate."""

    metric: jax.Array
    model_state: Any


@dataclass(frozen=True)
class Objective:
    """Calls `loss_fn(params, batch[, model_state][, rng])` and sorts what it returns.

    Args:
        loss_fn: Returns the loss; or a pair of the loss and the new state (`has_state`), the
            auxiliary output (`has_aux`), or a pair of these two (both).
        metric: "loss", or the key of a value in the auxiliary output.
        has_state: Whether the loss function takes and returns a mutable state.
        has_rng: Whether it takes a random key.
        has_aux: Whether it returns auxiliary output.

    Raises:
        ValueError: `metric` needs auxiliary output and there is none; or, when it is called, the
            loss function returns something else than announced.
    """

    loss_fn: Callable[..., Any]
    metric: str
    has_state: bool
    has_rng: bool
    has_aux: bool

    def __post_init__(self) -> None:
        if not callable(self.loss_fn):
            raise bad_argument("loss_fn", "a function of (params, batch)", self.loss_fn)
        if self.metric != "loss" and not self.has_aux:
            raise bad_argument("metric", '"loss" unless has_aux=True', self.metric)

    def __call__(
        self, params: Any, batch: Any, model_state: Any, rng: Any
    ) -> tuple[jax.Array, Outcome]:
        state = (model_state,) if self.has_state else ()
        key = (rng,) if self.has_rng else ()
        loss, new_state, aux = self._sorted(self.loss_fn(params, batch, *state, *key))
        if jnp.shape(loss) != ():
            raise bad_argument("the loss", "a single number", f"shape {jnp.shape(loss)}")
        if self.has_state and (wrong := difference(model_state, new_state)):
            raise bad_argument("the state that loss_fn returns", "like model_state", wrong)
        metric = loss if self.metric == "loss" else self._from_aux(aux)
        return loss, Outcome(metric, new_state)

    def _sorted(self, output: Any) -> tuple[Any, Any, Any]:
        """Returns the loss, the new state and the auxiliary output; None for what there is not."""
        if self.has_state and self.has_aux:
            form = "(loss, (model_state, aux))"
            loss, rest = _pair(output, form)
            return loss, *_pair(rest, form)
        if self.has_state:
            return *_pair(output, "(loss, model_state)"), None
        if self.has_aux:
            loss, aux = _pair(output, "(loss, aux)")
            return loss, None, aux
        if isinstance(output, tuple):
            raise bad_argument(
                "the output of loss_fn", "the loss alone unless has_aux=True", output
            )
        return output, None, None

    def _from_aux(self, aux: Any) -> Any:
        if not isinstance(aux, Mapping) or self.metric not in aux:
            raise bad_argument(
                "metric", f'"loss" or a key of the aux of loss_fn, {aux}', self.metric
            )
        if jnp.shape(aux[self.metric]) != ():
            raise bad_argument("metric", "the key of a single number", aux[self.metric])
        return aux[self.metric]


def _pair(output: Any, form: str) -> tuple[Any, Any]:
    if not isinstance(output, tuple) or len(output) != 2:
        raise bad_argument("the output of loss_fn", form, output)
    return output
