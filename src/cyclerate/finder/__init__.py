"""The learning-rate range test, free of any framework."""

from cyclerate.finder._probe import Probe as Probe
from cyclerate.finder._race import Race as Race
from cyclerate.finder._recommend import (
    RecommendationPlan as RecommendationPlan,
    recommended as recommended,
)
from cyclerate.finder._recommendation import (
    PolicyRace as PolicyRace,
    Recommendation as Recommendation,
)
from cyclerate.finder._result import RangeTestResult as RangeTestResult, StopReason as StopReason
from cyclerate.finder._run import (
    Procedure as Procedure,
    RangeTestPlan as RangeTestPlan,
    combine as combine,
    conduct as conduct,
    drive as drive,
    repeated as repeated,
)
from cyclerate.finder._settings import Sweep as Sweep
from cyclerate.finder._sweep import RangeTest as RangeTest
