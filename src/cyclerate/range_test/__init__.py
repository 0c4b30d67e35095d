"""The learning-rate range test, free of any framework."""

from cyclerate.range_test.core import RangeTest as RangeTest
from cyclerate.range_test.policy_choice import PolicyRace as PolicyRace
from cyclerate.range_test.probe import Probe as Probe
from cyclerate.range_test.procedure import (
    Procedure as Procedure,
    RangeTestPlan as RangeTestPlan,
    conduct as conduct,
    drive as drive,
)
from cyclerate.range_test.race import Race as Race
from cyclerate.range_test.recommendation import Recommendation as Recommendation
from cyclerate.range_test.recommender import (
    RecommendationPlan as RecommendationPlan,
    recommended as recommended,
)
from cyclerate.range_test.repeats import combine as combine, repeated as repeated
from cyclerate.range_test.result import RangeTestResult as RangeTestResult
from cyclerate.range_test.stopping import StopReason as StopReason
from cyclerate.range_test.sweep import Sweep as Sweep
