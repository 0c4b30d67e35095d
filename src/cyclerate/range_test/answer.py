"""What a recipe does with a range test that found nothing: it trains nothing."""

from __future__ import annotations

from cyclerate._errors import CyclerateError
from cyclerate.finder._result import RangeTestResult


def clear_max_lr(found: RangeTestResult) -> float:
    """The rate that was found.

    Raises:
        CyclerateError: None was; the message says what to do.
    """
    if found.max_lr is None:
        raise CyclerateError(
            f"The range test found no clear answer, so nothing was trained. {found.verdict} "
            f"{found.stop_reason.value} Give max_lr yourself, or let the test look elsewhere: "
            'range_test_options={"start_lr": ..., "end_lr": ..., "repeats": 3}.'
        )
    return found.max_lr
