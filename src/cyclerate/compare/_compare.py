"""Policies compared on your own model, framework and data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cyclerate._errors import bad_argument
from cyclerate._files import write_json
from cyclerate._plain import plain, provenance
from cyclerate.compare._cells import Cell, read, refuse_others
from cyclerate.compare._comparison import FILE_NAME, Comparison
from cyclerate.compare._folds import (
    Fold,
    class_of_rows,
    group_of_rows,
    hold_out,
    make_folds,
)
from cyclerate.compare._learner import MakeModel
from cyclerate.compare._policies import (
    DEFAULT_POLICIES,
    REFERENCE,
    Policy,
    PolicyLike,
    named_policies,
    raced_policy,
)
from cyclerate.compare._record import About, Best, DataInfo, Run, final, pick_best
from cyclerate.compare._study import (
    Data,
    Job,
    Study,
    Watch,
    array,
    check_seeds,
    make_learner,
    schedule_dict,
)

_SECONDS_BETWEEN_RECORDS = 2.0


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
    n_jobs: int | None = None,
    executor: Any = None,
    verbose: str | int = "auto",
) -> Comparison:
    """Trains your model with every policy and every seed, and compares them pair by pair.

    A seed decides the initial weights, the order of the data and all else that is random, whatever
    the policy: runs of one seed (and one fold) are a pair, and what is compared is the differences
    of pairs. Optimizer, loss and metrics are used as you made them; only the rate is scheduled. All
    runs have the same number of steps: whole cycles of about 6 epochs. Global random generators are
    given back.

    With `out`, every run is kept there as soon as it is finished. The same call again runs what is
    missing: after a crash, with more seeds, or with more policies. `record.json` holds them all:
    `cyclerate report DIR` draws its page.

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
        n_jobs: Processes, by joblib; they share the processor's threads. Default: those of
            `joblib.parallel_config`, whose backend is used where it chose one; else 1. The number
            of threads may change the last digits of large networks.
        executor: Anything with `submit(function, *arguments)` that returns a future: a
            `ProcessPoolExecutor`, Dask's client, submitit's executor. Threads of one process take
            turns: a run seeds its global generators. Default None.
        verbose: "auto" shows a line on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        All runs, the table (`print` it), the differences, `to_frame()`, `plot()`.

    Raises:
        ValueError: A wrong argument; or `out` holds runs of other settings: the message names what
            differs.

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
    data, parts = split_rows(x, y, folds, groups, validation)
    study = Study(
        learner=make_learner(make_model, batch_size),
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
        executor=executor,
        verbose=verbose,
    )
    refuse_record(study)
    return run_comparison(study, *planned(study, named))


def split_rows(
    x: Any, y: Any, folds: Any, groups: Any, validation: Any
) -> tuple[Data, tuple[Fold, ...]]:
    """Puts all rows together, and says which are trained on and which are held out."""
    if len(x) != len(y):
        raise bad_argument("y", f"as long as x ({len(x)} rows)", len(y))
    groups = group_of_rows(groups, len(x))
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


def refuse_record(study: Study) -> None:
    """Refuses a folder whose record is not of this study, before anything is run.

    Raises:
        OtherSettings: The message names what differs.
        CyclerateError: There is a `record.json` that is none of a comparison.
    """
    if study.out is not None:
        file = Path(study.out) / FILE_NAME
        if (there := read(file, "settings")) is not None:
            refuse_others(file, there["settings"], study.settings)


def planned(study: Study, policies: tuple[Policy, ...]) -> tuple[list[Job], About]:
    """Makes the runs of a study by these policies, and says what is compared.

    Runs of one policy stand together: they are compiled once.
    """
    kind = raced_policy(policies) if any(policy.races_as for policy in policies) else ""
    places = [(seed, fold) for seed in study.seeds for fold in range(len(study.folds))]
    rates = {place: study.rates(*place, kind) for place in places}
    jobs = [
        Job(policy.name, policy.schedule(rates[seed, fold], study.budgets[fold]), seed, fold)
        for policy in policies
        for seed, fold in places
    ]
    first = {job.policy: job.schedule for job in reversed(jobs)}
    budget, made = study.budgets[0], provenance()
    return jobs, About(
        title="your data",
        created=made["created"],
        command="",
        versions={**made["versions"], **study.start(study.seeds[0]).versions},
        machine=made["machine"],
        data=_describe_rows(study),
        model=study.start(study.seeds[0]).model,
        mode=None,
        epochs=study.epochs,
        steps_per_epoch=budget.steps_per_epoch,
        total_steps=budget.total_steps,
        seeds=study.seeds,
        policies=tuple(
            policy.described(schedule_dict(first[policy.name]), rates[places[0]], budget)
            for policy in policies
        ),
        settings=study.settings,
    )


def _describe_rows(study: Study) -> DataInfo:
    x, y, fold = study.data.x, study.data.y, study.folds[0]
    return DataInfo(
        name="your data",
        rows=len(x),
        train_rows=len(fold.train),
        heldout_rows=len(fold.heldout),
        features=int(np.prod(x.shape[1:])),
        target="y",
        task="regression" if class_of_rows(y, fewest=1) is None else "classification",
    )


def run_comparison(
    study: Study,
    jobs: list[Job],
    about: About,
    *,
    watch: Watch | None = None,
    model_file: str | None = None,
    keep_record: bool = True,
) -> Comparison:
    """Runs what is missing of a comparison.

    In the study's folder `record.json` grows meanwhile, so that what is done stays done, and can be
    drawn, when a later run fails. Of several processes on a folder one keeps the record. Each
    saves its network in `model_file` when it is the best so far; `keep_network` sees to the rest.
    """
    names = [policy.name for policy in about.policies]
    comparison = Comparison(
        cells=(),
        policies=tuple(names),
        reference=REFERENCE if REFERENCE in names else names[0],
        metric=study.metric,
        schedules={job.policy: job.schedule for job in reversed(jobs)},
        range_tests=dict(study.found),
        about=about,
    )
    file = None if study.out is None or not keep_record else Path(study.out) / FILE_NAME
    network = None if study.out is None or model_file is None else Path(study.out) / model_file
    runs: dict[str, Run] = {}
    saved = -_SECONDS_BETWEEN_RECORDS
    if file and not file.exists():  # for whoever watches: what is to come
        comparison.save(file)
    try:
        for job, trained in study.run(jobs, watch):
            runs[job.name] = trained.run
            best = pick_best(runs.values())
            comparison = replace(
                comparison,
                cells=tuple(runs[job.name] for job in jobs if job.name in runs),
                metric=trained.metric,
                about=replace(
                    about, best=best and Best(best.policy, best.seed, network and network.name)
                ),
            )
            if network and best and best is trained.run and study.last == job:
                _save_network(study, job, network, best)
            if file and time.monotonic() - saved > _SECONDS_BETWEEN_RECORDS:
                comparison.save(file)
                saved = time.monotonic()
    finally:
        if file and runs:
            comparison.save(file)
    return comparison


def keep_network(study: Study, jobs: list[Job], comparison: Comparison) -> None:
    """Sees to it that the best network lies in the study's folder: trains it again if need be.

    What lies there may be another comparison's, or an earlier one's.
    """
    best = pick_best(comparison.cells)
    named = comparison.about.best
    if study.out is None or best is None or named is None or named.file is None:
        return
    network = Path(study.out) / named.file
    job = next(j for j in jobs if (j.policy, j.seed, j.fold) == (best.policy, *best.place))
    if not _lies_there(study, job, network):
        study.train_again(job)
        _save_network(study, job, network, best, anyway=True)


def _save_network(study: Study, job: Job, network: Path, run: Run, *, anyway: bool = False) -> None:
    """Saves the network trained last, if none of a lower loss lies there, or anyway.

    The marker beside it says whose it is.
    """
    marker, loss = _marker(network), final(run.heldout_loss)
    with study.folder.locked(Cell(f"cells/{network.stem}", {})) as ours:
        there = read(marker, "marked") if network.is_file() else None
        lowest = None if there is None else there["marked"].get("loss")
        better = loss is None or not isinstance(lowest, float) or loss <= lowest
        if anyway or (ours and better):
            marker.unlink(missing_ok=True)
            study.learner.save(network)
            write_json(
                marker, {"settings": plain(study.settings_of(job)), "marked": {"loss": loss}}
            )


def _lies_there(study: Study, job: Job, network: Path) -> bool:
    kept = read(_marker(network), "settings")
    return network.is_file() and kept == {"settings": plain(study.settings_of(job))}


def _marker(network: Path) -> Path:
    return network.parent / "cells" / f"{network.stem}.json"
