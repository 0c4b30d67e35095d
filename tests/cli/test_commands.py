"""Each command once, on tiny data: what it prints, what it writes, and that it can be used."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import cyclerate as cr
from cyclerate.cli._app import app
from cyclerate.compare import Comparison, _page
from cyclerate.compare._numbers import OFFERED
from cyclerate.finder import RangeTestResult
from cyclerate.tables import Preprocessing
from tests.compare.records import range_result

RUNNER = CliRunner()
# Tests run in the background are handed an ignored SIGINT: this is Ctrl-C as at a terminal.
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = [sys.executable, "-c", f"{CTRL_C}; from cyclerate.cli import main; main()"]


def run(*words: object):
    result = RUNNER.invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small table with a text column, holes, and three kinds to tell apart."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 160)
    frame = pd.DataFrame(
        {
            "length": kind + rng.normal(0, 0.4, 160),
            "width": np.where(rng.random(160) < 0.1, np.nan, -kind + rng.normal(0, 0.4, 160)),
            "soil": np.where(kind == 1, "clay", rng.choice(["sand", "loam"], 160)),
            "kind": np.array(["aster", "rose", "lily"])[kind],
        }
    )
    frame.to_csv("flowers.csv", index=False)
    return Path("flowers.csv")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds; one test of each command draws."""
    monkeypatch.setattr(_page, "write_report", lambda _, out: Path(out) / "report.html")


def test_version():
    assert run("--version").stdout == f"cyclerate {cr.__version__}\n"


def test_compare_gives_a_record_a_report_and_a_network_to_use(flowers: Path):
    import keras

    words = ["--target", "kind", "--epochs", 6, "--seeds", 2, "--seed", 7, "--json", "--out", "out"]
    result = run("compare", flowers, *words)
    document = json.loads(result.stdout)
    record = Comparison.load("out")
    assert {key: document[key] for key in record.to_dict()} == record.to_dict()
    assert document["report"] == "out/report.html"
    assert "Task: classification" in result.stderr

    about = record.about
    assert about.title == "flowers.csv: kind"
    assert about.command == (
        "cyclerate compare flowers.csv --target kind --epochs 6 --seeds 2 --seed 7 --out out"
    )
    assert (about.data.rows, about.data.heldout_rows, about.data.features) == (160, 32, 3)
    assert about.data.classes == ("aster", "lily", "rose")
    assert (about.model.batch_size, about.steps_per_epoch) == (32, 4)
    assert (about.epochs, about.total_steps) == (6, 24)
    assert (record.reference, record.metric) == ("fixed", "accuracy")
    assert about.versions["backend"] == "jax"
    cells = [(cell.policy, cell.seed) for cell in record.cells]
    policies = ("fixed", "found", "triangular", "one_cycle")
    assert cells == [(policy, seed) for policy in policies for seed in (7, 8)]
    assert record.range_tests == {(7, 0): RangeTestResult.load("out/range_test.json")}
    assert (Path("out") / "cells").is_dir()  # from which a killed run goes on
    files = [path for path in Path("out").iterdir() if path.is_file()]
    assert sorted(path.suffix for path in files) == [
        ".html",
        ".json",
        ".json",
        ".json",
        ".json",
        ".keras",
    ]

    rows = pd.read_csv(flowers)
    model = keras.models.load_model("out/best.keras")
    prepare = Preprocessing.load("out/preprocessing.json")
    answers = prepare.answers(model.predict(prepare.features(rows), verbose=0))
    assert np.mean(np.array(answers) == rows["kind"]) > 0.8

    page = Path("out/report.html")
    page.unlink()
    table = run("report", "out").stdout
    assert "flowers.csv" in page.read_text()
    assert "* " in table
    assert table.endswith("Report: out/report.html\n")


@pytest.mark.usefixtures("no_pictures")
def test_compare_tells_what_it_does_within_80_columns(flowers: Path):
    result = run("compare", flowers, "--target", "length", "--epochs", 6, "--seeds", 1)
    assert result.stdout.startswith("flowers.csv: 160 rows, target 'length'.\n- Task: regression")
    assert "\nNetwork: 3 dense layers" in result.stdout
    assert "\nRange test: " in result.stdout
    assert "runs/flowers-length/report.html" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stderr == ""


def test_how_long_adds_a_curve_and_what_more_steps_would_bring(flowers: Path):
    words = ["--target", "kind", "--policies", "fixed", "--epochs", 3, "--seeds", 1, "--out", "out"]
    first = run("compare", flowers, *words, "--how-long").stdout
    assert "How long to train: one more network in 3 cycles, 12 steps in all." in first
    assert re.search(r"\nsteps +accuracy +80 % interval +seconds\n3 ", first)
    assert re.search(r"\n12 .*\n24 +about .*\n48 +about ", first)
    assert ", twice the steps, " in " ".join(first.split())
    assert max(map(len, first.splitlines())) <= 80
    assert "How long to train" in Path("out/report.html").read_text()
    kept = cr.HowLong.load("out/how-long/how_long.json")
    assert kept.steps == (3, 6, 12)

    # Again: nothing is trained. Without the option the curve stays; a new beginning removes it.
    again = json.loads(run("compare", flowers, *words, "--how-long", "--json").stdout)
    assert again["how_long"]["seconds"] == list(kept.seconds)
    assert again["longer"] in " ".join(first.split())
    run("compare", flowers, *words, "--overwrite")
    assert not list(Path("out/how-long").iterdir())
    assert "How long to train" not in Path("out/report.html").read_text()


def test_how_long_needs_steps_enough(flowers: Path):
    words = ["--target", "kind", "--policies", "fixed", "--epochs", 1, "--batch-size", 18]
    result = RUNNER.invoke(app, ["compare", str(flowers), *map(str, words), "--how-long"])
    assert result.exit_code == 2
    assert "--how-long needs 8 steps a run. Raise --epochs." in " ".join(result.stderr.split())
    assert list(Path("runs/flowers-kind").iterdir()) == []  # it is said before the first run


def test_how_long_with_another_seed_is_refused_before_the_runs(flowers: Path):
    words = ["--target", "kind", "--policies", "fixed", "--epochs", 3, "--seeds", 1, "--out", "out"]
    run("compare", flowers, *words, "--how-long")
    words = ["compare", flowers, *words, "--seed", 4, "--how-long"]
    result = RUNNER.invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "out/how-long/how_long.json is of seed 0: give --seed 0, or name another folder." in said
    assert [cell.name for cell in Path("out/cells").glob("fixed-*.json")] == ["fixed-0-0.json"]


@pytest.mark.usefixtures("no_pictures")
def test_quiet_prints_the_result_only(flowers: Path):
    words = ["--target", "kind", "--policies", "fixed", "--epochs", 6, "--seeds", 1, "--quiet"]
    lines = run("compare", flowers, *words).stdout.strip().splitlines()
    assert lines[0].split() == ["policy", "accuracy", "to", "reach", "loss", "steps", "seconds"]
    assert lines[-1] == "Report: runs/flowers-kind/report.html"
    assert Comparison.load("runs/flowers-kind").range_tests == {}


@pytest.mark.usefixtures("no_pictures")
def test_without_an_answer_from_the_range_test_only_the_fixed_rate_runs(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
):
    flat = range_result(flat=True)
    assert flat.max_lr is None
    from cyclerate.compare._keras_learner import KerasLearner

    monkeypatch.setattr(KerasLearner, "range_test", lambda *_, **__: flat)
    out = run("compare", flowers, "--target", "kind", "--epochs", 6, "--seeds", 1).stdout
    assert (
        "Without a rate from the range test, found, triangular, one_cycle cannot be trained."
        in (" ".join(out.split()))
    )
    record = Comparison.load("runs/flowers-kind")
    assert record.policies == ("fixed",)
    assert record.range_tests == {(0, 0): flat}


@pytest.mark.usefixtures("no_pictures")
def test_without_an_answer_the_policies_run_at_the_rate_to_expect(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
):
    from cyclerate.compare._keras_learner import KerasLearner

    flat = dataclasses.replace(range_result(flat=True), fallback_lr=0.05)
    monkeypatch.setattr(KerasLearner, "range_test", lambda *_, **__: flat)
    words = ["--target", "kind", "--epochs", 6, "--seeds", 1, "--policies", "fixed,one_cycle"]
    out = run("compare", flowers, *words).stdout
    assert "Trained up to 0.05, the rate to expect." in " ".join(out.split())
    assert "cannot be trained" not in out
    record = Comparison.load("runs/flowers-kind")
    assert record.policies == ("fixed", "one_cycle")
    assert record.schedules["one_cycle"].bounds[1] == 0.05


@pytest.mark.usefixtures("no_pictures")
def test_other_settings_in_the_folder_are_refused_by_name(flowers: Path):
    words = ["compare", flowers, "--target", "kind", "--policies", "fixed", "--epochs", 6]
    run(*words, "--seeds", 1)
    folder = Path("runs/flowers-kind")
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    for more, says in (
        (["--batch-size", 16], "batch_size: 32 there, 16 here"),
        (["--optimizer", "adam"], "model.optimizer: "),
    ):
        result = RUNNER.invoke(app, list(map(str, [*words, "--seeds", 1, *more])))
        assert result.exit_code == 2
        assert f"{folder / 'record.json'} was made with other settings" in " ".join(
            result.stderr.split()
        )
        assert says in " ".join(result.stderr.split())
        assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    run(*words, "--seeds", 2)  # more of the same goes on
    assert [cell.seed for cell in Comparison.load(folder).cells] == [0, 1]
    (folder / "record.json").write_text('{"experiment": "cardio"}')
    result = RUNNER.invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    assert "record.json cannot be read" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("no_pictures")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from cyclerate.cli import _compare

    plan = functools.partial(_compare.Plan, epochs=3, seeds=(0,))
    monkeypatch.setattr(_compare, "Plan", plan)
    out = run("demo", "--out", tmp_path / "demo").stdout
    assert "Left out, 0 in every row: pixel_0_0" in out
    assert f"Report: {tmp_path / 'demo' / 'report.html'}" in out
    record = Comparison.load(tmp_path / "demo")
    assert (record.about.data.name, record.about.data.rows) == ("digits", 1797)
    assert record.summary[-1].metric_mean > 0.8


USER_FILE = """
import keras
import numpy as np
from beside import SLOPE

def make():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32") * [2.0, 1.0, 0.5, 0.1]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(), "mse")
    return model, x, x @ np.full((4, 1), SLOPE, "float32")
"""


def test_range_test_of_a_network_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    Path("nets/beside.py").write_text("SLOPE = 2.0\n")
    Path("nets/net.py").write_text(USER_FILE)
    words = ["nets/net.py:make", "--steps", 60, "--start-lr", 1e-5, "--batch-size", 16]
    words += ["--horizon-steps", 50, "--policy", "constant"]
    out = run("range-test", *words).stdout
    result = RangeTestResult.load("range_test/range_test.json")
    assert out.startswith(str(result))
    assert (result.planned_steps, result.lrs[0]) == (60, pytest.approx(1e-5))
    assert "for 50 steps that is" in result.verdict
    assert 0.01 < result.max_lr < 2.0
    page = Path("range_test/range_test.html").read_text(encoding="utf-8")
    # The policy and the length that were asked for, up to the rate that was found.
    assert f"keras.optimizers.SGD(learning_rate={float(f'{result.max_lr:.3g}')!r})" in page
    assert '"steps":50' in page
    # What the file prints is no part of the document.
    printing = USER_FILE.replace("    return model", "    model.summary()\n    return model")
    Path("nets/net.py").write_text(printing + 'print("it is read")\n')
    again = run("range-test", *words, "--method", "range", "--json", "--out", "other")
    assert "it is read" in again.stderr
    alone = json.loads(again.stdout)
    assert (alone["method"], alone["losses"]) == ("range", result.losses.tolist())


TORCH_FILE = """
import lightning.pytorch as pl
import torch

x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
y = x @ torch.full((4, 1), 2.0)

def make():
    model = torch.nn.Linear(4, 1)
    return model, torch.optim.SGD(model.parameters(), momentum=0.5), torch.nn.MSELoss(), (x, y)

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Linear(4, 1)

    def training_step(self, batch):
        return torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches == 50
        return torch.optim.Adam(self.parameters(), weight_decay=0.1)

    def on_train_epoch_end(self):
        raise AssertionError("it trains")

def module():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    return Module(), loader

class WithData(Module):
    def train_dataloader(self):
        return module()[1]
"""


@pytest.mark.parametrize(
    ("function", "options", "optimizer"),
    [
        ("make", ["--batch-size", "16"], "SGD(model.parameters(), lr=schedule(0), momentum=0.5)"),
        ("module", [], "Adam(model.parameters(), lr=schedule(0), weight_decay=0.1)"),
        ("WithData", ["--json"], "Adam("),
    ],
)
def test_range_test_of_pytorch_and_lightning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, options: list[str], optimizer
):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(TORCH_FILE)
    words = [f"net.py:{function}", "--method", "range", "--steps", 40, "--horizon-steps", 50]
    run("range-test", *words, "--start-lr", 1e-4, *options)
    result = RangeTestResult.load("range_test/range_test.json")
    assert (result.planned_steps, len(result.lrs) > 10) == (40, True)
    page = Path("range_test/range_test.html").read_text(encoding="utf-8")
    assert optimizer in page


def test_the_rows_of_a_batch_are_those_of_the_modules_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(TORCH_FILE)
    refused = RUNNER.invoke(app, ["range-test", "net.py:module", "--batch-size", "16"])
    assert refused.exit_code == 2
    assert "--batch-size must be left out: the module's data have one" in refused.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--metric", "f1"), ("--start-lr", -1), ("--method", "guess")]
)
def test_range_test_refuses_what_the_library_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: object
):
    monkeypatch.chdir(tmp_path)
    Path("beside.py").write_text("SLOPE = 2.0\n")
    Path("net.py").write_text(USER_FILE)
    result = RUNNER.invoke(app, ["range-test", "net.py:make", option, str(value)])
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert option.lstrip("-").replace("-", "_") in result.stderr


def wait_for_a_run(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits until the record has a run: it is written a moment after the cell's own file."""
    record = folder / "record.json"
    for _ in range(1200):
        if process.poll() is not None or (record.exists() and Comparison.load(record).cells):
            return
        time.sleep(0.05)


def start(*words: str, cwd: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*COMMAND, *words], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_ctrl_c_keeps_what_is_done_and_exits_130(flowers: Path, tmp_path: Path):
    words = ["--target", "kind", "--policies", "fixed", "--epochs", "6", "--seeds", "500"]
    with start("compare", str(flowers), *words, "--out", "out", cwd=tmp_path) as process:
        try:
            wait_for_a_run(tmp_path / "out", process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, err.decode()
    assert err.decode() == "cyclerate: interrupted; what was finished is kept.\n"
    assert b"\x1b" not in out
    assert Comparison.load(tmp_path / "out").cells[0].policy == "fixed"


def sound(folder: Path) -> list[dict[str, Any]]:
    """The runs of a record but for their seconds."""
    cells = Comparison.load(folder).cells
    return [{k: v for k, v in vars(run).items() if k != "seconds"} for run in cells]


@pytest.mark.usefixtures("no_pictures")
def test_a_run_of_a_worker_that_was_killed_is_done_by_another(flowers: Path, tmp_path: Path):
    words = ["--target", "kind", "--epochs", 6, "--seeds", 8, "--policies", "fixed"]
    run("compare", flowers, *words, "--out", "out")
    alone = sound(Path("out"))
    for cell in Path("out/cells").glob("fixed-*.json"):
        cell.unlink()
    with start("work", "out", cwd=tmp_path) as process:
        try:
            owner = 0
            while owner != process.pid:
                assert process.poll() is None, process.communicate()[1].decode()
                for lock in Path("out/cells").glob("fixed-*.lock"):
                    with contextlib.suppress(FileNotFoundError, ValueError):
                        owner = json.loads(lock.read_text())["process"]
        finally:
            process.kill()
    run("compare", flowers, *words, "--out", "out")
    assert sound(Path("out")) == alone
    assert not list(Path("out").rglob("*.lock"))


@pytest.mark.usefixtures("no_pictures")
def test_workers_are_started_and_ended(flowers: Path, monkeypatch: pytest.MonkeyPatch):
    from cyclerate.cli import _runs

    started: list[subprocess.Popen[bytes]] = []
    commands: list[list[str]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: Any) -> None:
            commands.append(command)
            sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
            super().__init__(sleeping, **options)
            started.append(self)

    monkeypatch.setattr(_runs.subprocess, "Popen", Popen)
    monkeypatch.setattr(_runs, "_SECONDS_TO_SEE", 0.1)
    words = ["--target", "kind", "--epochs", 6, "--seeds", 1, "--policies", "fixed"]
    run("compare", flowers, *words, "--workers", 3)
    assert [command[-4:] for command in commands] == [
        ["work", "--quiet", "--", "runs/flowers-kind"]
    ] * 2
    assert [one.returncode for one in started] == [-signal.SIGTERM] * 2
    run("compare", flowers, *words)
    assert len(started) == 2


def test_workers_end_with_the_command_that_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from cyclerate.cli import _runs
    from cyclerate.cli._console import heard

    started: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__([*command[:2], "import time; time.sleep(600)"], **options)
            started.append(self)

    def told_to_end() -> None:
        with heard(), _runs._workers(tmp_path, 2):
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL  # or this ends the tests
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(_runs.subprocess, "Popen", Popen)
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            told_to_end()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert ended.value.code == 143
    assert [one.returncode for one in started] == [-signal.SIGTERM] * 2


@pytest.mark.usefixtures("no_pictures")
def test_work_joins_a_comparison_and_runs_what_is_left(flowers: Path):
    out = Path("runs/flowers-kind")
    words = ["--target", "kind", "--epochs", 6, "--seeds", 2, "--policies", "fixed,one_cycle"]
    run("compare", flowers, *words)
    before = sound(out)
    record = (out / "record.json").read_bytes()
    assert run("work", out).stdout == f"Trained 0 runs here; all of {out} are finished.\n"
    for name in ("fixed-1-0", "one_cycle-0-0"):
        (out / "cells" / f"{name}.json").unlink()
    flowers.rename("elsewhere.csv")
    result = RUNNER.invoke(app, ["work", str(out)])
    assert result.exit_code == 2
    assert "flowers.csv here: name the table with --data." in " ".join(result.stderr.split())
    again = run("work", out, "--data", "elsewhere.csv").stdout
    assert again == f"Trained 2 runs here; all of {out} are finished.\n"
    assert (out / "record.json").read_bytes() == record  # it is kept by who compares
    Path("elsewhere.csv").rename(flowers)
    run("compare", flowers, *words)
    assert sound(out) == before


@pytest.mark.usefixtures("no_pictures")
def test_another_target_in_the_folder_is_refused_by_its_name(flowers: Path):
    words = ["--policies", "fixed", "--epochs", 6, "--seeds", 1, "--out", "out"]
    run("compare", flowers, "--target", "kind", *words)
    plan = Path("out/plan.json").read_bytes()
    words = list(map(str, ["compare", flowers, "--target", "soil", "--drop", "kind", *words]))
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "out/plan.json was made with other settings" in said
    assert 'target: "kind" there, "soil" here' in said
    assert 'drop: [] there, ["kind"] here' in said
    assert Path("out/plan.json").read_bytes() == plan


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "holds no plan.json: begin there with `cyclerate compare ... --out out`"),
        ("{", "out/plan.json holds no plan: it is not JSON"),
        ('{"schema": 1, "command": "", "epochs": 0}', "--epochs must be a whole number >= 1"),
        ('{"schema": 1, "command": "", "optimizer": "os"}', "--optimizer must be one of"),
        ('{"schema": 1, "command": "", "code": "print()"}', "the plan must be made of command"),
        ('{"schema": 1, "command": "", "policies": ["a.b:c"]}', "policies must be"),
        ('{"schema": 1, "command": "", "data": 5}', "data must be text"),
    ],
)
def test_work_takes_nothing_but_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    if content is not None:
        Path("out/plan.json").write_text(content)
    result = RUNNER.invoke(app, ["work", "out"])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert RUNNER.invoke(app, ["work", "nowhere"]).exit_code == 2


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path):
    process = start("compare", "nothing.csv", "--target", "y", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert err.decode() == "cyclerate: There is no file nothing.csv. Check the path.\n"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    from cyclerate import cli

    def missing(module: str, extra: str) -> Callable[[], None]:
        raise cli.MissingExtra(f"this needs {module}. Run: pip install 'cyclerate[{extra}]'")

    monkeypatch.setattr(cli, "require", missing)
    with pytest.raises(SystemExit, match=r"cyclerate: this needs typer.*cyclerate\[cli\]"):
        cli.main()


def test_design_writes_a_page_and_says_where(tmp_path: Path):
    file = tmp_path / "new" / "design.html"
    words = ["--policy", "triangular", "--max-lr", 0.08, "--steps", 800, "--out", file]
    out = run("design", *words).stdout
    assert out.endswith(f"Page: {file}\n") or str(file) in "".join(out.split("\n"))
    page = file.read_text(encoding="utf-8")
    assert "schedule = cr.Triangular(base_lr=0.02, max_lr=0.08, step_size=100)" in page
    assert run("design", *words, "--quiet").stdout == f"Page: {file}\n"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--policy", "wave"),
        ("--max-lr", 0),
        ("--base-lr", 0.2),
        ("--steps", 0),
        ("--out", "page.txt"),
    ],
)
def test_design_refuses_by_the_name_of_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: object
):
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["design", option, str(value)])
    assert result.exit_code == 2
    assert option in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("policy", list(OFFERED))
@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_design_knows_every_policy_of_its_page(tmp_path: Path, policy: str, steps: int):
    file = tmp_path / "design.html"
    run("design", "--policy", policy, "--steps", steps, "--out", file)
    begins = json.loads(re.findall(r'id="data">(.*?)</script>', file.read_text())[0])["design"]
    assert (begins["policy"], begins["steps"]) == (policy, steps)
    assert begins["max_lr"] == 0.1
