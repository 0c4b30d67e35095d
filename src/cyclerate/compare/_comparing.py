"""Policies compared on your own model, framework and data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cyclerate._errors import bad_argument
from cyclerate.compare._comparison import Comparison
from cyclerate.compare._folds import Fold, hold_out, make_folds
from cyclerate.compare._jobs import Data
from cyclerate.compare._learner import MakeModel
from cyclerate.compare._policies import DEFAULT_POLICIES, REFERENCE
from cyclerate.compare._study import (
    NamedPolicy,
    PolicyLike,
    Study,
    array,
    check_seeds,
    named_policies,
)


def compare(
    make_model: MakeModel,
    x: Any,
    y: Any,
    *,
    epochs: int = 10,
    policies: Iterable[str] | Mapping[str, PolicyLike] = DEFAULT_POLICIES,
    batch_size: int = 32,
    seeds: int | Iterable[int] = 3,
    folds: Any = None,
    groups: Any = None,
    validation: float | tuple[Any, Any] = 0.2,
    fixed_lr: float | None = None,
    max_lr: float | None = None,
    range_test: str = "run",
    range_test_options: Mapping[str, Any] | None = None,
    metric: str | None = None,
    out: str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    verbose: str | int = "auto",
) -> Comparison:
    """Trains your model with every policy and every seed, and compares them pair by pair.

    A seed decides the initial weights, the order of the data and all else that is random, whatever
    the policy: runs of one seed (and one fold) are a pair, and what is compared is the differences
    of pairs. Optimizer, loss and metrics are used as you made them; only the rate is scheduled. All
    runs have the same number of steps: whole cycles of about 6 epochs. Global random generators are
    given back.

    With `out`, every run is kept there as soon as it is finished. The same call again runs what is
    missing: after a crash, with more seeds, or with more policies.

    Args:
        make_model: Returns a new model: a compiled Keras model, or PyTorch's `(model, optimizer,
            loss_fn)`. Called with the seed if it takes an argument; the global generators are
            seeded before either way.
        x: Inputs: an array, a table or a tensor, a row for each example.
        y: Targets, a row for each example.
        epochs: Passes over the training rows. Default 10.
        policies: Names of `fixed`, `found`, `triangular`, `triangular2`, `exp_range`, `one_cycle`,
            `restarts`; or a dict from your own names to such a name, a schedule, or a function of
            (rates, budget) that returns one. `rates` has `default_lr`, `lowest` and `highest`,
            `budget` has `steps_per_epoch`, `cycles`, `step_size` and `total_steps`. The reference
            is "fixed", else the first.
        batch_size: Rows in a step. Default 32. An epoch leaves out the rows that fill no batch.
        seeds: How many, or which. Default 3.
        folds: None for one held-out part; a number, or a splitter of scikit-learn, for
            cross-validation: every policy with every seed on every fold.
        groups: What belongs together, for each row; never on both sides.
        validation: Without folds: the share of rows held out, or (x, y). Default 0.2.
        fixed_lr: The rate of `fixed`. Default: the optimizer's own.
        max_lr: The highest rate of the policies. Default: found by a range test.
        range_test: "run" (default): one range test, with the first seed on the first training
            rows. "fold": one for every seed and fold.
        range_test_options: Options of `cyclerate.keras.range_test` or `cyclerate.torch.range_test`.
        metric: What to record beside the loss, by its name. Default: the first metric that the
            Keras model is compiled with; in PyTorch, the accuracy where targets are classes.
        out: A folder. Default: nothing is kept.
        n_jobs: Processes, by joblib; they share the processor's threads. Default 1. The number of
            threads may change the last digits of large networks.
        verbose: "auto" shows a line on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        All runs, the table (`print` it), the differences, `to_frame()`, `plot()`.

    Raises:
        ValueError: A wrong argument; or `out` holds runs of other settings: the message names what
            differs.
        CyclerateError: The range test found no clear answer.

    Source: cycles as Smith 2017, arXiv 1506.01186, section 3; 1cycle as Smith and Topin 2018, arXiv
    1708.07120.

    >>> import keras
    >>> import numpy as np
    >>> def make_model(seed):
    ...     start = keras.initializers.GlorotUniform(seed=seed)
    ...     layers = [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer=start)]
    ...     model = keras.Sequential(layers)
    ...     model.compile("sgd", "mse")
    ...     return model
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> result = compare(make_model, x, x.sum(axis=1), epochs=2, batch_size=8, seeds=2, max_lr=0.3)
    >>> len(result.cells), result.difference("triangular").mean < 0
    (6, True)
    """
    named = named_policies(policies)
    x, y = array("x", x), array("y", y)
    data, parts = _parts(x, y, folds, groups, validation)
    study = Study(
        make_model=make_model,
        data=data,
        folds=parts,
        seeds=check_seeds(seeds),
        epochs=epochs,
        batch_size=batch_size,
        fixed_lr=fixed_lr,
        max_lr=max_lr,
        range_test=range_test,
        range_test_options=range_test_options,
        metric=metric,
        out=out,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    return _compared(study, named)


def _compared(study: Study, named: tuple[NamedPolicy, ...]) -> Comparison:
    kind = _raced(named)
    jobs = [
        study.job(policy.name, policy.make(rates, study.budgets[fold]), seed, fold)
        for seed in study.seeds
        for fold in range(len(study.folds))
        for rates in [study.rates(seed, fold, kind)]
        for policy in named
    ]
    # Runs of one policy stand together: they are compiled once.
    order = [policy.name for policy in named]
    jobs.sort(key=lambda job: (order.index(job.policy), job.seed, job.fold))
    done = study.run(jobs)
    return Comparison(
        cells=tuple(one.cell for one in done),
        policies=tuple(order),
        reference=REFERENCE if REFERENCE in order else order[0],
        metric=done[0].metric,
        schedules={job.policy: job.schedule for job in reversed(jobs)},
        range_tests=dict(study.found),
    )


def _raced(named: tuple[NamedPolicy, ...]) -> str:
    """What the range test is to race for: returning cycles bear less than one cycle does."""
    kinds = {policy.kind for policy in named if policy.needs_rate}
    return kinds.pop() if len(kinds) == 1 else "triangular" if kinds else ""


def _parts(
    x: Any, y: Any, folds: Any, groups: Any, validation: Any
) -> tuple[Data, tuple[Fold, ...]]:
    groups = None if groups is None else np.asarray(groups)
    if len(x) != len(y):
        raise bad_argument("y", f"as long as x ({len(x)} rows)", len(y))
    if folds is not None:
        return Data(x, y), make_folds(y, folds, groups)
    if not isinstance(validation, tuple):
        return Data(x, y), (hold_out(y, validation, groups),)
    if len(validation) != 2:
        raise bad_argument("validation", "a share, or (x, y)", validation)
    x_heldout, y_heldout = (array("validation", part) for part in validation)
    if len(x_heldout) != len(y_heldout):
        raise bad_argument("validation", "(x, y) of equal length", (len(x_heldout), len(y_heldout)))
    rows = np.arange(len(x) + len(x_heldout))
    both = Data(np.concatenate([x, x_heldout]), np.concatenate([y, y_heldout]))
    return both, (Fold(rows[: len(x)], rows[len(x) :]),)
