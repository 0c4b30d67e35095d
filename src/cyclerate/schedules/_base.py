"""The base of every schedule: a frozen value that gives a number for a step, to JSON and back."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence as AbstractSequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_number,
    check_rate,
    require,
)
from cyclerate._svg import notebook
from cyclerate.schedules._drawing import draw_schedule, shown_steps
from cyclerate.schedules._namespaces import FARTHEST, PLAIN, Namespace, evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MOST_DRAWN = 100_000


class Schedule(ABC):
    """A number for every step: immutable, comparable, printable.

    Calling it takes a step (a whole number from 0 on) and gives the value at that step:

    * an `int` gives a `float`;
    * an `ndarray` (or list) gives an `ndarray` of float64, equal to the single calls bit for bit;
    * a tensor of JAX, TensorFlow or PyTorch gives a tensor of float32, also while being traced by
      `jax.jit`, `tf.function` or `torch.compile`. A traced step below 0 counts as 0.

    The value at a step is computed from that step alone; nothing is accumulated or remembered.

    A schedule of your own is a frozen dataclass with `value_at` and `bounds`, and with the names of
    the fields that are rates in `rate_fields`; see CONTRIBUTING.

    Raises:
        ValueError: A step that is negative or not whole.

    >>> import cyclerate as cr
    >>> schedule = cr.Linear(0.0, 1.0, steps=4)
    >>> schedule(1), schedule([0, 2]).tolist(), schedule.bounds
    (0.25, [0.0, 0.5], (0.0, 1.0))
    """

    rate_fields: ClassVar[tuple[str, ...]] = ()

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: NDArray[Any] | list[int] | range) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, step: Any) -> Any: ...
    def __call__(self, step: Any) -> Any:
        if type(step) is int and step >= 0:
            return self.value_at(step, PLAIN)
        return evaluate(self.value_at, step)

    @abstractmethod
    def value_at(self, n: Any, xp: Namespace) -> Any:
        """The formula: the value at whole steps `n`."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value that the schedule can take."""

    def height_at(self, n: Any, xp: Namespace) -> Any:
        """The height of the value between its bounds, in [0, 1]."""
        low, high = self.bounds
        return xp.clip((self.value_at(n, xp) - low) / (high - low), 0.0, 1.0)

    def mirrored(self, low: float, high: float) -> Mirrored:
        """The inverse cycle, for momentum: `high` where the rate is lowest, and the reverse.

        Args:
            low: The value at the peak of the rate; 0.85 is usual for momentum.
            high: The value where the rate is lowest; 0.95 is usual for momentum.

        Returns:
            A schedule with the same clock.

        Raises:
            ValueError: `low` is above `high`, or this schedule is constant and has nothing to
                mirror.

        Source: Smith 2018, arXiv 1803.09820, section 4.2 (cyclical momentum).

        >>> import cyclerate as cr
        >>> momentum = cr.Triangular(0.001, 0.006, step_size=2000).mirrored(0.85, 0.95)
        >>> momentum(0), momentum(2000)
        (0.95, 0.85)
        """
        return Mirrored(self, low, high)

    def map_rates(self, new: Callable[[float], float]) -> Self:
        """The schedule with other rates: the same shape and clock, `new(rate)` for each rate.

        Args:
            new: Gives the new rate for an old one, as `lambda lr: 2 * lr`.

        Raises:
            ValueError: The schedule does not say which of its fields are rates; or it refuses one.

        >>> import cyclerate as cr
        >>> cr.Triangular(1.0, 4.0, step_size=5).map_rates(lambda lr: lr / 40).bounds
        (0.025, 0.1)
        """
        if not self.rate_fields:
            allowed = "one with rate_fields, to be given other rates"
            raise bad_argument("the schedule", allowed, self)
        rates = {name: new(getattr(self, name)) for name in self.rate_fields}
        return dataclasses.replace(cast(Any, self), **rates)

    def to_dict(self) -> dict[str, Any]:
        """The schedule as JSON-safe values, for `cyclerate.from_dict`.

        Raises:
            ValueError: A custom `scale_fn` cannot be named by an import path (a lambda, a closure).

        >>> import cyclerate as cr
        >>> cr.Constant(0.1).to_dict()
        {'type': 'Constant', 'value': 0.1}
        """
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        values = {f.name: _plain(f.name, getattr(self, f.name)) for f in fields}
        return {"type": type(self).__name__, **values}

    def plot(self, steps: int, ax: Axes | None = None, **line: Any) -> Axes:
        """Draws the values at steps 0 to `steps` - 1; of more than 100,000, as many evenly spread.

        Args:
            steps: How many steps to draw.
            ax: Matplotlib Axes to draw on; a new figure if None.
            **line: Passed to `Axes.plot`, as `color` or `label`.

        Returns:
            The Axes.

        Raises:
            ValueError: `steps` is not a whole number of at least 1.
            MissingExtra: matplotlib is not installed.

        >>> import cyclerate as cr
        >>> ax = cr.OneCycle(max_lr=0.1, total_steps=100).plot(100)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('step', 'learning rate')
        """
        count = check_steps("steps", steps)
        n = np.linspace(0, count - 1, min(count, _MOST_DRAWN)).round().astype(np.int64)
        axes = axes_for(ax)
        line.setdefault("label", type(self).__name__)
        axes.plot(n, self(n), **line)
        axes.set_xlabel("step")
        axes.set_ylabel("learning rate")
        return axes

    def _repr_html_(self) -> str:
        """The schedule as a notebook shows it: itself as text, and its chart."""
        return notebook(repr(self), draw_schedule(self, shown_steps(self)))

    def _set(self, **values: Any) -> None:
        """Sets fields of a frozen dataclass while it is being made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_rates(self, lower: str, upper: str) -> None:
        """Checks and sets two fields, of which one is at most as high as the other."""
        high = check_rate(upper, getattr(self, upper), low_open=False)
        low = check_rate(lower, getattr(self, lower), low_open=False)
        if low > high:
            raise bad_argument(lower, f"at most {upper} ({high!r})", getattr(self, lower))
        self._set(**{lower: low, upper: high})


def blend(a: float, b: float, u: Any, xp: Namespace) -> Any:
    """`a` at `u` = 0, `b` at `u` = 1, both exactly, and never outside the two."""
    return xp.clip(a * (1.0 - u) + b * u, min(a, b), max(a, b))


def axes_for(ax: Axes | None, **figure: Any) -> Axes:
    """Returns the Axes to draw on: those of a new figure if None.

    Raises:
        ValueError: It is something else.
        MissingExtra: matplotlib is not installed.
    """
    if ax is None:
        return require("matplotlib.pyplot", "plot").subplots(layout="constrained", **figure)[1]
    if not isinstance(ax, require("matplotlib.axes", "plot").Axes):
        raise bad_argument("ax", "Axes of matplotlib, or None", ax)
    return ax


check_steps = partial(check_count, below=FARTHEST)
"""`check_count` for the lengths of schedules."""


def check_schedule(name: str, value: Any) -> Schedule:
    """Returns `value` if it is a schedule.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, Schedule):
        raise bad_argument(name, "a schedule of cyclerate, such as Triangular(...)", value)
    return value


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    if callable(value):
        return _import_path(name, value)
    return value


def _import_path(name: str, function: Any) -> str:
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    path = f"{module}:{qualname}"
    if find_function(path) is not function:
        raise bad_argument(
            name, "a function defined at the top level of a module, to be saved by name", function
        )
    return path


def find_function(path: str) -> types.FunctionType | None:
    """The plain function that `path` ("module:name") names in a module that is already imported.

    Nothing is imported for it: what a file names may not run code by being named.
    """
    module, _, qualname = path.partition(":")
    function = getattr(sys.modules.get(module), qualname, None)
    if isinstance(function, types.FunctionType) and function.__module__ == module:
        return function
    return None


@dataclass(frozen=True)
class Mirrored(Schedule):
    """`high - (high - low) * height`, the inverse cycle of a schedule.

    Made by `Schedule.mirrored`. `height` in [0, 1] is how high `schedule` stands in its cycle.
    It includes a decaying amplitude: where triangular2 halves the rate's cycle, it halves the
    momentum's too.

    Args:
        schedule: The schedule to mirror; not a constant one.
        low: The value where `schedule` is highest.
        high: The value where `schedule` is lowest.

    Raises:
        ValueError: `low` is above `high`, or `schedule` is constant.

    Source: Smith 2018, arXiv 1803.09820, section 4.2.

    >>> import cyclerate as cr
    >>> cr.OneCycle(max_lr=1.0, total_steps=10).mirrored(0.85, 0.95)(2)
    0.85
    """

    rate_fields: ClassVar = ("low", "high")

    schedule: Schedule
    low: float
    high: float

    def __post_init__(self) -> None:
        lowest, highest = check_schedule("schedule", self.schedule).bounds
        if lowest == highest:
            raise bad_argument("schedule", "one whose value changes, to be mirrored", self.schedule)
        high = check_number("high", self.high, low=0)
        self._set(high=high, low=check_number("low", self.low, low=0, high=high))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return blend(self.high, self.low, self.schedule.height_at(n, xp), xp)


def cosine(u: Any, xp: Namespace) -> Any:
    """`sin(pi u / 2) ** 2`, which is `(1 - cos(pi u)) / 2`: the sinusoidal (Hann) window.

    Accurate near 0, where a small rate lives and `1 - cos` would cancel.
    """
    root = xp.sin(u * (math.pi / 2))
    return root * root


# From the straight-line height of a cycle to its height, both in [0, 1] and exact at both ends.
SHAPES: dict[str, Callable[[Any, Namespace], Any]] = {
    "triangle": lambda u, xp: u,
    "linear": lambda u, xp: u,
    "cosine": cosine,
    "welch": lambda u, xp: u * (2.0 - u),  # 1 - (1 - u) ** 2, the parabolic window
}


class Pieces:
    """Schedules with the steps from which each is in force; each counts from its own start."""

    def __init__(
        self, starts: AbstractSequence[int], schedules: AbstractSequence[Schedule]
    ) -> None:
        self.starts = tuple(starts)
        self._formulas = tuple(map(attrgetter("value_at"), schedules))

    def value(self, n: Any, xp: Namespace) -> Any:
        """The value at whole steps `n`."""
        return xp.join(self.starts, self._formulas, n)


class InPieces(Schedule):
    """A schedule that consists of others, each from its own start."""

    _pieces: Pieces

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return self._pieces.value(n, xp)


@dataclass(frozen=True)
class Sequence(InPieces):
    """One schedule after the other, each counting from its own start.

    `schedules[i](step - boundaries[i - 1])` from `boundaries[i - 1]` to before `boundaries[i]`.

    Args:
        schedules: At least one schedule; each starts at its own step 0.
        boundaries: The step at which each schedule after the first begins: one fewer than
            schedules, increasing, from 1 on.

    Raises:
        ValueError: No schedules, something that is no schedule, a wrong number of boundaries,
            boundaries that are not whole, not positive or not increasing.

    >>> import cyclerate as cr
    >>> warm = cr.Sequence([cr.Linear(0.0, 1.0, steps=2), cr.Cosine(1.0, 0.0, steps=2)], [2])
    >>> warm(range(5)).round(6).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    schedules: AbstractSequence[Schedule]
    boundaries: AbstractSequence[int]

    def __post_init__(self) -> None:
        if not isinstance(self.schedules, Iterable) or not tuple(self.schedules):
            raise bad_argument("schedules", "a list of at least one schedule", self.schedules)
        schedules = tuple(check_schedule("schedules", schedule) for schedule in self.schedules)
        if not isinstance(self.boundaries, Iterable):
            raise bad_argument("boundaries", "a list of steps", self.boundaries)
        boundaries = tuple(check_steps("boundaries", step) for step in self.boundaries)
        if len(boundaries) != len(schedules) - 1:
            allowed = f"{len(schedules) - 1} steps, one fewer than schedules"
            raise bad_argument("boundaries", allowed, self.boundaries)
        if any(b <= a for a, b in itertools.pairwise(boundaries)):
            raise bad_argument("boundaries", "increasing", self.boundaries)
        self._set(
            schedules=schedules, boundaries=boundaries, _pieces=Pieces((0, *boundaries), schedules)
        )

    @property
    def bounds(self) -> tuple[float, float]:
        lows, highs = zip(*(schedule.bounds for schedule in self.schedules), strict=True)
        return min(lows), max(highs)

    def map_rates(self, new: Callable[[float], float]) -> Self:
        parts = tuple(schedule.map_rates(new) for schedule in self.schedules)
        return dataclasses.replace(self, schedules=parts)


_OWN = __name__.rpartition(".")[0] + "."


def from_dict(values: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.to_dict` described; equal to the one it came from.

    A custom `scale_fn` is found by its import path "module:function", in modules that your program
    has imported already: a file cannot make this library import or run anything.

    Args:
        values: A mapping with "type" and that schedule's arguments.

    Returns:
        The schedule.

    Raises:
        ValueError: An unknown type, an argument that is missing, unknown or impossible, or a
            `scale_fn` that names no function at the top level of an imported module.

    >>> import cyclerate as cr
    >>> cr.from_dict({"type": "Linear", "start": 0.0, "end": 1.0, "steps": 10})
    Linear(start=0.0, end=1.0, steps=10)
    """
    if not isinstance(values, Mapping):
        raise bad_argument("values", "a mapping with 'type' and arguments", values)
    known_types = kinds()
    kind = known_types[check_choice("type", values.get("type"), known_types)]  # type: ignore[index]
    arguments = {name: _revived(value) for name, value in values.items() if name != "type"}
    known = {f.name: f.default for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = {name for name, default in known.items() if default is dataclasses.MISSING}
    if not required <= arguments.keys() <= known.keys():
        raise bad_argument(kind.__name__, f"described by {', '.join(known)}", sorted(arguments))
    if isinstance(arguments.get("scale_fn"), str):
        arguments["scale_fn"] = _named_function(arguments["scale_fn"])
    return kind(**arguments)


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value)
    if isinstance(value, list):
        return tuple(_revived(item) for item in value)
    return value


def _named_function(path: str) -> Callable[[Any], Any]:
    function = find_function(path)
    if function is None:
        raise bad_argument(
            "scale_fn",
            "'module:function', at the top level of a module that your program has imported",
            path,
        )
    return function


def kinds() -> dict[str, type[Schedule]]:
    """The schedules of this package by name. Not a user's own: a file may not choose its code."""
    found: dict[str, type[Schedule]] = {}
    waiting: list[type[Schedule]] = [Schedule]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(_OWN) and dataclasses.is_dataclass(kind):
            found[kind.__name__] = kind
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}
