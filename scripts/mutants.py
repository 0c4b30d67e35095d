"""Small faults, one at a time, in a copy of the sources: the tests named beside each must notice.

    python scripts/mutants.py            all of them
    python scripts/mutants.py WORD...    those whose name has one of the words

A fault is a piece of the sources, which occurs there once, and what takes its place. One that no
test notices survives: a test is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LONGEST_SECONDS = 600
TESTS_FAILED = 1  # pytest's answer; others say that it could not run them


class Mutant(NamedTuple):
    """A fault: its name, the text and what replaces it, and arguments of pytest."""

    name: str
    old: str
    new: str
    tests: str


SCHEDULES = "tests/schedules/test_laws.py tests/schedules/test_arguments.py"
SUGGESTION = "tests/finder/test_suggestion.py"
PROBE = "tests/finder/test_probe.py"
CHOICE = "tests/finder/test_race_choice.py tests/finder/test_probe.py"
PASSES = "tests/finder/test_passes.py"
RESTORE = "tests/torch/test_restore.py"

MUTANTS = [
    Mutant(
        "schedules: triangular2 begins at half of its amplitude",
        "return xp.power_of_half(cycles_before)",
        "return xp.power_of_half(cycles_before + 1)",
        SCHEDULES,
    ),
    Mutant(
        "schedules: the peak of one cycle is a step late",
        "wanted = math.floor(self.up_frac * self.total_steps + 0.5) - 1",
        "wanted = math.floor(self.up_frac * self.total_steps + 0.5)",
        "tests/schedules/test_parity.py -k one_cycle",
    ),
    Mutant(
        "schedules: a restart takes effect a step late",
        "return cosine(xp.real(start + steps - n) / xp.real(steps), xp)",
        "return cosine(xp.real(start + steps - n) / xp.real(steps + 1), xp)",
        SCHEDULES,
    ),
    Mutant(
        "schedules: a fit in cycles that goes on begins its first cycle again",
        "self._step_of_first_epoch + first_epoch * batches // accumulated",
        "self._step_of_first_epoch",
        "tests/keras/test_fit_cycles.py -k goes_on",
    ),
    Mutant(
        "momentum cycling: it runs with the rate, not against it",
        "return blend(self.high, self.low, self.schedule.height_at(n, xp), xp)",
        "return blend(self.low, self.high, self.schedule.height_at(n, xp), xp)",
        SCHEDULES,
    ),
    Mutant(
        "momentum cycling: PyTorch sets the momentum of Adam, which has none",
        'for n in ("betas", "momentum")',
        'for n in ("momentum", "betas")[:1]',
        "tests/torch/test_scheduled_lr.py",
    ),
    Mutant(
        "schedules: another one of the same rate is written over in silence",
        "return not abs(float(value) - left) <= exact * abs(left)",
        "return False",
        "tests/adapters/test_one_owner.py -k pytorch",
    ),
    Mutant(
        "schedules: the scale that timm leaves in a group counts once more in a second training",
        "if not np.allclose(np.multiply(values, max(scales)), scaled, rtol=1e-6, atol=0):",
        "if max(values) > 0:",
        "tests/torch/test_depth.py -k timm",
    ),
    Mutant(
        "smoothing: the curve sags at its ends",
        "height = np.where(fits, (s2 * t0 - s1 * t1) / spread, t0 / s0)",
        "height = t0 / s0",
        "tests/finder/test_smoothing.py",
    ),
    Mutant(
        "smoothing: spikes stay and all else goes",
        "np.where(far, centre, known)",
        "np.where(far, known, centre)",
        "tests/finder/test_smoothing.py",
    ),
    Mutant(
        "stopping: NaN and infinity do not end a sweep",
        "if not abs(number) < _INFINITE:",
        "if abs(number) == _INFINITE:",
        "tests/finder/test_core.py",
    ),
    Mutant(
        "stopping: noise ends a sweep",
        "_NOISE_SDS = 6.0",
        "_NOISE_SDS = 2.0",
        "tests/finder/test_stopping.py",
    ),
    Mutant(
        "stopping: a rising accuracy is taken for a rising loss",
        "elif self._monitor is not None and self._monitor.update(loss):",
        "elif self._monitor is not None and self._monitor.update(number):",
        "tests/finder/test_suggestion.py tests/finder/test_core.py",
    ),
    Mutant(
        "suggestion: the highest of the three readings, not the middle one",
        "max_lr = float(np.exp(np.median(readings)))",
        "max_lr = float(np.exp(np.max(readings)))",
        SUGGESTION,
    ),
    Mutant(
        "suggestion: noise has an answer",
        "SIGNIFICANT_SDS = 3.5",
        "SIGNIFICANT_SDS = 2.0",
        SUGGESTION,
    ),
    Mutant(
        "suggestion: a second valley, beyond the ruin of the model, is read too",
        "    if not len(lost):\n        return done\n",
        "    if len(lost) >= 0:\n        return done\n",
        SUGGESTION,
    ),
    Mutant(
        "probe: a race that ended worse than it began may win",
        "self._after_race(ended_at if ended_at < bar else math.inf)",
        "self._after_race(ended_at)",
        PROBE,
    ),
    Mutant(
        "probe: a scout that got nowhere is followed by one at a higher rate",
        "self._centre - _SCOUT_DECADES",
        "self._centre + _SCOUT_DECADES",
        PROBE,
    ),
    Mutant(
        "probe: what the races cost is not counted",
        "self._spent_steps += run.index",
        "self._spent_steps += 0",
        PROBE,
    ),
    Mutant(
        "race choice: a longer training gets the rate of a race",
        "DECADES_PER_TENFOLD = 0.2",
        "DECADES_PER_TENFOLD = 0.0",
        CHOICE,
    ),
    Mutant(
        "race choice: noisy batches move the answer up",
        "return valley(scores, start) + up - down - shift",
        "return valley(scores, start) + up + down - shift",
        CHOICE,
    ),
    Mutant(
        "race choice: the valley leans to the worse side",
        "(left * c**2 - right * a**2)",
        "(right * a**2 - left * c**2)",
        CHOICE,
    ),
    Mutant(
        "interval: what lies below and above a reading changes places",
        "z = off / np.where(off < 0, self.below, self.above)",
        "z = off / np.where(off < 0, self.above, self.below)",
        "tests/finder/test_prior.py",
    ),
    Mutant(
        "probe: batches with rare large targets are taken for explosions",
        "if np.any(known[:lowest] > self._summit):",
        "if np.any(known[:0] > self._summit):",
        PROBE,
    ),
    Mutant(
        "probe: races go on where they can no longer change the answer",
        "return worth[most] if most >= 0 else None",
        "return worth.get(most)",
        PROBE,
    ),
    Mutant(
        "interval: of repeats it is that of the first",
        "float(intervals[:, 0].min()), float(intervals[:, 1].max())",
        "float(intervals[0, 0]), float(intervals[0, 1])",
        "tests/finder/test_repeats.py",
    ),
    Mutant(
        "passes: the next repeat begins where the last run stopped, not the longest",
        "self._place += max(self._taken, self._most_taken)",
        "self._place += self._taken",
        PASSES,
    ),
    Mutant(
        "passes: a sample has a batch more than it needs",
        "if count >= wanted:",
        "if count > wanted:",
        PASSES,
    ),
    Mutant(
        "seeds: the fixed sample has the seed of the runs",
        "return (seed + _SAMPLE_SEEDS_FROM) % _SAMPLE_SEEDS_BELOW",
        "return seed % _SAMPLE_SEEDS_BELOW",
        "tests/finder/test_procedure.py",
    ),
    Mutant(
        "seeds: all repeats have the same one",
        "seed=settings.seed + repeat",
        "seed=settings.seed",
        "tests/finder/test_procedure.py",
    ),
    Mutant(
        "restore: weights",
        "piece.copy_(next(copies))",
        "piece.clone().copy_(next(copies))",
        RESTORE,
    ),
    Mutant(
        "restore: the state of the optimizer",
        "isinstance(thing, (Optimizer, GradScaler)) else None",
        "isinstance(thing, GradScaler) else None",
        RESTORE,
    ),
    Mutant(
        "restore: NumPy's random state",
        "partial(np.random.set_state, np.random.get_state()),",
        "",
        RESTORE,
    ),
    Mutant(
        "restore: gradients of parameters outside the optimizer",
        "        self._snapshot.set_gradients_aside()\n",
        "",
        RESTORE,
    ),
    Mutant(
        "restore: train mode after a score",
        "            module.training = training\n        if ranks is not None:",
        "            module.training = False\n        if ranks is not None:",
        "tests/torch/test_fit.py",
    ),
    Mutant(
        "ranks: each has its own number",
        "columns = zip(*self.all(*numbers), strict=True)",
        "columns = [[number] for number in numbers]",
        "tests/torch/test_ranks.py -k one",
    ),
    Mutant(
        "ranks: nobody says why it stops",
        'self._store.set("failed", " ".join(told.split())[:200])',
        "pass",
        "tests/torch/test_ranks.py -k fails",
    ),
    Mutant(
        "restore: a model handed over in evaluation mode is trained in it",
        "            training.model.train()\n",
        "            training.model.eval()\n",
        "tests/torch/test_range_test.py",
    ),
    Mutant(
        "restore: Keras's optimizer",
        "            found += value.variables\n",
        "            found += []\n",
        "tests/adapters/test_conformance.py -k keras",
    ),
    Mutant(
        "restore: a second run on Optax goes on in the data",
        "            self._batches.rewind()\n        seed_global_randomness(seed)\n",
        "        seed_global_randomness(seed)\n",
        "tests/optax/test_probe.py",
    ),
    Mutant(
        "records: a result is saved without its interval",
        'values["interval"] = None if result.interval is None else list(result.interval)',
        'values["interval"] = None',
        "tests/finder/test_saving.py",
    ),
    Mutant(
        "records: a cell of other settings is taken for this one",
        "if differing := _differing(there, plain(here)):",
        "if differing := _differing(there, there):",
        "tests/compare/test_cells.py",
    ),
    Mutant(
        "records: a cell that another process finished meanwhile is computed again",
        "return folder.load(cell) or folder.save(cell, work(cell))",
        "return folder.save(cell, work(cell))",
        "tests/compare/test_cells.py",
    ),
    Mutant(
        "records: two processes hold the lock of one cell",
        "os.O_CREAT | os.O_EXCL | os.O_WRONLY",
        "os.O_CREAT | os.O_WRONLY",
        "tests/compare/test_cells.py",
    ),
    Mutant(
        "records: the lock of a dead process is held for ever",
        'return process_start(process) == owner.get("started")',
        "return True",
        "tests/compare/test_cells.py",
    ),
    Mutant(
        "records: threads of one process train at the same time",
        "        with _turn:\n",
        "        if True:\n",
        "tests/compare/test_engines.py",
    ),
    Mutant(
        "page: what was written into its numbers can end them",
        'for sign in "<>&":',
        'for sign in ">&":',
        "tests/compare/test_page.py",
    ),
    Mutant(
        "page: a search is counted for every policy",
        "if not math.isclose(schedule.bounds[1], top, rel_tol=0.006):",
        "if math.isclose(schedule.bounds[1], top, rel_tol=0.006):",
        "tests/compare/test_page.py",
    ),
    Mutant(
        "charts: of very many points the peaks are lost",
        "for end in (np.minimum, np.maximum):",
        "for end in (np.minimum,):",
        "tests/test_svg.py",
    ),
    Mutant(
        "restore: dropout begins again in a cycle that is resumed",
        "zip(states, revived(states, arrays, parts), strict=True)",
        "zip(states, arrays, strict=True)",
        "tests/keras/test_self_finding.py -k resumed",
    ),
]


def sources(root: Path = ROOT) -> list[Path]:
    """The files that faults are put into."""
    return sorted((root / "src").rglob("*.py"))


def places(mutant: Mutant, files: list[Path]) -> list[Path]:
    """The files that have the mutant's text, each as often as it occurs there."""
    texts = [(file, file.read_text(encoding="utf-8")) for file in files]
    return [file for file, text in texts for _ in range(text.count(mutant.old))]


def main(words: list[str]) -> int:
    """Tries the mutants; returns 0 where each is noticed."""
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cyclerate-mutants-") as folder:
        copy = Path(folder)
        for name in ("src", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        for mutant in chosen:
            began = time.monotonic()
            answer = tried(mutant, copy)
            print(f"{answer:9}  {time.monotonic() - began:4.0f} s  {mutant.name}", flush=True)
            if answer != "noticed":
                wrong.append(f"{mutant.name} ({answer})")
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} faults were noticed.", *wrong, sep="\n  ")
    return 1 if wrong or not chosen else 0


def tried(mutant: Mutant, copy: Path) -> str:
    """Puts a fault into the copy, runs its tests, and takes it out again."""
    found = places(mutant, sources(copy))
    if len(found) != 1:
        return "no text" if not found else "no place"
    (file,) = found
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return noticed(mutant.tests.split(), copy)
    finally:
        file.write_text(text, encoding="utf-8")


def noticed(tests: list[str], copy: Path) -> str:
    """What the tests make of the copy as it is."""
    # Without compiled files: a change within a second that keeps a file's size would go unseen.
    paths = os.pathsep.join((str(copy / "src"), str(copy)))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            cwd=copy,
            env=environment,
            timeout=LONGEST_SECONDS,
            capture_output=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "noticed"  # a run that does not end is no run that passes
    if done.returncode not in (0, TESTS_FAILED):
        print(done.stdout.decode()[-2000:])
        return "no run"
    return "noticed" if done.returncode == TESTS_FAILED else "SURVIVES"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
