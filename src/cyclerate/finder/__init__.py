"""Finding a rate, free of any framework: the sweep, the races after it, and who drives them."""

from cyclerate.finder._probe import Probe as Probe
from cyclerate.finder._race import Race as Race
from cyclerate.finder._range_test import (
    RangeTestSettings as RangeTestSettings,
    combine as combine,
    conduct as conduct,
    drive as drive,
    range_test as range_test,
)
from cyclerate.finder._recommend import (
    RecommendationSettings as RecommendationSettings,
    recommend as recommend,
)
from cyclerate.finder._recommendation import (
    PolicyRace as PolicyRace,
    Recommendation as Recommendation,
)
from cyclerate.finder._result import RangeTestResult as RangeTestResult, StopReason as StopReason
from cyclerate.finder._run import (
    FunctionTrainee as FunctionTrainee,
    Run as Run,
    Trainee as Trainee,
)
from cyclerate.finder._sweep import RangeTest as RangeTest, Sweep as Sweep
