"""A model and its data, ready to make the runs of a range test or of a recommendation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

from cyclerate._errors import bad_argument
from cyclerate.finder import Procedure
from cyclerate.finder._progress import Progress
from cyclerate.keras._data import Data, borrow
from cyclerate.keras._trainee import Runner
from cyclerate.keras.lending import lent


@contextmanager
def conducting(
    model: Any,
    x: Any,
    y: Any,
    *,
    metric: str,
    batch_size: int | None,
    sample_weight: Any,
    class_weight: dict[int, float] | None,
    validation_data: Any,
    progress: Progress,
) -> Generator[Callable[[Procedure, int], None]]:
    """Lends model and data for a while, and gives them back as they were.

    Args:
        model: The model, compiled.
        x: As `range_test` takes it, like all that follows.
        y: The targets.
        metric: What to record.
        batch_size: Rows of a batch.
        sample_weight: Weights of the rows.
        class_weight: Weights of the classes.
        validation_data: What to score on.
        progress: Shown after each step, and closed.

    Yields:
        What makes all runs of a procedure, on data in the order of a seed.

    Raises:
        ValueError: Data of another kind.
    """
    data = borrow(
        x, y, batch_size=batch_size, sample_weight=sample_weight, class_weight=class_weight
    )
    validation = _validation(validation_data, batch_size)
    read = [data, validation] if validation else [data]
    with closing(progress), lent(model, *read) as snapshot:
        runner = Runner(
            model, snapshot, metric=metric, data=data, validation=validation, progress=progress
        )
        yield runner.conduct


def _validation(validation_data: Any, batch_size: int | None) -> Data | None:
    if validation_data is None:
        return None
    allowed = "(x, y), (x, y, sample_weight) or a data set that ends"
    parts = validation_data if isinstance(validation_data, tuple) else (validation_data,)
    if len(parts) > 3:
        raise bad_argument("validation_data", allowed, validation_data)
    x, y, sample_weight = (*parts, None, None)[:3]
    size = batch_size if y is not None else None
    data = borrow(x, y, batch_size=size, sample_weight=sample_weight)
    if data.endless:
        raise bad_argument("validation_data", allowed, validation_data)
    return data
