"""The learning-rate range test, free of any framework."""

from cyclerate.finder._probe import Probe as Probe
from cyclerate.finder._recommend import (
    RecommendationPlan as RecommendationPlan,
    recommended as recommended,
)
from cyclerate.finder._recommendation import Recommendation as Recommendation
from cyclerate.finder._result import RangeTestResult as RangeTestResult
from cyclerate.finder._run import (
    Procedure as Procedure,
    RangeTestPlan as RangeTestPlan,
    conduct as conduct,
    drive as drive,
)
from cyclerate.finder._settings import Sweep as Sweep
from cyclerate.finder._sweep import RangeTest as RangeTest
from cyclerate.range_test.policy_choice import PolicyRace as PolicyRace
from cyclerate.range_test.race import Race as Race
from cyclerate.range_test.repeats import combine as combine, repeated as repeated
from cyclerate.range_test.stopping import StopReason as StopReason
