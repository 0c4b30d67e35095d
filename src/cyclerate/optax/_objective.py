"""An optimizer whose rate changes from step to step within one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cyclerate._errors import bad_argument
from cyclerate.optax.layout import difference

MakeOptimizer = Callable[[Any], optax.GradientTransformation]


class RatedOptimizer:
    """What `make_optimizer` builds, at a rate that is known only when the compiled step runs.

    Some optimizers keep the rate in their state (`optax.inject_hyperparams` does) and would go on
    with the rate they began with. Whatever in a new state depends on the rate is therefore set
    anew at every step; all else, moments and counts, stays.

    Args:
        make_optimizer: Builds the optimizer for a rate.
        params: The parameters that it will train; only their shapes are looked at.

    Raises:
        ValueError: `make_optimizer` does not build an optimizer, or builds one that does not depend
            on the rate, or asks for the value of the rate.
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
        """Whether it gathers the gradients of several batches (`optax.MultiSteps`)."""
        nodes = jax.tree.leaves(self._layout, is_leaf=_is_accumulating)
        return any(_is_accumulating(node) for node in nodes)

    def init(self, rate: Any, params: Any) -> Any:
        """Returns the state of a new optimizer."""
        return self._at(rate).init(params)

    def check_state(self, opt_state: Any) -> None:
        """Checks that a state belongs to this optimizer.

        Raises:
            ValueError: It does not; the message says where it first differs.
        """
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
