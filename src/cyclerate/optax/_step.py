"""One training step, compiled for all rates: a loss function, and an optimizer at a rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cyclerate._errors import bad_argument, check_count, check_flag, check_function
from cyclerate.finder._prior import Prior, prior_lr

MakeOptimizer = Callable[..., optax.GradientTransformation]
Batch = Any
"""A pytree of arrays, as the user's loss function takes it."""


class Training(NamedTuple):
    """What a training step changes."""

    params: Any
    opt_state: Any
    model_state: Any
    rng: Any


class Told(NamedTuple):
    """What a step tells: its metric, its loss, and the norm of its gradient if it was asked for."""

    metric: jax.Array
    loss: jax.Array
    norm: jax.Array | None


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
        more = ["model_state"] * self.has_state + ["rng"] * self.has_rng
        check_function("loss_fn", self.loss_fn, f"({', '.join(['params', 'batch', *more])})")
        check_flag("has_aux", self.has_aux)
        if self.metric != "loss" and not self.has_aux:
            raise bad_argument("metric", '"loss" unless has_aux=True', self.metric)

    def __call__(
        self, params: Any, batch: Batch, model_state: Any, rng: Any
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        """Returns the loss, and with it the metric and the new state."""
        state = (model_state,) if self.has_state else ()
        key = (rng,) if self.has_rng else ()
        loss = self.loss_fn(params, batch, *state, *key)
        new_state = aux = None
        if self.has_state and self.has_aux:
            form = "(loss, (model_state, aux))"
            loss, rest = _pair(loss, form)
            new_state, aux = _pair(rest, form)
        elif self.has_state:
            loss, new_state = _pair(loss, "(loss, model_state)")
        elif self.has_aux:
            loss, aux = _pair(loss, "(loss, aux), as has_aux=True says")
        elif isinstance(loss, tuple):
            allowed = "the loss alone unless has_aux=True"
            raise bad_argument("the output of loss_fn", allowed, f"a tuple of {len(loss)}")
        if jnp.shape(loss) != ():
            raise bad_argument("the loss", "a single number", f"shape {jnp.shape(loss)}")
        if self.has_state and (wrong := difference(model_state, new_state)):
            raise bad_argument("the state that loss_fn returns", "like model_state", wrong)
        return loss, (loss if self.metric == "loss" else self._from_aux(aux), new_state)

    def _from_aux(self, aux: Any) -> Any:
        if not isinstance(aux, Mapping) or self.metric not in aux:
            keys = list(aux) if isinstance(aux, Mapping) else type(aux).__name__
            raise bad_argument("metric", f'"loss" or a key of loss_fn\'s aux, {keys}', self.metric)
        if jnp.shape(aux[self.metric]) != ():
            shape = f"{self.metric!r} of shape {jnp.shape(aux[self.metric])}"
            raise bad_argument("metric", "the key of a single number", shape)
        return aux[self.metric]


def _pair(output: Any, form: str) -> tuple[Any, Any]:
    if not isinstance(output, tuple) or len(output) != 2:
        received = type(output).__name__
        if isinstance(output, tuple):
            received = f"a tuple of {len(output)}"
        raise bad_argument("the output of loss_fn", form, received)
    return output


def check_arrays(name: str, tree: Any, *, trained: bool = False) -> None:
    """Checks that all leaves of a pytree are arrays or numbers; of floats, if they are trained.

    Raises:
        ValueError: One is not, or there are none to train.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if trained and not leaves:
        raise bad_argument(name, "a pytree of arrays to train", tree)
    for path, leaf in leaves:
        try:
            dtype = dtype_in_jax(leaf)
        except (TypeError, ValueError):
            dtype = None
        # The name of a dtype, or itself, is none of an array.
        if isinstance(leaf, (str, type, np.dtype, ModuleType, np.ma.MaskedArray)):
            dtype = None
        if dtype is None or (trained and not jnp.issubdtype(dtype, jnp.inexact)):
            received = f"{dtype or type(leaf).__name__} at {jax.tree_util.keystr(path) or 'it'}"
            allowed = "a pytree of arrays"
            if trained:
                allowed += " to train (Equinox: eqx.partition(model, eqx.is_inexact_array); "
                allowed += "Flax NNX: nnx.split(model, nnx.Param, ...))"
            raise bad_argument(name, allowed, received)


def check_key(rng: Any) -> None:
    """Checks that it is a key of `jax.random`, of the new kind or the old, or None.

    Raises:
        ValueError: It is not.
    """
    if rng is None:
        return
    dtype = rng.dtype if isinstance(rng, (jax.Array, np.ndarray)) else None
    new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and rng.shape == ()
    if not new and not (dtype == np.uint32 and rng.ndim == 1):
        raise bad_argument("rng", "a key, as jax.random.key(0) gives", type(rng).__name__)


_ACCUMULATION = "every_k_schedule where make_optimizer builds an optax.MultiSteps, else 1"
_KINDS = {
    "ScaleByAdamState": "adam",
    "ScaleByRmsState": "rmsprop",
    "ScaleByRStdDevState": "rmsprop",
    "ScaleByRssState": "adagrad",
    "ScaleByLionState": "lion",
    "TraceState": "momentum",
}


class RatedOptimizer:
    """The optimizer of `make_optimizer`, at a rate known only when the compiled step runs.

    Some optimizers keep the rate in their state (`optax.inject_hyperparams` does) and would go on
    with the rate they began with. Whatever in a new state depends on the rate is therefore set
    again at every step, and so is what would scale the rate beside it; all else, moments and
    counts, stays.

    Args:
        make_optimizer: Builds the optimizer for a rate, or for a rate and a momentum.
        params: The parameters that it will train; only their shapes are looked at.
        knobs: An example of what `make_optimizer` takes: one number, or two.
    """

    def __init__(
        self, make_optimizer: MakeOptimizer, params: Any, knobs: tuple[float, ...] = (1.0,)
    ) -> None:
        of = "(learning_rate)" if len(knobs) == 1 else "(learning_rate, momentum)"
        check_function("make_optimizer", make_optimizer, of, instead=", as optax.sgd")
        check_arrays("params", params, trained=True)
        self._make = make_optimizer
        self._layout: Any = None
        try:
            self._layout = jax.eval_shape(self.init, knobs, params)
            depends = _depends(self.init, len(knobs), knobs, params)
            self._set_again = _with_scaling(self._layout, depends)
            updates_depend = _depends(self._updates, 1, knobs, params, self._layout)
        except jax.errors.ConcretizationTypeError as error:
            allowed = "a function that jax.jit can trace: it may not ask for the value of the rate"
            raise bad_argument("make_optimizer", allowed, make_optimizer) from error
        except TypeError as error:
            if self._layout is None:
                raise  # of make_optimizer itself
            allowed = "an optimizer whose update takes no more than value, grad and value_fn"
            raise bad_argument("make_optimizer", allowed, f"one that raises {error}") from error
        if not any(updates_depend):
            allowed = "a function that builds the optimizer with the rate it is given"
            raise bad_argument("make_optimizer", allowed, make_optimizer)

    def prior(self, params: Any, rows: int | None, total_steps: int, *, fine_tuned: bool) -> Prior:
        """Returns the rate to expect, by what the optimizer keeps; rows of an update, None: 64."""
        return prior_lr(
            _kind_of(self._layout),
            batch_size=rows,
            total_steps=total_steps,
            fine_tuned=fine_tuned,
            parameters=sum(map(np.size, jax.tree.leaves(params))) or 1,
        )

    def init(self, knobs: tuple[Any, ...], params: Any) -> Any:
        """Returns the state of a new optimizer."""
        return self._at(knobs).init(params)

    def check_state(self, opt_state: Any) -> None:
        """Checks that a state belongs to this optimizer."""
        check_arrays("opt_state", opt_state)
        if wrong := difference(self._layout, opt_state):
            raise bad_argument(
                "opt_state",
                "a state of the optimizer that make_optimizer builds (trained with a schedule: "
                "`lambda rate: optax.adam(lambda step: rate)`; of nnx.Optimizer: nnx.as_pure)",
                wrong,
            )

    def check_accumulation(self, accumulation_steps: Any) -> int:
        """Returns how many batches make an update; one, unless it is an `optax.MultiSteps`."""
        batches = check_count("accumulation_steps", accumulation_steps, below=2**31)
        if (self.updates_in(self._layout) is not None) != (batches > 1):
            raise bad_argument("accumulation_steps", _ACCUMULATION, accumulation_steps)
        return batches

    def check_update(self, accumulation_steps: int, before: Any, opt_state: Any) -> None:
        """Checks that the batches that should have made an update made one."""
        if accumulation_steps > 1 and self.updates_in(opt_state) - before != 1:
            raise bad_argument("accumulation_steps", _ACCUMULATION, accumulation_steps)

    @staticmethod
    def updates_in(opt_state: Any) -> Any:
        """Returns how many updates an `optax.MultiSteps` counts; None if there is none."""
        for node in jax.tree.leaves(opt_state, is_leaf=_is_accumulating):
            if _is_accumulating(node):
                count = node.gradient_step
                return count if isinstance(count, jax.ShapeDtypeStruct) else int(count)
        return None

    def update(
        self,
        knobs: tuple[Any, ...],
        grads: Any,
        opt_state: Any,
        params: Any,
        *,
        loss: Any,
        value_fn: Callable[[Any], Any],
    ) -> tuple[Any, Any]:
        """Returns the parameters and the state after a step at a rate."""
        optimizer = self._at(knobs)
        if any(jax.tree.leaves(self._set_again)):
            opt_state = jax.tree.map(
                lambda again, old, new: new if again else old,
                self._set_again,
                opt_state,
                optimizer.init(params),
            )
        extra: dict[str, Any] = {"value": loss, "grad": grads, "value_fn": value_fn}
        parameters = inspect.signature(optimizer.update).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            extra = {name: value for name, value in extra.items() if name in parameters}
        updates, opt_state = optimizer.update(grads, opt_state, params, **extra)
        return optax.apply_updates(params, updates), opt_state

    def _updates(self, knobs: tuple[Any, ...], params: Any, opt_state: Any) -> Any:
        zero = jnp.zeros(())
        grads = params
        return self.update(
            knobs, grads, opt_state, params, loss=zero, value_fn=lambda _params: zero
        )[0]

    def _at(self, knobs: tuple[Any, ...]) -> optax.GradientTransformationExtraArgs:
        optimizer: Any = self._make(*knobs)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise bad_argument("make_optimizer", "a function that returns an optimizer", optimizer)
        return optax.with_extra_args_support(optimizer)


def _kind_of(opt_state: Any) -> str:
    def is_known(node: Any) -> bool:
        return type(node).__name__ in _KINDS or _is_accumulating(node)

    nodes = jax.tree.leaves(opt_state, is_leaf=is_known)
    for node in filter(is_known, nodes):
        known = _KINDS.get(type(node).__name__)
        return known or _kind_of(node.inner_opt_state)
    return "adam" if any(leaf.ndim for leaf in nodes) else "sgd"  # of unknown moments, or of none


def _is_accumulating(node: Any) -> bool:
    return isinstance(node, optax.MultiStepsState)


def _with_scaling(layout: Any, depends: list[bool]) -> Any:
    """Returns for each leaf of a state whether it depends on the rate, or would scale it."""
    flags = jax.tree.unflatten(jax.tree.structure(layout), depends)
    scales = jax.tree.map(_is_scaling, layout, is_leaf=_is_scaling)
    return jax.tree.map(
        lambda scaling, part: jax.tree.map(lambda own: own or scaling, part), scales, flags
    )


def _is_scaling(node: Any) -> bool:
    return isinstance(node, optax.contrib.ReduceLROnPlateauState)


def _depends(function: Callable[..., Any], first: int, *args: Any) -> list[bool]:
    """Returns for each output, flattened, whether one of the first inputs takes part in it."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return _reached(jaxpr, [i < first for i in range(len(jaxpr.invars))])


_CALLS = ("jit", "pjit", "closed_call", "checkpoint", "custom_jvp_call")


def _reached(jaxpr: Any, inputs: list[bool]) -> list[bool]:
    reached = {id(v) for v, is_reached in zip(jaxpr.invars, inputs, strict=True) if is_reached}
    for equation in jaxpr.eqns:
        from_these = [id(variable) in reached for variable in equation.invars]
        if not any(from_these):
            continue
        outputs = [True] * len(equation.outvars)
        if equation.primitive.name in _CALLS:
            inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
            outputs = _reached(getattr(inner, "jaxpr", inner), from_these)
        reached.update(id(v) for v, out in zip(equation.outvars, outputs, strict=True) if out)
    return [id(variable) in reached for variable in jaxpr.outvars]


def compiled_step(objective: Objective, optimizer: RatedOptimizer) -> Callable[..., Any]:
    """Returns the training step, one compiled function for all rates; it consumes its `Training`.

    It takes a `Training`, a batch, what `make_optimizer` takes, and what the norm of the gradient
    is clipped at (None: the norm is not computed), and returns a `Training` and what is `Told`.

    One call a step, not `lax.scan` over many: inside a loop, XLA runs the gradient of a convolution
    on a CPU some twenty times slower, and calls made ahead cost as little as a loop.
    """

    def step(
        training: Training, batch: Batch, knobs: tuple[float, ...], most_norm: float | None
    ) -> tuple[Training, Told]:
        params, opt_state, model_state, rng = training
        rng, key = (None, None) if rng is None else jax.random.split(rng)
        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, (metric, new_state)), grads = value_and_grad(params, batch, model_state, key)
        norm = None
        if most_norm is not None:
            squares = [
                jnp.sum(jnp.square(jnp.abs(grad)), dtype=jnp.float32)
                for grad in jax.tree.leaves(grads)
            ]
            norm = jnp.sqrt(sum(squares))
            share = jnp.where(norm > most_norm, most_norm / norm, 1.0)
            grads = jax.tree.map(lambda grad: (grad * share).astype(grad.dtype), grads)
        params, opt_state = optimizer.update(
            knobs,
            grads,
            opt_state,
            params,
            loss=loss,
            value_fn=lambda params: objective(params, batch, model_state, key)[0],
        )
        return Training(params, opt_state, new_state, rng), Told(metric, loss, norm)

    return jax.jit(step, donate_argnums=0)


def copied(tree: Any) -> Any:
    """Returns a copy whose leaves are JAX arrays."""
    return jax.tree.map(_copy, tree)


def _copy(leaf: Any) -> jax.Array:
    # With a dtype, a Python number does not become "weakly typed", which would compile twice.
    return jnp.array(leaf, dtype=dtype_in_jax(leaf), copy=True)


def difference(expected: Any, received: Any) -> str | None:
    """Returns where two pytrees first differ in structure, shape or dtype; None if nowhere.

    >>> import numpy as np
    >>> difference({"w": np.zeros(3)}, {"w": np.zeros(4)})
    "['w'] is float32[4] instead of float32[3]"
    """
    want, have = _leaves(expected), _leaves(received)
    for path in {**want, **have}:
        if want.get(path) != have.get(path):
            return f"{path} is {have.get(path, 'missing')} instead of {want.get(path, 'absent')}"
    if jax.tree.structure(expected) != jax.tree.structure(received):
        return f"it is {jax.tree.structure(received)} instead of {jax.tree.structure(expected)}"
    return None


def _leaves(tree: Any) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path) or "it": f"{dtype_in_jax(leaf)}{list(jnp.shape(leaf))}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def dtype_in_jax(leaf: Any) -> Any:
    """Returns the dtype that a leaf has as a JAX array: without x64, float64 becomes float32."""
    dtype = getattr(leaf, "dtype", None)
    is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return dtype if is_key else jnp.result_type(leaf)
