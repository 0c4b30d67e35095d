from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cyclerate._errors import CyclerateError
from cyclerate.finder._prior import Prior, prior_lr
from cyclerate.finder._warmup import FindingCycle, Rules


@dataclass
class Bowl:
    """A noisy quadratic trained by gradient descent; it diverges above a rate of 2 / steepest."""

    seed: int = 0
    steepest: float = 20.0
    offset: float = 0.0
    noise: float = 0.01
    wild: float = 0.0
    """Share of the batches whose gradient is a hundred times too large."""
    weights: np.ndarray = field(default_factory=lambda: np.ones(3))

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.steepness = np.geomspace(1.0, self.steepest, 3)

    @property
    def level(self) -> float:
        with np.errstate(over="ignore"):
            return float(self.steepness @ self.weights**2)

    def step(self, cycle: FindingCycle) -> tuple[float, float]:
        """Returns the loss and the norm of the gradient; takes a step at the rate asked for."""
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = 2 * self.steepness * self.weights + self.noise * self.random.normal(size=3)
            if self.random.uniform() < self.wild:
                gradient = 100 * gradient + 30
            loss = self.level + self.offset + self.noise * self.random.normal()
            norm = float(np.linalg.norm(gradient))
            share = min(1.0, cycle.clip_norm / norm) if math.isfinite(norm) and norm else 1.0
            self.weights = self.weights - cycle.lr * share * gradient
        return loss, norm


@dataclass
class Driver:
    """Does what a cycle asks for, and notes it."""

    cycle: FindingCycle
    bowl: Bowl
    mark: np.ndarray | None = None
    lrs: list[float] = field(default_factory=list)
    asked: list[tuple[bool, bool]] = field(default_factory=list)
    tells_norm: bool = True

    def run(self, steps: float = math.inf) -> Driver:
        while True:
            cycle = self.cycle
            self.asked.append((cycle.go_back, cycle.keep))
            if cycle.go_back:
                assert self.mark is not None
                self.bowl.weights = self.mark.copy()
            if cycle.keep:
                self.mark = self.bowl.weights.copy()
            if cycle.done or steps == 0:
                return self
            steps -= 1
            self.lrs.append(cycle.lr)
            loss, norm = self.bowl.step(cycle)
            cycle.tell(loss, norm if self.tells_norm else None)


def driven(total_steps: int, prior: Prior, rules: Rules | None = None, **bowl) -> Driver:
    return Driver(FindingCycle(total_steps, prior, rules), Bowl(**bowl)).run()


def test_a_start_is_kept_before_the_first_step():
    cycle = FindingCycle(100, Prior(0.1, 0.3))
    assert (cycle.keep, cycle.go_back, cycle.done, cycle.step) == (True, False, False, 0)


def test_the_rate_rises_to_the_edge_and_falls_to_zero_in_a_line():
    found = driven(500, Prior(0.02, 0.4))
    history = found.cycle.history()
    up = len(history["sweep"]["lrs"])
    assert found.lrs[:up] == pytest.approx(history["sweep"]["lrs"])
    assert np.allclose(np.diff(np.log(found.lrs[:up])), np.log(found.lrs[1] / found.lrs[0]))
    assert history["sweep"]["stop_reason"] == "DIVERGED"
    down = np.array(found.lrs[up:])
    assert down[0] == pytest.approx(history["top"])
    assert np.allclose(down, history["top"] * np.arange(len(down), 0, -1) / len(down))
    assert history["source"] == "sweep and prior"
    assert history["repairs"] == []
    assert found.bowl.level < 1e-3


@pytest.mark.parametrize("decades", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_the_answer_is_right_with_a_prior_that_is_not(decades: float):
    found = driven(600, Prior(0.03 * 10**decades, 0.4))
    assert 0.005 < found.cycle.top < 2 / 20
    assert found.bowl.level < 0.01 * 40


def test_without_a_way_up_the_prior_alone_decides():
    found = driven(30, Prior(0.02, 0.4))
    history = found.cycle.history()
    assert history["source"] == "prior"
    assert history["sweep"] is None
    assert found.lrs[0] == history["top"] == 0.02


def test_a_curve_without_an_answer_falls_back_on_the_prior():
    cycle = FindingCycle(200, Prior(0.02, 0.4))
    random = np.random.default_rng(0)
    while not cycle.done:
        cycle.tell(random.normal())
    assert cycle.history()["source"] == "prior"
    assert cycle.history()["sweep_lr"] is None
    assert cycle.history()["top"] == pytest.approx(0.02)


def test_an_explosion_on_the_way_down_is_repaired():
    # The prior is far too high, and so short a training has no way up.
    found = driven(50, Prior(0.9, 0.4))
    history = found.cycle.history()
    assert history["repairs"]
    tops = [0.9, *(repair["top"] for repair in history["repairs"])]
    assert tops == pytest.approx([0.9 / 3**n for n in range(len(tops))])
    assert found.bowl.level < 1.0
    assert not history["given_back"]


def test_a_loss_that_is_not_finite_is_always_repaired():
    cycle = FindingCycle(300, Prior(0.02, 0.4))
    for step in range(300):
        assert not cycle.done
        cycle.tell(math.nan if step >= 100 and step % 10 == 0 else 1.0)
    whys = [repair["why"] for repair in cycle.history()["repairs"]]
    assert whys == ["not finite"] * Rules().most_repairs
    assert cycle.top > 1e-6


def test_nan_from_the_first_step_on_ends_and_gives_the_start_back():
    cycle = FindingCycle(100, Prior(0.02, 0.4))
    while not cycle.done:
        cycle.tell(math.nan, math.nan)
        assert cycle.go_back
        assert not cycle.keep
    assert cycle.history()["given_back"]


def test_a_training_that_ends_above_its_start_is_given_back():
    cycle = FindingCycle(200, Prior(0.02, 0.4))
    random = np.random.default_rng(0)
    kept_at = 0
    while not cycle.done:
        cycle.tell((1.0 if cycle.rising else 1.3) + 0.1 * random.normal())
        if cycle.keep:
            kept_at = cycle.step
    assert cycle.go_back
    assert cycle.history()["given_back"]
    assert kept_at < 60


@pytest.mark.parametrize("steps", [20, 40, 60])
def test_a_short_training_that_ends_above_its_start_is_given_back(steps: int):
    """So short that the last fifty losses are among the first ones, too."""
    cycle = FindingCycle(steps, Prior(0.02, 0.4))
    while not cycle.done:
        cycle.tell(1.0 + 0.02 * cycle.step)
    assert cycle.history()["given_back"]
    fallen = FindingCycle(steps, Prior(0.02, 0.4))
    while not fallen.done:
        fallen.tell(1.0 - 0.01 * fallen.step)
    assert not fallen.history()["given_back"]


@pytest.mark.parametrize("seed", range(5))
def test_no_state_is_kept_whose_outliers_have_taken_the_fall_back(seed: int):
    """Three losses in four are zero by then, so no median tells."""
    cycle = FindingCycle(600, Prior(0.02, 0.4))
    random = np.random.default_rng(seed)
    kept_at = 0
    while not cycle.done:
        loss = 0.2 if cycle.step < 200 else random.choice([0.0, 0.0, 0.0, 8.0])
        cycle.tell((1.0 if cycle.rising else loss) + 0.05 * random.random())
        if cycle.keep:
            kept_at = cycle.step
    assert 100 < kept_at < 260
    assert cycle.history()["given_back"]


def test_outliers_are_clipped_and_counted():
    found = driven(600, Prior(0.02, 0.4), wild=0.02)
    history = found.cycle.history()
    assert 3 <= history["clipped_steps"] <= 100
    assert not history["repairs"]
    assert found.bowl.level < 1.0


def test_without_norms_nothing_is_clipped():
    found = Driver(FindingCycle(200, Prior(0.02, 0.4)), Bowl(), tells_norm=False).run()
    assert found.cycle.clip_norm == math.inf
    assert found.cycle.history()["clipped_steps"] == 0


def test_the_clip_is_a_multiple_of_the_running_median():
    cycle = FindingCycle(200, Prior(0.02, 0.4))
    for norm in range(1, 12):
        cycle.tell(1.0, float(norm))
    assert cycle.clip_norm == 3 * 6


def test_marks_are_taken_only_where_training_stands_well():
    found = driven(500, Prior(0.02, 0.4))
    up = len(found.cycle.history()["sweep"]["lrs"])
    kept = [step for step, (_back, keep) in enumerate(found.asked) if keep]
    assert kept[0] == 0
    assert all(found.lrs[step - 1] <= 0.02 * (1 + 1e-9) for step in kept if 0 < step < up)
    assert any(step > up for step in kept)
    assert found.cycle.history()["returned_to"] == max(step for step in kept if step < up)


def test_arrays_of_one_number_are_told_like_numbers():
    cycle = FindingCycle(100, Prior(0.02, 0.4))
    cycle.tell(np.float32(1.0), np.array(2.0))
    json.dumps(cycle.state(), allow_nan=False)
    with pytest.raises(ValueError, match="a single number"):
        cycle.tell(1.0, np.ones(2))


def test_momentum_can_follow_the_height():
    cycle = FindingCycle(500, Prior(0.02, 0.4))
    heights = []
    bowl = Bowl()
    while not cycle.done:
        heights.append(cycle.height)
        cycle.tell(*bowl.step(cycle))
    assert heights[0] == 0.0
    assert max(heights) == 1.0
    assert all(0 <= height <= 1 for height in heights)


def test_the_verdict_says_where_the_rate_came_from_and_what_went_wrong():
    cycle = FindingCycle(500, Prior(0.02, 0.4))
    assert cycle.verdict == "Still on the way up, at step 0."
    Driver(cycle, Bowl()).run()
    assert cycle.verdict.startswith(f"max_lr {cycle.top:.2g}: the prior says 0.02, the way up 0.0")
    blown_up = driven(50, Prior(0.9, 0.4)).cycle.verdict
    assert "max_lr 0.9: the prior says 0.9, and there was no way up. The loss broke out" in blown_up
    assert re.search(r"broke out (once,|\d+ times, the last time) at step \d", blown_up)
    lost = FindingCycle(30, Prior(0.02, 0.4))
    while not lost.done:
        lost.tell(math.nan)
    assert "the last good state was put in its place" in lost.verdict


def test_what_is_told_too_much_is_refused():
    cycle = FindingCycle(1, Prior(0.02, 0.4))
    cycle.tell(1.0)
    with pytest.raises(CyclerateError, match="all 1 steps"):
        cycle.tell(1.0)


@pytest.mark.parametrize("arguments", [(0, Prior(0.1, 0.3)), (1.5, Prior(0.1, 0.3)), (10, 0.1)])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="Received"):
        FindingCycle(*arguments)


BOWLS = {
    "seed": st.integers(0, 1000),
    "total_steps": st.integers(1, 400),
    "log_lr": st.floats(-4, 0.5),
    "wild": st.sampled_from([0.0, 0.03]),
}


@settings(deadline=None, max_examples=25)
@given(**BOWLS)
def test_a_training_has_exactly_its_steps_and_never_ends_worse(seed, total_steps, log_lr, wild):
    found = driven(total_steps, Prior(10**log_lr, 0.4), seed=seed, wild=wild)
    assert len(found.lrs) == found.cycle.step == total_steps
    assert all(math.isfinite(lr) and lr > 0 for lr in found.lrs)
    assert np.all(np.isfinite(found.bowl.weights))
    if total_steps >= 60:
        assert found.bowl.level <= Bowl().level + 0.05
    json.dumps(found.cycle.state(), allow_nan=False)
    json.dumps(found.cycle.history(), allow_nan=False)


@settings(deadline=None, max_examples=25)
@given(**BOWLS, offset=st.sampled_from([-1024.0, -1.0, 64.0]))
def test_a_constant_added_to_the_loss_changes_nothing(seed, total_steps, log_lr, wild, offset):
    # Losses on a grid of powers of two, so that adding the offset rounds nothing.
    courses = []
    for added in (0.0, offset):
        cycle, bowl = FindingCycle(total_steps, Prior(10**log_lr, 0.4)), Bowl(seed, wild=wild)
        course, mark = [], bowl.weights
        while True:
            if cycle.go_back:
                bowl.weights = mark.copy()
            if cycle.keep:
                mark = bowl.weights.copy()
            if cycle.done:
                break
            course.append((cycle.lr, cycle.go_back, cycle.keep))
            loss, norm = bowl.step(cycle)
            whole = round(min(loss, 1e9) * 2**16) / 2**16 if math.isfinite(loss) else loss
            cycle.tell(whole + added, norm)
        courses.append(course)
    without, with_offset = courses
    assert [step[1:] for step in without] == [step[1:] for step in with_offset]
    assert [s[0] for s in without] == pytest.approx([s[0] for s in with_offset], rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(**BOWLS, share=st.floats(0, 1))
def test_a_training_that_is_taken_up_again_goes_on_as_if_never_stopped(
    seed, total_steps, log_lr, wild, share
):
    prior = Prior(10**log_lr, 0.4)
    whole = driven(total_steps, prior, seed=seed, wild=wild)
    first = Driver(FindingCycle(total_steps, prior), Bowl(seed, wild=wild))
    first.run(steps=int(share * total_steps))
    text = json.dumps(first.cycle.state(), allow_nan=False)
    taken_up = FindingCycle.from_state(json.loads(text))
    assert json.dumps(taken_up.state()) == text
    second = Driver(taken_up, first.bowl, first.mark).run()
    assert first.lrs + second.lrs == whole.lrs
    assert second.cycle.history() == whole.cycle.history()
    assert np.array_equal(second.bowl.weights, whole.bowl.weights)


def test_a_state_of_before_the_rule_of_losses_that_stay_high_is_one():
    state = FindingCycle(300, Prior(0.02, 0.4)).state()
    del state["high"]
    assert FindingCycle.from_state(state).state()["high"] is None


def test_a_prior_of_a_kind_lends_the_cycle_its_factor():
    plain, factor = (
        driven(500, Prior(0.02, 0.4, sweep_factor)).cycle.top for sweep_factor in (1.0, 1.3)
    )
    assert factor == pytest.approx(1.3 * plain)
    assert prior_lr("momentum").sweep_factor > 1


@pytest.mark.parametrize("tail", ["normal", "student", "skewed"])
def test_noise_alone_is_no_explosion(tail: str):
    random = np.random.default_rng(3)
    losses = {
        "normal": random.normal(size=5000),
        "student": random.standard_t(3, size=5000),
        "skewed": random.exponential(size=5000) ** 1.5,
    }[tail]
    cycle = FindingCycle(5000, prior_lr("adam"))
    for loss in losses:
        cycle.tell(loss)
    assert cycle.history()["repairs"] == []


def test_an_explosion_late_in_a_long_training_is_seen():
    random = np.random.default_rng(3)
    cycle = FindingCycle(5000, prior_lr("adam"))
    while cycle.step < 3000:
        cycle.tell(2.0 - min(cycle.step, 1000) / 1000 + 0.1 * random.normal())
    for n in range(40):
        cycle.tell(1.0 * 1.3**n)
        if cycle.go_back:
            break
    assert 3000 < cycle.history()["repairs"][0]["step"] < 3030


@pytest.mark.parametrize(
    ("steps", "rules", "repairs"),
    [(40, Rules(), 1), (8, Rules(), 0), (40, Rules(high_steps=99), 0)],
)
def test_a_rise_that_stays_is_an_explosion(steps: int, rules: Rules, repairs: int):
    """It is of four standard deviations, where it takes six to be one at once."""
    cycle = FindingCycle(5000, prior_lr("adam"), rules)
    while cycle.step < 2000:
        level = 2.0 - min(cycle.step, 1000) / 1000 + 0.9 * (1500 <= cycle.step < 1500 + steps)
        cycle.tell(level + 0.1 * (-1) ** cycle.step)
        if cycle.go_back and cycle.step > 1000:
            break
    found = cycle.history()["repairs"]
    assert len(found) == repairs
    assert all((1510 < one["step"] < 1520, one["why"]) == (True, "exploded") for one in found)


def test_a_rate_that_is_known_is_risen_to_in_a_tenth_of_the_steps_and_falls_to_zero():
    cycle = FindingCycle(200, Prior(5.0, 0.4), top=0.03)
    driven = Driver(cycle, Bowl()).run()
    assert driven.lrs[:20] == pytest.approx([0.03 * (i + 1) / 21 for i in range(20)])
    assert driven.lrs[20:] == pytest.approx([0.03 * (180 - i) / 180 for i in range(180)])
    history = cycle.history()
    assert (history["source"], history["top"], history["sweep"]) == ("given", 0.03, None)
    assert cycle.verdict.startswith("The rate was given.")
    assert driven.bowl.level < 1e-3


def test_a_rate_that_is_known_and_too_high_is_repaired():
    cycle = FindingCycle(400, Prior(5.0, 0.4), top=3.0)
    driven = Driver(cycle, Bowl()).run()
    assert cycle.top < 2 / 20
    assert cycle.history()["repairs"][0]["top"] == 1.0
    assert driven.bowl.level < 1e-2


def test_a_known_rate_goes_on_from_its_state():
    whole = Driver(FindingCycle(100, Prior(0.02, 0.4), top=0.03), Bowl()).run()
    first = Driver(FindingCycle(100, Prior(0.02, 0.4), top=0.03), Bowl()).run(steps=5)
    state = json.loads(json.dumps(first.cycle.state()))
    first.cycle = FindingCycle.from_state(state)
    assert first.run().lrs == whole.lrs
    assert first.cycle.history() == whole.cycle.history()


@pytest.mark.parametrize("top", [0.0, -1.0, math.nan, "high"])
def test_a_known_rate_is_a_rate(top: object):
    with pytest.raises(ValueError, match="max_lr"):
        FindingCycle(10, Prior(0.02, 0.4), top=top)  # type: ignore[arg-type]
