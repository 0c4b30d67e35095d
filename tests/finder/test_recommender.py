from __future__ import annotations

import pytest

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate.finder import Race, RecommendationSettings, drive
from cyclerate.finder._prior import Prior
from cyclerate.finder._recommend import TIMING_STEPS, Recommender, TimedRace


class Bowl:
    """Gradient descent on a steep and a flat parabola; a step takes a tenth of a second."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rates: list[float] = []
        self.restore()

    def restore(self) -> None:
        self.flat = self.steep = 1.0

    def step(self, lr: float) -> float:
        self.rates.append(lr)
        self.seconds += 0.1
        before = self.loss()
        self.flat -= lr * self.flat
        self.steep -= lr * 20 * self.steep
        return before

    def loss(self) -> float:
        return self.flat**2 + 20 * self.steep**2

    def clock(self) -> float:
        return self.seconds


def driven(bowl: Bowl, **options) -> Recommender:
    recommender = RecommendationSettings(**options).new(clock=bowl.clock)
    drive(recommender, restore=bowl.restore, step=bowl.step, score=bowl.loss)
    return recommender


@pytest.mark.parametrize("budget", [80, 300, 1000, 2000])
def test_tuning_and_training_are_the_budget_together(budget: int):
    bowl = Bowl()
    found = driven(bowl, budget_steps=budget).recommendation()
    assert found.steps == len(bowl.rates)
    assert found.steps + found.training_steps == budget
    assert found.steps <= max(0.16 * budget, min(120, 0.3 * budget), 40)
    assert found.policy == "one_cycle"
    assert found.max_lr is not None
    assert found.schedule == cr.OneCycle(found.max_lr, found.training_steps)
    assert (found.max_lr, found.interval) == (found.range_test.max_lr, found.range_test.interval)
    assert 0.01 < found.max_lr < 0.1


def test_policies_race_where_the_budget_pays_for_it():
    found = driven(Bowl(), budget_steps=3000).recommendation()
    assert [race.policy for race in found.evidence] == ["one_cycle", "triangular", "constant"]
    one_cycle, triangular, constant = found.evidence
    assert triangular.max_lr == pytest.approx(one_cycle.max_lr * 10**-0.2)
    assert constant.max_lr == pytest.approx(one_cycle.max_lr * 10**-0.45)
    best = min(score for _, score in found.range_test.races if score is not None)
    assert one_cycle.score == best
    small = driven(Bowl(), budget_steps=1000).recommendation()
    assert [race.policy for race in small.evidence] == ["one_cycle"]
    assert "not raced against others" in small.verdict


def test_a_policy_that_is_clearly_better_is_taken_at_its_own_rate():
    bowl = Bowl()
    recommender = RecommendationSettings(budget_steps=3000).new(clock=bowl.clock)

    def score() -> float:
        run = recommender.run
        constant = isinstance(run, Race) and len(run.lrs) > 20 and len(set(run.lrs)) == 1
        return 0.0 if constant else 5.0 + bowl.loss()

    drive(recommender, restore=bowl.restore, step=bowl.step, score=score)
    found = recommender.recommendation()
    assert found.policy == "constant"
    assert found.max_lr == pytest.approx(found.range_test.max_lr * 10**-0.45)
    assert found.base_lr == pytest.approx(found.max_lr / 4)
    assert found.interval[0] < found.max_lr < found.interval[1]
    assert found.max_lr is not None
    assert found.schedule == cr.Constant(found.max_lr)
    assert "constant was clearly better than one_cycle" in str(found).replace("\n  ", " ")


def test_only_the_policies_that_are_named_are_raced():
    found = driven(Bowl(), budget_steps=3000, policies=["triangular"]).recommendation()
    assert [race.policy for race in found.evidence] == ["triangular"]
    assert isinstance(found.schedule, cr.Triangular)


def test_minutes_become_steps_by_the_time_of_a_step():
    bowl = Bowl()
    bowl.seconds = 1000.0  # what the clock says at the beginning does not matter
    found = driven(bowl, budget_minutes=2.0).recommendation()
    assert bowl.rates[:TIMING_STEPS] == [1e-6] * TIMING_STEPS
    assert found.steps == len(bowl.rates)
    assert found.steps + found.training_steps == pytest.approx(1200, abs=1)


def test_time_that_is_spent_on_anything_else_is_not_left_for_the_training():
    bowl = Bowl()

    def slow_score() -> float:
        bowl.seconds += 5.0
        return bowl.loss()

    recommender = RecommendationSettings(budget_minutes=2.0).new(clock=bowl.clock)
    drive(recommender, restore=bowl.restore, step=bowl.step, score=slow_score)
    found = recommender.recommendation()
    assert found.training_steps == pytest.approx((120 - bowl.seconds) / 0.1, abs=1)
    assert found.steps + found.training_steps < 1100


@pytest.mark.parametrize("minutes", [0.01, 0.05])
def test_minutes_for_nothing_are_refused_with_what_was_measured(minutes: float):
    with pytest.raises(CyclerateError, match=r"budget_minutes is too small.* steps of 0\.1 s"):
        driven(Bowl(), budget_minutes=minutes)


def test_where_nothing_can_be_learned_there_is_no_recommendation():
    recommender = RecommendationSettings(budget_steps=500).new()
    drive(recommender, restore=lambda: None, step=lambda lr: 1.0, score=lambda: 1.0)
    found = recommender.recommendation()
    assert (found.policy, found.schedule, found.max_lr) == (None, None, None)
    assert found.evidence == ()
    assert "no clear answer" in str(found).splitlines()[0]
    assert "check that this model can learn" in found.verdict


def test_where_higher_is_better():
    bowl = Bowl()
    recommender = RecommendationSettings(budget_steps=3000, metric="accuracy", mode="max").new()
    drive(
        recommender,
        restore=bowl.restore,
        step=lambda lr: -bowl.step(lr),
        score=lambda: -bowl.loss(),
    )
    found = recommender.recommendation()
    usual = driven(Bowl(), budget_steps=3000).recommendation()
    assert found.max_lr == usual.max_lr
    assert [race.score for race in found.evidence] == [-race.score for race in usual.evidence]
    assert found.verdict == usual.verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one given"),
        ({"budget_steps": 500, "epochs": 2, "batches_per_epoch": 9}, "one given"),
        ({"budget_steps": 79}, "budget_steps must be at least 80"),
        ({"epochs": 2, "batches_per_epoch": 39}, "budget_steps must be at least 80"),
        ({"epochs": 2}, "epochs must be None, and budget_steps given"),
        ({"epochs": 0, "batches_per_epoch": 39}, "epochs must be"),
        ({"budget_minutes": 0}, "budget_minutes must be"),
        ({"budget_steps": 500, "policies": []}, "policies must be a sequence"),
        ({"budget_steps": 500, "policies": "constant"}, "policies must be a sequence"),
        ({"budget_steps": 500, "policies": ["cosine"]}, "policies must be one of"),
        ({"budget_steps": 500, "policies": ["constant"] * 2}, "policies must be different"),
    ],
    ids=str,
)
def test_nonsense_is_refused(options: dict, message: str):
    options = dict(options)  # shared by the parametrised cases
    batches = options.pop("batches_per_epoch", None)
    with pytest.raises(ValueError, match=message):
        RecommendationSettings(**options).in_steps(batches)


def test_epochs_are_counted_in_optimizer_steps():
    plan = RecommendationSettings(epochs=10).in_steps(50, accumulation_steps=4)
    assert plan.budget_steps == 125


def test_there_is_no_recommendation_before_the_end():
    recommender = RecommendationSettings(budget_minutes=1.0).new()
    with pytest.raises(CyclerateError, match="not over"):
        recommender.recommendation()
    with pytest.raises(CyclerateError, match="that is over"):
        recommender.tell(None)
    with pytest.raises(CyclerateError, match="before the time of a step"):
        recommender.result()


def test_the_first_steps_do_not_count_for_the_time_of_one():
    ticks = iter([100.0, 101.0, 101.5, 101.6, 101.7, *(101.7 + 0.2 * i for i in range(1, 11))])
    race = TimedRace(1e-6, lambda: next(ticks))
    while not race.done:
        race.tell(1.0)
    assert race.seconds_per_step == pytest.approx(0.2)


def test_a_loss_that_is_not_finite_from_the_start_says_so():
    race = TimedRace(1e-6, lambda: 0.0)
    race.tell(float("nan"))
    with pytest.raises(CyclerateError, match="loss is not finite"):
        _ = race.seconds_per_step


def expecting(lr: float):
    def expect(_steps: int, *, fine_tuned: bool) -> Prior:
        return Prior(lr / 10 if fine_tuned else lr, decades=0.3)

    return expect


@pytest.mark.parametrize(("fine_tuned", "lr"), [(False, 0.05), (True, 0.005)])
def test_a_small_budget_is_left_to_the_training_where_the_rate_is_expected(fine_tuned, lr):
    settings = RecommendationSettings(budget_steps=1000, fine_tuned=fine_tuned)
    recommender = settings.new(expect=expecting(0.05))
    assert recommender.run is None
    found = recommender.recommendation()
    assert (found.find, found.steps, found.training_steps) == ("warmup", 0, 1000)
    assert (found.max_lr, found.base_lr) == pytest.approx((lr, lr / 4))
    assert found.max_lr is not None
    assert found.schedule == cr.OneCycle(found.max_lr, 1000)
    assert found.interval == pytest.approx((lr / 10**0.4935, lr * 10**0.4935))
    assert "0 of 1000 steps (0%)" in str(found)
    assert 'find="warmup"' in str(found)
    assert cr.Recommendation.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("options", [{"budget_steps": 5000}, {"find": "probe"}])
def test_a_large_budget_or_a_wish_is_probed(options: dict):
    bowl = Bowl()
    settings = RecommendationSettings(**{"budget_steps": 1000, **options})
    recommender = settings.new(clock=bowl.clock, expect=expecting(0.05))
    drive(recommender, restore=bowl.restore, step=bowl.step, score=bowl.loss)
    found = recommender.recommendation()
    sources = [reading.source for reading in found.range_test.readings]
    assert sources == ["prior", "sweep", "races"]
    assert found.max_lr is not None
    assert 0.02 < found.max_lr < 0.08
    assert (found.find, found.range_test.method) == ("probe", "probe")


def test_a_probe_without_an_answer_leaves_the_rate_to_expect():
    settings = RecommendationSettings(
        budget_steps=500, find="probe", policies=("triangular", "constant")
    )
    recommender = settings.new(expect=expecting(0.05))
    drive(recommender, restore=lambda: None, step=lambda lr: 1.0, score=lambda: 1.0)
    found = recommender.recommendation()
    assert found.range_test.max_lr is None
    assert (found.policy, found.evidence) == ("triangular", ())
    assert found.max_lr == found.range_test.fallback_lr == pytest.approx(0.05 * 10**-0.2)
    assert found.schedule is not None
    assert found.schedule.bounds == pytest.approx((found.max_lr / 4, found.max_lr))
    assert "the rate to expect" in found.verdict


def test_the_policy_asked_for_first_has_its_own_rate():
    settings = RecommendationSettings(budget_steps=500, policies=("constant",))
    found = settings.new(expect=expecting(0.05)).recommendation()
    assert found.schedule == cr.Constant(0.05 * 10**-0.45)
