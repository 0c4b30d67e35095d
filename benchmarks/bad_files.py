"""Damaged and hostile files: each is refused by a named error, or read as what it says.

    python -m benchmarks.bad_files [--mutations 2000] [--seed 0] [--page]

Every kind of file that cyclerate reads back is written once, and then changed at a random place: a
value of another type or size, a key more or less, a list doubled, bytes cut, flipped or appended.
`--page` writes the counts into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cyclerate as cr
from benchmarks._page import counted, write_generated
from cyclerate._errors import CyclerateError
from cyclerate.compare import Comparison
from cyclerate.compare._answer import Answer, text_table
from cyclerate.compare._cells import Cell, Folder
from cyclerate.compare._record import About, DataInfo, ModelInfo, PolicyInfo, Run
from cyclerate.cycles._members import MANIFEST, MemberFolder, Members
from cyclerate.finder import PolicyRace, RangeTest, Sweep
from cyclerate.tables import Preprocessing, prepare

Read = Callable[[Path], object]
"""Reads a file, and uses what it says as its owner would."""

SCHEDULE = cr.Triangular(0.01, 0.08, 40)
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2.5, 1e308, -1e308, 10**400, 2**63, "", "x", "nan", "\u0000",
    "../../x", [], {}, [1], [[]], {"a": 1}, [None] * 3, {"schema": 1}, "9" * 5000, [[[[[[[[]]]]]]]],
]  # fmt: skip
BYTES = [
    b"",
    b"{",
    b"null",
    b"[" * 100_000,
    b"\xff\xfe",
    b"NaN",
    b"1e999",
    b'{"schema": 1}',
    b"\x80\x04.",
]


def files(folder: Path) -> dict[str, tuple[Path, Read]]:
    """One good file of each kind, and how it is read."""
    test = RangeTest(Sweep(1e-4, 10.0, steps=40))
    while test.tell(1.0 - 0.5 * min(test.lr, 1.0) if test.lr < 3 else 9.0):
        pass
    result = test.result(seconds=1.5)
    rows = pd.DataFrame({"hours": [1.0, 7.0, None, 3.0] * 8, "passed": ["no", "yes"] * 16})
    kept = MemberFolder(folder / "ensemble", SCHEDULE, ".keras")
    for cycle in (1, 2):
        kept.add(80 * cycle, cycle, 0.01, lambda path: path.write_bytes(b"weights"), metric=0.5)
    cells = Folder(folder / "cells")
    cell = Cell("fixed-0", {"batch_size": 32})
    cells.save(cell, {"loss": 0.5, "outputs": np.arange(4.0)})
    return {
        "range test": (result.save(folder / "result.json"), _read_result),
        "recommendation": (_recommended(result, folder / "recommendation.json"), _read_advice),
        "schedule": (_dumped(SCHEDULE.to_dict(), folder / "schedule.json"), _read_schedule),
        "comparison": (_compared(result).save(folder / "record.json"), _read_comparison),
        "preprocessing": (
            prepare(rows, "passed", name="exams").preprocessing.save(folder / "preprocessing.json"),
            lambda path: Preprocessing.load(path).features(rows),
        ),
        "ensemble": (
            folder / "ensemble" / MANIFEST,
            lambda path: list(Members(path.parent, ".keras").each()),
        ),
        "finished cell": (folder / "cells" / "fixed-0.json", lambda path: cells.load(cell)),
    }


def _dumped(values: Any, path: Path) -> Path:
    path.write_text(json.dumps(values))
    return path


def _recommended(result: cr.RangeTestResult, path: Path) -> Path:
    made = cr.Recommendation(
        policy="triangular",
        schedule=SCHEDULE,
        max_lr=0.08,
        base_lr=0.02,
        interval=(0.04, 0.16),
        steps=40,
        training_steps=400,
        evidence=(PolicyRace("triangular", 0.08, 0.5), PolicyRace("one_cycle", 0.1, None)),
        range_test=result,
        verdict="raced",
    )
    return _dumped(made.to_dict(), path)


def _compared(result: cr.RangeTestResult) -> Comparison:
    curve = (0.9, 0.5, None)
    runs = [
        Run(p, s, (10, 20, 30), curve, curve, curve, 1.0, diverged=s == 1)
        for p in ("fixed", "triangular")
        for s in (0, 1)
    ]
    about = About(
        title="a comparison", created="2026-01-01T00:00:00+00:00", command="compare(...)",
        versions={"python": "3.11"}, machine={"cores": "2"},
        data=DataInfo("digits", 100, 80, 20, 64, "digit", "classification", ("0", "1")),
        model=ModelInfo("dense", 100, "SGD", "mse", 32), mode="max", epochs=3, steps_per_epoch=10,
        total_steps=30, seeds=(0, 1),
        policies=tuple(
            PolicyInfo(name, name, schedule.to_dict(), "")
            for name, schedule in (("fixed", cr.Constant(0.01)), ("triangular", SCHEDULE))
        ),
    )  # fmt: skip
    names = tuple(policy.name for policy in about.policies)
    return Comparison(tuple(runs), names, "fixed", "accuracy", {}, {(0, 0): result}, about)


def _read_result(path: Path) -> object:
    read = cr.RangeTestResult.load(path)
    return str(read), read.suggest("valley"), read.to_dict()


def _read_advice(path: Path) -> object:
    read = cr.Recommendation.from_dict(json.loads(path.read_bytes()))
    return str(read), read.to_dict()


def _read_schedule(path: Path) -> object:
    read = cr.from_dict(json.loads(path.read_bytes()))
    return read(10**6), read.to_dict()


def _read_comparison(path: Path) -> object:
    read = Comparison.load(path)
    return text_table(Answer(read)), read.differences, read.to_frame(), read.to_dict()


def places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys or places."""
    for key in list(values) if isinstance(values, dict) else range(len(values)):
        yield values, key
        if isinstance(values[key], (dict, list)):
            yield from places(values[key])


def mutated(good: bytes, random: np.random.Generator) -> bytes:
    """The content of a file, changed at a random place."""
    kind = random.integers(10)
    if kind == 0:
        return BYTES[random.integers(len(BYTES))]
    if kind == 1:
        return good[: random.integers(len(good))]
    if kind == 2:
        flipped = bytearray(good)
        flipped[random.integers(len(good))] ^= 1 << int(random.integers(8))
        return bytes(flipped)
    values = json.loads(good)
    spots = list(places(values))
    where, key = spots[random.integers(len(spots))]
    if kind == 3:
        del where[key]
    elif kind == 4:
        where[key] = [copy.deepcopy(where[key])] * 2
    elif kind == 5 and isinstance(where, dict):
        where["unknown"] = where[key]
    else:
        where[key] = HOSTILE[random.integers(len(HOSTILE))]
    return json.dumps(values).encode()


def outcome(path: Path, read: Read) -> tuple[str, str]:
    """What came of reading a file: "named", "right" or "foreign", and the words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except (ValueError, CyclerateError, OSError) as error:
        # A JSON error of the reader that this script wrote itself is as good as named.
        named = isinstance(
            error, (CyclerateError, OSError, json.JSONDecodeError, UnicodeDecodeError)
        )
        says = ("must be", "keys of", path.name, path.parent.name)
        ours = any(words in str(error) for words in says)
        return ("named" if named or ours else "foreign"), f"{type(error).__name__}: {error}"
    except RecursionError as error:
        reader = traceback.extract_tb(error.__traceback__)[0].filename
        return ("named" if "json" in reader or reader == __file__ else "foreign"), "RecursionError"
    except Exception as error:  # noqa: BLE001
        at = traceback.extract_tb(error.__traceback__)[-1]
        return "foreign", f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"
    return "right", ""


def attempts(mutations: int, seed: int) -> Iterator[tuple[str, bytes, str, str]]:
    """Each mutation: the kind of file, its content, what came of it, and the words."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        kinds = files(Path(name))
        goods = {kind: path.read_bytes() for kind, (path, _) in kinds.items()}
        for kind, (path, read) in kinds.items():
            came, words = outcome(path, read)
            assert came == "right", (kind, words)
        for number in range(mutations):
            kind = list(kinds)[number % len(kinds)]
            path, read = kinds[kind]
            content = mutated(goods[kind], random)
            path.write_bytes(content)
            yield kind, content, *outcome(path, read)
            path.write_bytes(goods[kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for kind, content, came, words in attempts(asked.mutations, asked.seed):
        counts[kind][came] += 1
        if came == "foreign":
            print(f"{kind}: {words}\n  {content[:200]!r}")
    outcomes = {"named": "refused by name", "right": "read", "foreign": "another error"}
    table = counted("file", outcomes, counts)
    print(table)
    if asked.page:
        asked_for = f"--mutations {asked.mutations} --seed {asked.seed}"
        text = f"`python -m benchmarks.bad_files {asked_for} --page`:\n\n{table}"
        write_generated(Path("docs/reliability.md"), text, "files")


if __name__ == "__main__":
    main()
