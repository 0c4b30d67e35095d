"""An optimizer whose rate changes from step to step within one compiled function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cyclerate._errors import bad_argument
from cyclerate.optax._data import difference

MakeOptimizer = Callable[[Any], optax.GradientTransformation]


class RatedOptimizer:
    """The optimizer of `make_optimizer`, at a rate known only when the compiled step runs.

    Some optimizers keep the rate in their state (`optax.inject_hyperparams` does) and would go on
    with the rate they began with. Whatever in a new state depends on the rate is therefore set
    again at every step; all else, moments and counts, stays.

    Args:
        make_optimizer: Builds the optimizer for a rate.
        params: The parameters that it will train; only their shapes are looked at.
    """

    def __init__(self, make_optimizer: MakeOptimizer, params: Any) -> None:
        if not callable(make_optimizer):
            raise bad_argument(
                "make_optimizer",
                "a function learning_rate -> optimizer, as optax.adam",
                make_optimizer,
            )
        self._make = make_optimizer
        try:
            self._layout = jax.eval_shape(self.init, 1.0, params)
            depends = _depends_on_first(self.init, 1.0, params)
            self._depends = jax.tree.unflatten(jax.tree.structure(self._layout), depends)
            updates_depend = _depends_on_first(self._updates, 1.0, params, self._layout, params)
        except jax.errors.ConcretizationTypeError as error:
            allowed = "a function that jax.jit can trace: it may not ask for the value of the rate"
            raise bad_argument("make_optimizer", allowed, make_optimizer) from error
        if not any(updates_depend):
            allowed = "a function that builds the optimizer with the rate it is given"
            raise bad_argument("make_optimizer", allowed, make_optimizer)

    @property
    def accumulates(self) -> bool:
        """True if it gathers the gradients of several batches (`optax.MultiSteps`)."""
        nodes = jax.tree.leaves(self._layout, is_leaf=_is_accumulating)
        return any(_is_accumulating(node) for node in nodes)

    def init(self, rate: Any, params: Any) -> Any:
        """Returns the state of a new optimizer."""
        return self._at(rate).init(params)

    def check_state(self, opt_state: Any) -> None:
        """Checks that a state belongs to this optimizer."""
        if wrong := difference(self._layout, opt_state):
            raise bad_argument(
                "opt_state",
                "a state of the optimizer that make_optimizer builds (if it was trained with a "
                "schedule: `lambda rate: optax.adam(lambda step: rate)`)",
                wrong,
            )

    def update(
        self, rate: Any, grads: Any, opt_state: Any, params: Any, loss: Any
    ) -> tuple[Any, Any]:
        """Returns the parameters and the state after a step at `rate`."""
        optimizer = self._at(rate)
        if any(jax.tree.leaves(self._depends)):
            new = optimizer.init(params)
            opt_state = jax.tree.map(
                lambda depends, old, at_rate: at_rate if depends else old,
                self._depends,
                opt_state,
                new,
            )
        updates, opt_state = optimizer.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    def _updates(self, rate: Any, grads: Any, opt_state: Any, params: Any) -> Any:
        return self.update(rate, grads, opt_state, params, loss=jnp.zeros(()))[0]

    def _at(self, rate: Any) -> optax.GradientTransformationExtraArgs:
        optimizer: Any = self._make(rate)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise bad_argument("make_optimizer", "a function that returns an optimizer", optimizer)
        return optax.with_extra_args_support(optimizer)


def _is_accumulating(node: Any) -> bool:
    return isinstance(node, optax.MultiStepsState)


def _depends_on_first(function: Callable[..., Any], *args: Any) -> list[bool]:
    """Returns for each output, flattened, whether the first argument takes part in computing it."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    reached = {id(jaxpr.invars[0])}
    for equation in jaxpr.eqns:
        if any(id(variable) in reached for variable in equation.invars):
            reached.update(id(variable) for variable in equation.outvars)
    return [id(variable) in reached for variable in jaxpr.outvars]


class Outcome(NamedTuple):
    """The results of the loss function beside the loss to differentiate."""

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
