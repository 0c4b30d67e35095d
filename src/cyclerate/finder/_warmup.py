"""A cycle that finds its own top: its way up is a range test, and nothing is trained beside it.

The rate rises exponentially, from far below the expected one to far above it, until the loss
diverges. The reading of that sweep and the prior are combined into a top; training goes back to the
last good mark, and from there the rate falls in a straight line to zero. A loss that explodes later
goes back to the mark, with a third of the top; the number of steps stays as it was.

Whoever drives it keeps one copy of weights, optimizer state and buffers, the *mark*, and does
before every step what the cycle asks for, in this order: go back, keep, look whether it is done.

>>> from cyclerate.finder._prior import prior_lr
>>> weights, steepness = [1.0, 1.0], [1.0, 20.0]
>>> cycle = FindingCycle(total_steps=300, prior=prior_lr("sgd", batch_size=16))
>>> while True:
...     if cycle.go_back:
...         weights = list(mark)
...     if cycle.keep:
...         mark = list(weights)
...     if cycle.done:
...         break
...     loss = sum(s * w * w for s, w in zip(steepness, weights))
...     gradient = [2 * s * w for s, w in zip(steepness, weights)]
...     norm = sum(g * g for g in gradient) ** 0.5
...     share = min(1.0, cycle.clip_norm / norm)
...     weights = [w - cycle.lr * share * g for w, g in zip(weights, gradient)]
...     cycle.tell(loss, norm)
>>> cycle.step, loss < 1e-6, cycle.history()["source"]
(300, True, 'sweep and prior')

`tell` takes the loss of the batch that the step was taken on, and the norm of its gradient before
clipping; a driver that cannot know the norm leaves it out, and clips nothing. The data go on as
they come: a step that was put back is not taken again. `height` is for a momentum that goes against
the rate. `state()` is plain JSON, and `FindingCycle.from_state` goes on exactly where it was taken,
on the way up, too; a checkpoint holds it, the mark and the weights.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

from cyclerate._errors import CyclerateError, bad_argument, check_count, check_rate
from cyclerate.finder._level import Latest, LossLevel
from cyclerate.finder._prior import Prior
from cyclerate.finder._run import one_number
from cyclerate.finder._sweep import MIN_STEPS, RangeTest, Sweep


@dataclass(frozen=True)
class Rules:
    """The constants of the cycle, fitted on the design tasks of benchmarks/finders.

    Attributes:
        sweep_frac: Share of the training that is the way up, with `sweep_least` and `sweep_most`
            steps as its bounds, and never more than `sweep_most_frac` of the training.
        reach: The way up begins at the prior over this, and would end at the prior times it.
        marks_up: Marks on the way up, none above `mark_most` times the prior.
        marks_down: Marks on the way down.
        mark_fall, mark_sds: A mark is taken where the loss is at most this share of its fall, and
            this many of its standard deviations, above its best.
        rise_fall, rise_sds: It has exploded where it is the larger of these above its best. A long
            training sees more of what is rare: `rise_sds_per_decade` more, per tenfold of 500.
        high_sds, high_steps: So it has where it stays for so many steps above the larger of
            `rise_fall` and this, as they were when it came there: it no longer is what is rare.
        lower: Number that the top is divided by then, at most `most_repairs` times.
        rise_frac: Share of the training in which the rate rises, in a straight line, to a top that
            is known.
        clip_factor: Gradients are clipped at this multiple of the median of the last
            `clip_window` norms, once there are `clip_least`.
    """

    sweep_frac: float = 0.1
    sweep_least: int = 60
    sweep_most: int = 200
    sweep_most_frac: float = 0.15
    reach: float = 30.0
    marks_up: int = 20
    mark_most: float = 1.0
    marks_down: int = 20
    mark_fall: float = 0.15
    mark_sds: float = 2.0
    rise_fall: float = 0.5
    rise_sds: float = 5.0
    rise_sds_per_decade: float = 1.0
    high_sds: float = 3.0
    high_steps: int = 10
    lower: float = 3.0
    most_repairs: int = 8
    rise_frac: float = 0.1
    clip_factor: float = 3.0
    clip_window: int = 50
    clip_least: int = 10


def way_up_steps(total_steps: int, rules: Rules | None = None) -> int:
    """Returns how many steps of a training are the way up; 0 where it is too short to find any.

    >>> way_up_steps(500), way_up_steps(10_000), way_up_steps(60)
    (60, 200, 0)
    """
    rules = rules or Rules()
    steps = min(max(rules.sweep_frac * total_steps, rules.sweep_least), rules.sweep_most)
    count = int(min(steps, rules.sweep_most_frac * total_steps))
    return count if count >= 2 * MIN_STEPS else 0


_USUAL_STEPS = 500
_SETTLING_STEPS = 10  # after going back, before the next look: without them repairs cascade


class FindingCycle:
    """A training of exactly `total_steps` optimizer steps that finds its own highest rate.

    Args:
        total_steps: All the steps there are, the way up included.
        prior: The rate to expect, from `prior_lr`.
        rules: The constants, for experiments with them.
        top: The highest rate, where it is known: there is no range test on the way up then.

    Raises:
        ValueError: An argument is not as described.

    Attributes:
        step: How many steps were told.
        keep: Copy the state of now before the next step; it replaces the mark.
        go_back: Put the mark back before the next step, or now if this was the last one.
        top: The highest rate of the way down; the prior's until it is found.
    """

    def __init__(
        self,
        total_steps: int,
        prior: Prior,
        rules: Rules | None = None,
        *,
        top: float | None = None,
    ) -> None:
        if not isinstance(prior, Prior):
            raise bad_argument("prior", "a Prior, from prior_lr", prior)
        self.total_steps = check_count("total_steps", total_steps)
        self.prior, self.rules = prior, rules or Rules()
        self.step = 0
        self.keep, self.go_back = True, False
        self.top = prior.lr if top is None else check_rate("max_lr", top)
        self._norms = Latest(self.rules.clip_window)
        self._mark: tuple[int, float | None] = (0, None)  # its step and level
        self._quiet_until = 0
        self._high: tuple[int, float] | None = None  # since when it is above what
        self._top_is_known = top is not None
        self._down_from = int(self.rules.rise_frac * total_steps) if self._top_is_known else 0
        self._way_up = None if self._top_is_known else self._new_way_up()
        self._way_up_losses: list[float] = []
        self._level = LossLevel(start_steps=1 if self._way_up is None else 10)
        self._history: dict[str, Any] = {
            "source": "given" if self._top_is_known else "prior",
            "top": self.top,
            "prior_lr": prior.lr,
            "sweep_lr": None,
            "sweep": None,
            "returned_to": None,
            "repairs": [],
            "clipped_steps": 0,
            "given_back": False,
        }

    @property
    def done(self) -> bool:
        """Whether all steps were told."""
        return self.step == self.total_steps

    @property
    def rising(self) -> bool:
        """Whether the next step is one of the way up."""
        return self._way_up is not None

    @property
    def lr(self) -> float:
        """The rate to use for the next step; the last one, once it is done."""
        if self._way_up is not None:
            return self._way_up.lr
        if self.step < self._down_from:
            return self.top * (self.step + 1) / (self._down_from + 1)
        left = self.total_steps - min(self.step, self.total_steps - 1)
        return self.top * left / (self.total_steps - self._down_from)

    @property
    def height(self) -> float:
        """Where the rate stands between none (0) and the top (1): momentum goes the other way."""
        if self._way_up is None:
            return self.lr / self.top
        lowest = math.log(self._way_up.sweep.start_lr)
        return min((math.log(self.lr) - lowest) / (math.log(self.prior.lr) - lowest), 1.0)

    @property
    def clip_norm(self) -> float:
        """What the norm of the next gradient is clipped at; infinite while that is not known."""
        if len(self._norms) < self.rules.clip_least:
            return math.inf
        return self.rules.clip_factor * self._norms.quantile(0.5)

    def tell(self, loss: Any, norm: Any = None) -> None:
        """Takes the loss of a step, and the norm of its gradient before it was clipped.

        Raises:
            ValueError: One of them is not a single number.
            CyclerateError: All steps were told already.
        """
        if self.done:
            raise CyclerateError(f"all {self.total_steps} steps of this cycle were told")
        number = one_number(loss)
        self.keep = self.go_back = False
        length = math.nan if norm is None else one_number(norm)
        if math.isfinite(length):
            self._history["clipped_steps"] += int(length > self.clip_norm)
            self._norms.append(length)
        self.step += 1
        if math.isfinite(number):
            self._level.take(number)
        if self._way_up is not None:
            self._rise(self._way_up, number)
        else:
            self._fall(finite=math.isfinite(number))
        if self.done:
            self._finish(finite=math.isfinite(number))

    def history(self) -> dict[str, Any]:
        """Returns what happened so far, as plain JSON.

        Keys: `top`, the rate that was found; its `source`: "prior", "sweep", "sweep and prior" or
        "given"; `prior_lr` and `sweep_lr`, what either says; `sweep`, its `lrs`, `losses` and
        `stop_reason`; `returned_to`, the step of the mark that the way down began from; `repairs`,
        each with its `step`, `why`, the `top` from then on and the step it `returned_to`;
        `clipped_steps`; `given_back`, whether the training ended worse than it began and the mark
        was put in its place.
        """
        return copy.deepcopy(self._history)

    @property
    def verdict(self) -> str:
        """What became of the training, in a few sentences for whoever started it."""
        told = self._history
        if self.rising:
            return f"Still on the way up, at step {self.step}."
        swept = "no clear answer" if told["sweep_lr"] is None else f"{told['sweep_lr']:.2g}"
        found = f"max_lr {told['top']:.2g}: the prior says {told['prior_lr']:.2g}"
        way_up = f", the way up {swept}." if told["sweep"] else ", and there was no way up."
        parts = ["The rate was given." if self._top_is_known else found + way_up]
        if told["repairs"]:
            count, last = len(told["repairs"]), told["repairs"][-1]
            times = "once," if count == 1 else f"{count} times, the last time"
            parts.append(
                f"The loss broke out {times} at step {last['step']}; the rate was lowered, down to "
                f"{last['top']:.2g}."
            )
        if told["clipped_steps"]:
            parts.append(f"{told['clipped_steps']} of {self.step} gradients were clipped.")
        if told["given_back"]:
            parts.append(
                "The training ended worse than it began, and the last good state was put in its "
                "place: lower the rate by hand, or train for longer."
            )
        return " ".join(parts)

    def state(self) -> dict[str, Any]:
        """Returns all that decides what comes, as plain JSON."""
        return {
            "total_steps": self.total_steps,
            "prior": asdict(self.prior),
            "rules": asdict(self.rules),
            "step": self.step,
            "keep": self.keep,
            "go_back": self.go_back,
            "top": self.top,
            "top_is_known": self._top_is_known,
            "level": self._level.state(),
            "norms": list(self._norms),
            "mark": list(self._mark),
            "quiet_until": self._quiet_until,
            "high": None if self._high is None else list(self._high),
            "down_from": self._down_from,
            "way_up": None if self._way_up is None else list(self._way_up_losses),
            "history": self.history(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FindingCycle:
        """Returns a cycle that goes on where the state was taken."""
        cycle = cls(
            state["total_steps"],
            Prior(**state["prior"]),
            Rules(**state["rules"]),
            top=state["top"] if state["top_is_known"] else None,
        )
        cycle.step, cycle.top = state["step"], state["top"]
        cycle.keep, cycle.go_back = state["keep"], state["go_back"]
        cycle._level = LossLevel.from_state(state["level"])
        cycle._norms = Latest(cycle.rules.clip_window, state["norms"])
        cycle._mark = tuple(state["mark"])
        cycle._quiet_until, cycle._down_from = state["quiet_until"], state["down_from"]
        high = state.get("high")
        cycle._high = None if high is None else tuple(high)
        if state["way_up"] is None:
            cycle._way_up = None
        elif cycle._way_up is not None:
            cycle._way_up_losses = list(state["way_up"])
            for loss in cycle._way_up_losses:
                cycle._way_up.tell(loss)
        cycle._history = copy.deepcopy(state["history"])
        return cycle

    def _new_way_up(self) -> RangeTest | None:
        rules, count = self.rules, way_up_steps(self.total_steps, self.rules)
        if not count:
            return None
        lowest, highest = self.prior.lr / rules.reach, self.prior.lr * rules.reach
        return RangeTest(Sweep(lowest, highest, steps=count))

    def _rise(self, way_up: RangeTest, number: float) -> None:
        lr = way_up.lr
        self._way_up_losses.append(number)
        if way_up.tell(number):
            every = max(1, way_up.sweep.steps // self.rules.marks_up)
            low_enough = lr <= self.rules.mark_most * self.prior.lr
            if way_up.index % every == 0 and low_enough and self._stands_well():
                self._keep()
            return
        self._way_up = None
        self._choose_top(way_up)
        self._return()
        self._down_from = self.step

    def _choose_top(self, way_up: RangeTest) -> None:
        """Combines the reading of the way up with the prior."""
        history, result = self._history, way_up.result()
        seen = result.max_lr is not None or result.diverged_at is not None
        self.top = top = self.prior.top_after(result.max_lr, result.diverged_at)
        history["top"], history["sweep_lr"] = top, result.max_lr
        history["source"] = "sweep and prior" if seen else "prior"
        history["returned_to"] = self._mark[0]
        history["sweep"] = {
            "lrs": result.lrs.tolist(),
            "losses": [v if math.isfinite(v) else None for v in result.losses.tolist()],
            "stop_reason": result.stop_reason.name,
        }

    def _fall(self, *, finite: bool) -> None:
        rules, level = self.rules, self._level
        if not finite:
            self._repair("not finite")
            return
        if not level.known or self.step < self._quiet_until:
            return
        repairable = len(self._history["repairs"]) < rules.most_repairs
        if repairable and (level.now > level.best + self._far() or self._stays_high()):
            self._repair("exploded")
            return
        every = max(1, self.total_steps // rules.marks_down)
        if self.step >= self._mark[0] + every and self._stands_well():
            self._keep()

    def _repair(self, why: str) -> None:
        self._return()
        if len(self._history["repairs"]) >= self.rules.most_repairs:
            return  # the rate is not to blame
        self.top /= self.rules.lower
        told = {"step": self.step, "why": why, "top": self.top, "returned_to": self._mark[0]}
        self._history["repairs"].append(told)

    def _finish(self, *, finite: bool) -> None:
        """Gives the mark back in the place of a training that ended worse than it began."""
        self.keep = False
        above = self._level.ends_above_start_after(self.total_steps)
        if not finite or self.go_back or above:
            self.go_back = True
            self._history["given_back"] = True

    def _far(self) -> float:
        rules = self.rules
        longer = math.log10(max(self.total_steps / _USUAL_STEPS, 1.0))
        return self._rise_of(rules.rise_sds + rules.rise_sds_per_decade * longer)

    def _rise_of(self, sds: float) -> float:
        return max(self.rules.rise_fall * self._level.fall, sds * self._level.spread)

    def _stays_high(self) -> bool:
        level, rules = self._level, self.rules
        if self._high is None:
            limit = level.best + self._rise_of(rules.high_sds)
            self._high = (self.step, limit) if level.now > limit else None
        elif level.now <= self._high[1]:
            self._high = None
        return self._high is not None and self.step - self._high[0] >= rules.high_steps

    def _stands_well(self) -> bool:
        level, rules = self._level, self.rules
        if not level.known or not level.keeps_its_fall:
            return False
        near = rules.mark_fall * level.fall + rules.mark_sds * level.noise
        near_best = level.now <= level.best + near and level.highest <= level.best + self._far()
        return near_best and level.now <= level.start

    def _keep(self) -> None:
        self.keep = True
        self._mark = (self.step, self._level.now)

    def _return(self) -> None:
        self.go_back = True
        self._level.forget(self._mark[1])
        self._quiet_until, self._high = self.step + _SETTLING_STEPS, None
