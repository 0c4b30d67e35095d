from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate.finder import RangeTest, RangeTestResult, Sweep, drive
from cyclerate.finder._prior import Prior, RateReading, density_of
from cyclerate.finder._probe import POLICIES, Probe
from cyclerate.finder._race import Look, Race, best_offset, next_offset, valley


class Bowl:
    """Gradient descent on a bowl with a flat and a steep direction, and noise on what is seen."""

    def __init__(self, *, noise: float = 0.0, learns: bool = True, sign: float = 1.0) -> None:
        self.curvatures = np.array([0.5, 20.0])
        self.noise = noise
        self.learns = learns
        self.sign = sign
        self.restored = 0
        self.restore()

    def restore(self) -> None:
        self.weights = np.ones(2)
        self.random = np.random.default_rng(3)
        self.restored += 1

    def score(self) -> float:
        return float(self.sign * np.sum(self.curvatures * self.weights**2))

    def step(self, lr: float) -> float:
        seen = self.score() + self.noise * self.random.normal()
        if self.learns:
            self.weights = self.weights * (1 - lr * self.curvatures)
        return seen

    def probe(self, *args, **options) -> RangeTestResult:
        probe = Probe(*args, **options)
        drive(probe, restore=self.restore, step=self.step, score=self.score)
        return probe.result()


def final_loss(bowl: Bowl, max_lr: float, steps: int) -> float:
    bowl.restore()
    for lr in cr.OneCycle(max_lr, steps)(np.arange(steps)):
        bowl.step(lr)
    return bowl.score()


def test_the_answer_trains_nearly_as_well_as_the_best_of_a_grid():
    bowl = Bowl(noise=0.05)
    result = bowl.probe(horizon_steps=300)
    grid = 10 ** np.linspace(-4.5, 1, 89)
    with np.errstate(over="ignore", invalid="ignore"):
        losses = [final_loss(bowl, float(lr), 300) for lr in grid]
    untrained = Bowl().score()
    best = np.nanmin(losses)
    assert result.max_lr is not None
    regret = (final_loss(bowl, result.max_lr, 300) - best) / (untrained - best)
    assert 0 <= regret < 0.01
    assert result.interval[0] < result.max_lr < result.interval[1]
    assert result.base_lr == result.max_lr / 4


def test_the_result_is_the_curve_of_the_sweep_and_the_cost_of_all():
    result = Bowl(noise=0.05).probe(horizon_steps=300)
    assert result.method == "probe"
    assert len(result.lrs) < result.steps <= 400
    assert result.planned_steps == 100
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_runs_come_in_order_and_each_starts_from_the_same_model():
    bowl = Bowl()
    probe = Probe(horizon_steps=300)
    kinds = []
    while probe.run is not None:
        kinds.append(type(probe.run))
        bowl.restore()
        assert bowl.score() == Bowl().score()
        while not probe.run.done:
            probe.run.tell(bowl.step(probe.run.lr))
        probe.tell(bowl.score())
    assert kinds[:3] == [Look, RangeTest, Race]
    assert set(kinds[3:]) == {Race}
    assert probe.done


@pytest.mark.parametrize("max_steps", [130, 131, 200, 333, 400, 1000])
def test_it_costs_no_more_steps_than_allowed(max_steps: int):
    bowl = Bowl()
    probe = Probe(max_steps=max_steps)
    taken = 0

    def step(lr: float) -> float:
        nonlocal taken
        taken += 1
        return bowl.step(lr)

    drive(probe, restore=bowl.restore, step=step, score=bowl.score)
    assert taken == probe.result().steps <= max_steps


def test_a_longer_training_gets_a_lower_rate():
    rates = [Bowl().probe(horizon_steps=steps).max_lr for steps in (1000, 10_000)]
    assert 10**0.1 < rates[0] / rates[1] < 10**0.5


def test_the_posterior_is_what_sweep_and_races_say_together():
    result = Bowl(noise=0.05).probe(horizon_steps=300)
    assert [reading.source for reading in result.readings] == ["sweep", "races"]
    assert result.posterior is not None
    assert result.interval is not None
    rates, density = result.posterior
    swept, raced = (density_of([reading], np.log10(rates)) for reading in result.readings)
    for name, one in (("sweep", swept), ("races", raced)):
        assert np.array(result.density(name))[1] == pytest.approx(one)
    assert density == pytest.approx(swept * raced / np.sum(0.02 * swept * raced))
    assert np.diff(np.log10(rates)) == pytest.approx(0.02)
    low, high = result.interval
    held = (rates > low) & (rates < high)
    assert np.sum(0.02 * density[held]) == pytest.approx(0.6, abs=0.03)
    assert np.sum(0.02 * density[rates < result.max_lr]) == pytest.approx(0.5, abs=0.03)


def test_a_prior_moves_the_answer_and_narrows_the_interval():
    alone = Bowl(noise=0.05).probe(horizon_steps=300)
    told = Bowl(noise=0.05).probe(horizon_steps=300, prior=Prior(0.01, decades=0.1))
    assert told.readings[0] == RateReading("prior", 0.01, 0.1, 0.1)
    assert 0.01 < told.max_lr < alone.max_lr
    assert told.interval[1] / told.interval[0] < alone.interval[1] / alone.interval[0]
    assert told.steps < alone.steps


def test_a_race_is_no_longer_than_the_training_to_come():
    probe = Probe(horizon_steps=20)
    bowl = Bowl()
    lengths = set()
    while probe.run is not None:
        bowl.restore()
        lengths.add(len(probe.run.lrs) if isinstance(probe.run, Race) else "sweep")
        while not probe.run.done:
            probe.run.tell(bowl.step(probe.run.lr))
        probe.tell(bowl.score())
    assert lengths == {0, "sweep", 20}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_races_are_small_copies_of_the_policy(policy: str):
    bowl = Bowl()
    probe = Probe(policy=policy)
    races = []
    while probe.run is not None:
        bowl.restore()
        if isinstance(probe.run, Race) and probe.run.max_lr:
            races.append(probe.run)
        while not probe.run.done:
            probe.run.tell(bowl.step(probe.run.lr))
        probe.tell(bowl.score())
    assert len(races) >= 3
    for race in races:
        steps = len(race.lrs)
        assert race.lrs == tuple(POLICIES[policy](race.max_lr, steps)(np.arange(steps)))


def test_an_accuracy_is_maximised():
    low = Bowl().probe(horizon_steps=300)
    high = Bowl(sign=-1.0).probe(horizon_steps=300, mode="max")
    assert high.max_lr == pytest.approx(low.max_lr)


def test_a_frozen_model_has_no_clear_answer():
    result = Bowl(noise=0.5, learns=False).probe()
    assert (result.max_lr, result.base_lr, result.interval) == (None, None, None)
    assert result.verdict.startswith("No clear answer: none of ")


@pytest.mark.parametrize(
    ("bowl", "sweep"),
    [
        (Bowl(noise=0.05), None),
        (Bowl(noise=0.5, learns=False), None),
        (Bowl(noise=0.05), Sweep(1e-7, 1e-3, 60)),
        (Bowl(noise=0.05), Sweep(1e-2, 10.0, 60)),
    ],
)
def test_a_verdict_of_a_probe_names_no_option_of_its_sweep(bowl: Bowl, sweep: Sweep | None):
    """The command prints it as it is, and has no such options."""
    words = set(re.findall(r"\w+", bowl.probe(sweep).verdict))
    assert not words & {"start_lr", "end_lr", "repeats"}


class Logistic:
    """Two classes and 20 features, which tell the class or have nothing to do with it."""

    def __init__(self, *, shuffled: bool, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.x = random.normal(size=(4096, 20))
        self.y = np.where(self.x[:, 0] + 0.3 * random.normal(size=4096) > 0, 1.0, -1.0)
        if shuffled:
            random.shuffle(self.y)
        self.restore()

    def restore(self) -> None:
        self.weights = np.zeros(20)
        self.index = 0

    def step(self, lr: float) -> float:
        rows = slice(32 * self.index, 32 * (self.index + 1))
        self.index += 1
        loss = self.loss(rows)
        margin = np.clip(self.y[rows] * (self.x[rows] @ self.weights), -500, 500)
        pull = self.y[rows] / (1 + np.exp(margin))
        self.weights = self.weights + lr * pull @ self.x[rows] / 32
        return loss

    def loss(self, rows: slice) -> float:
        margin = self.y[rows] * (self.x[rows] @ self.weights)
        return float(np.mean(np.logaddexp(0, -margin)))

    def probe(self) -> RangeTestResult:
        probe = Probe(horizon_steps=500)
        unseen = slice(3500, 4096)
        drive(probe, restore=self.restore, step=self.step, score=lambda: self.loss(unseen))
        return probe.result()


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_labels_have_no_clear_answer(seed: int):
    assert Logistic(shuffled=True, seed=seed).probe().max_lr is None
    assert Logistic(shuffled=False, seed=seed).probe().max_lr is not None


def test_noise_from_batch_to_batch_does_not_hide_what_the_fixed_sample_shows():
    bowl = Bowl(noise=80.0)
    untrained = bowl.score()
    result = bowl.probe()
    assert result.max_lr is not None
    assert final_loss(Bowl(), result.max_lr, 1000) < 0.01 * untrained


@settings(max_examples=15)
@given(
    st.sampled_from([-1000.0, -20.5, -1.0, 1.0, 100.0, 1e4]),
    st.sampled_from([0.05, 3.0, 40.0]),
    st.booleans(),
)
def test_a_constant_added_to_the_loss_changes_nothing(offset: float, noise: float, higher: bool):
    sign = -1.0 if higher else 1.0
    answers = []
    for added in (0.0, offset):
        bowl = Bowl(noise=noise, sign=sign)
        probe = Probe(horizon_steps=5000, mode="max" if higher else "min")

        def step(lr: float, bowl: Bowl = bowl, added: float = added) -> float:
            return bowl.step(lr) + added

        def score(bowl: Bowl = bowl, added: float = added) -> float:
            return bowl.score() + added

        drive(probe, restore=bowl.restore, step=step, score=score)
        answers.append((probe.result(), list(probe.scores)))
    (result, rates), (moved, moved_rates) = answers
    assert moved.steps == result.steps
    assert moved_rates == pytest.approx(rates)
    assert (moved.max_lr is None) == (result.max_lr is None)
    if moved.max_lr is not None:
        assert moved.max_lr == pytest.approx(result.max_lr, rel=1e-4)


@pytest.mark.parametrize("offset", [-4096.0, -1.0, 0.5, 1024.0])
@pytest.mark.parametrize("noise", [0.0, 0.5, 30.0])
def test_where_floats_are_exact_it_changes_nothing_at_all(offset: float, noise: float):
    def rounded(loss: float) -> float:
        return np.round(loss * 2**20) / 2**20 if abs(loss) < 2**20 else 2.0**20

    def result(added: float) -> RangeTestResult:
        bowl = Bowl(noise=noise)
        probe = Probe(horizon_steps=5000, prior=Prior(0.02, 0.4))
        drive(
            probe,
            restore=bowl.restore,
            step=lambda lr: rounded(bowl.step(lr)) + added,
            score=lambda: rounded(bowl.score()) + added,
        )
        return probe.result()

    plain, moved = result(0.0), result(offset)
    assert plain.max_lr is not None
    for name in ("max_lr", "base_lr", "interval", "readings", "steps", "stop_reason", "verdict"):
        assert getattr(moved, name) == getattr(plain, name)
    assert [(lr, score and score - offset) for lr, score in moved.races] == list(plain.races)


def drive_scores(probe: Probe, scores: dict[str, float]) -> list[float]:
    """Drives a probe whose sweep is flat; returns the rates of its scouts and races."""
    raced = []
    while probe.run is not None:
        run = probe.run
        if isinstance(run, Race) and run.max_lr:
            raced.append(run.max_lr)
        noise = np.random.default_rng(0)
        while not run.done:
            probe.run.tell(1.0 + 0.1 * noise.normal())
        probe.tell(scores["start" if not raced else "after"])
    return raced


def test_without_a_clear_answer_it_says_where_the_little_gain_was():
    probe = Probe()
    raced = drive_scores(probe, {"start": 1.0, "after": 0.99})
    result = probe.result()
    assert result.max_lr is None
    assert f" (the best of them, at {min(raced):.2g}, by 0.01); check" in result.verdict


def test_a_scout_that_does_no_harm_is_enough_and_one_that_does_is_not():
    calm = drive_scores(Probe(), {"start": 1.0, "after": 1.02})
    assert calm[0] == calm[1]
    harmed = drive_scores(Probe(), {"start": 1.0, "after": 1.2})
    assert harmed[1] == pytest.approx(harmed[0] / 10**0.5)


def test_an_optimizer_that_ignores_the_rate_has_no_clear_answer():
    bowl = Bowl(noise=0.01)
    probe = Probe()
    drive(probe, restore=bowl.restore, step=lambda _lr: bowl.step(0.01), score=bowl.score)
    result = probe.result()
    assert result.max_lr is None
    assert "whatever their rate" in result.verdict


def test_a_model_that_only_blows_up_has_no_clear_answer():
    probe = Probe()
    drive(probe, restore=lambda: None, step=lambda _lr: math.nan, score=lambda: 1.0)
    assert probe.result().max_lr is None
    assert "short trainings" in probe.result().verdict


def test_rates_outside_the_sweep_are_not_raced():
    bowl = Bowl()
    probe = Probe(Sweep(1e-6, 1e-3), prior=Prior(0.05, decades=0.02))
    raced = []
    while probe.run is not None:
        bowl.restore()
        while not probe.run.done:
            raced.append(probe.run.lr)
            probe.run.tell(bowl.step(probe.run.lr))
        probe.tell(bowl.score())
    assert max(raced) <= 1e-3 * 1.001
    assert probe.result().max_lr == 1e-3


def test_a_score_belongs_to_a_run_that_is_over():
    probe = Probe()
    probe.tell(1.0)
    with pytest.raises(CyclerateError, match="over"):
        probe.tell(1.0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_steps": 129}, "max_steps"),
        ({"max_steps": 400.5}, "max_steps"),
        ({"max_steps": 2 * 10**6}, "max_steps"),
        ({"horizon_steps": 0}, "horizon_steps"),
        ({"policy": "cosine"}, "policy"),
        ({"mode": "least"}, "mode"),
    ],
)
def test_wrong_arguments_are_named(options: dict, name: str):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Probe(**options)


def test_a_race_ends_at_its_last_rate_or_at_a_loss_that_is_not_finite():
    race = Race([0.1, 0.2])
    assert (race.lr, race.tell(1.0), race.lr, race.tell(1.0)) == (0.1, True, 0.2, False)
    assert (race.done, race.failed, race.index) == (True, False, 2)
    with pytest.raises(CyclerateError):
        race.tell(1.0)
    failed = Race([0.1, 0.2])
    assert failed.tell(math.inf) is False
    assert (failed.done, failed.failed, failed.index) == (True, True, 1)


@pytest.mark.parametrize(("share", "height"), [(0.05, 50.0), (0.06, 200.0), (0.1, 1000.0)])
def test_batches_with_rare_large_targets_do_not_fail_a_race(share: float, height: float):
    """Counts and amounts have batches whose loss is tens of times the others', at any rate."""

    class Tailed(Bowl):
        def step(self, lr: float) -> float:
            return super().step(lr) + height * (tail.random() < share)

    bowl = Tailed(noise=0.5)
    for seed in range(5):
        tail = np.random.default_rng(seed)
        result = bowl.probe(horizon_steps=300)
        assert result.max_lr is not None
        assert final_loss(Bowl(), result.max_lr, 300) < 0.01 * Bowl().score()


@given(st.floats(-12, 12), st.floats(0.1, 3), st.floats(0.1, 3))
def test_the_search_encloses_the_lowest_point(lowest: float, left: float, right: float):
    def score(offset: int) -> float:
        return left * max(lowest - offset, 0) + right * max(offset - lowest, 0)

    scores: dict[int, float] = {}
    while (offset := next_offset(scores)) is not None:
        assert offset not in scores
        scores[offset] = score(offset)
    best = best_offset(scores)
    assert {best - 1, best + 1} <= set(scores)
    assert abs(best - lowest) <= 1
    assert len(scores) <= 12
    assert abs(valley(scores, start=100.0) - lowest) <= 1


def test_the_valley_of_a_parabola_is_found():
    scores = {offset: (offset - 0.3) ** 2 for offset in (-2, 0, 1)}
    assert valley(scores, start=10.0) == pytest.approx(0.3)
    assert -1 <= valley({-2: 0.5, 0: 0.1, 2: math.inf}, start=1.0) < 0


class TestProblemsThatManyRatesSolve:
    """Where all races reach the bottom, any of their rates is an answer."""

    def test_to_the_last_digit(self):
        bowl = Bowl()
        bowl.curvatures = np.array([1.0, 1.0])
        result = bowl.probe(Sweep(1e-4, 10.0, steps=60), horizon_steps=1000)
        assert [score is not None and score < 1e-6 for _, score in result.races].count(True) >= 2
        assert result.max_lr is not None
        assert final_loss(bowl, result.max_lr, 1000) < 1e-12

    def test_an_accuracy_that_has_reached_its_top(self):
        class Classified(Bowl):
            def score(self) -> float:
                return float(np.mean(np.abs(self.weights) < 0.2))

            def step(self, lr: float) -> float:
                seen = self.score()
                self.weights = self.weights * (1 - lr * self.curvatures)
                return seen

        bowl = Classified()
        bowl.curvatures = np.array([1.0, 2.0])
        result = bowl.probe(Sweep(1e-4, 10.0, steps=60), metric="accuracy", mode="max")
        assert [score for _, score in result.races].count(1.0) >= 2
        assert result.max_lr is not None


def test_a_training_of_one_step_has_races_of_one_step():
    """What a single step is told is the loss before it, the same at every rate."""
    result = Bowl().probe(Sweep(1e-4, 10.0, steps=60), horizon_steps=1)
    assert result.max_lr is not None


def test_a_rate_without_effect_is_no_answer():
    class Free(Bowl):
        def step(self, lr: float) -> float:
            return super().step(0.02)

    result = Free(noise=0.05).probe(horizon_steps=500)
    assert result.max_lr is None
    assert "took the same course, whatever their rate" in result.verdict
