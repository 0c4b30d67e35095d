"""A user's mistake ends with exit code 2 and a message that says what to do; no traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cyclerate._errors import MissingExtra
from cyclerate.cli._app import app
from cyclerate.cli._console import Boundary, Console, Mistake, asking, heard, let_through
from cyclerate.compare._cells import Cell, Folder

RUNNER = CliRunner()
ROWS = "".join(f"{i % 7 - 3},{i % 5},{i % 2}\n" for i in range(60))


def run(*words: object, cwd: Path | None = None):
    return RUNNER.invoke(app, [str(word) for word in words])


def flat(text: str) -> str:
    """A message without the line breaks that 80 columns need."""
    return " ".join(text.split())


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "good.csv"
    file.write_text("a,b,y\n" + ROWS)
    return file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "z"], "has no column 'z'. Columns: a, b, y."),
        (["--target", "Y"], "has no column 'Y'. Did you mean 'y'?"),
        (["--target", "y", "--drop", "c"], "has no column 'c'"),
        (["--target", "y", "--sep", ";"], "only one column (a,b,y) with the separator ';'"),
        (["--target", "y", "--sep", "ab"], "sep must be one character"),
        (
            ["--target", "y", "--policies", "fixed,magic"],
            "policies must be one of 'fixed', 'found'",
        ),
        (["--target", "y", "--policies", ","], "policies must be some of fixed"),
        (["--target", "y", "--epochs", "0"], "--epochs must be a whole number >= 1. Received: 0"),
        (["--target", "y", "--epochs", "-3"], "--epochs must be a whole number >= 1. Received: -3"),
        (["--target", "y", "--epochs", "2.5"], "Invalid value for '--epochs'"),
        (["--target", "y", "--seeds", "0"], "--seeds must be a whole number >= 1"),
        (["--target", "y", "--seed", "-1"], "--seed must be a whole number >= 0"),
        (["--target", "y", "--batch-size", "0"], "--batch-size must be a whole number >= 1"),
        (["--target", "y", "--hidden", "64,x"], "--hidden must be whole numbers with commas"),
        (["--target", "y", "--hidden", "0"], "--hidden must be a whole number >= 1"),
        (["--target", "y", "--optimizer", "SGDD"], "--optimizer must be one of 'sgd', 'momentum'"),
        (["--target", "y", "--metric", "f1"], "--metric must be one of 'accuracy'"),
        (
            ["--target", "y", "--target-transform", "sqrt"],
            "--target-transform must be one of 'none'",
        ),
        (["--target", "y", "--target-transform", "log"], "is for numbers, not for classes"),
        (
            ["--target", "a", "--target-transform", "log", "--task", "regression"],
            "needs 'a' above 0 in every row",
        ),
        (["--target", "y", "--task", "rank"], "--task must be one of 'classification'"),
        (["--target", "y", "--out", "good.csv"], "--out: good.csv is a file: name a folder"),
        (["--target", "y", "--out", "good.csv/x"], "--out: good.csv/x cannot be written to"),
        ([], "Missing option '--target'"),
    ],
)
def test_a_wrong_argument(csv: Path, words: list[str], says: str):
    result = run("compare", csv, *words)
    assert result.exit_code == 2
    assert says in flat(result.stderr)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"a,b,y\n", "has a header (a, b, y) but no rows"),
        (b"\x00\x01\x02" * 50, "is not text"),
        (b"a\n1\n2\n", "has only one column (a)"),
        (b"a,b,y\n1,2,3\n1,2,3,4\n", "is not a regular table"),
        (b"a,b,y\n" + b"1,2,1\n" * 30, "'y' is 1 in every row"),
        (b"a,b,y\n" + b"1,2,\n" * 30 + b"1,2,1\n2,3,0\n", "missing in 30 rows of 32"),
        (b"a,b,y\n1,2,1\n2,3,0\n" * 1, "needs 2 classes of at least 5 rows"),
        (b"a,b,y\n" + b"1,2,1\n2,3,0\n" * 6, "12 usable rows: too few"),
        (b"a,b,y\n" + b"1,2,1\n1,2,0\n" * 20, "no column left to learn 'y' from"),
    ],
)
def test_a_file_that_cannot_be_used(csv: Path, content: bytes | None, says: str):
    file = csv.with_name("bad.csv")
    if content is not None:
        file.write_bytes(content)
    result = run("compare", file, "--target", "y")
    assert result.exit_code == 2
    assert says in flat(result.stderr)
    assert result.stdout == ""


def test_a_folder_instead_of_a_file(csv: Path):
    result = run("compare", csv.parent, "--target", "y")
    assert result.exit_code == 2
    assert "is a folder, not a CSV file. It holds good.csv" in flat(result.stderr)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["."], "holds no record.json: name the --out folder of a comparison"),
        (["broken"], "holds no record: it is not JSON (line 1, column 2)"),
        (["old"], "holds no record: schema must be 2. Received: 0"),
    ],
)
def test_a_report_of_nothing(csv: Path, words: list[str], says: str):
    for name, content in (("broken", "{"), ("old", '{"schema": 0}')):
        folder = csv.with_name(name)
        folder.mkdir()
        (folder / "record.json").write_text(content)
    result = run("report", *words)
    assert result.exit_code == 2
    assert says in flat(result.stderr)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a policy first (constant, linear"),
        (["--max-lr", "1", "triangular"], "name a policy first"),
        (["trianglar"], "there is no policy 'trianglar'. Did you mean triangular"),
        (["triangular", "--base-lr", "1"], "Triangular also needs --max-lr, --step-size."),
        (["triangular", "--speed", "1"], "Triangular does not know --speed. Its arguments:"),
        (["triangular", "--base-lr"], "--base-lr needs a value"),
        (["constant", "--value", "-1"], "value must be"),
        (["constant", "--value", "0.1", "--steps", "0"], "--steps must be a whole number >= 1"),
        (["constant", "--value", "0.1", "-o", "a.txt"], "--output must be the name of a .png file"),
        (["constant", "--value", "0.1", "-o", "good.csv/a.png"], "--output: good.csv is a file"),
        (["--json", "{"], "--json is not JSON"),
        (["--json", "{}"], "type must be one of 'Constant'"),
        (["--json", "{}", "--value", "1"], "with --json there are no other arguments"),
        (["constant", "--json", "{}"], "or describe a schedule with --json"),
    ],
)
def test_a_schedule_that_cannot_be_drawn(csv: Path, words: list[str], says: str):
    result = run("plot", *words)
    assert result.exit_code == 2
    assert says in flat(result.stderr)
    assert sorted(path.name for path in csv.parent.iterdir()) == ["good.csv"]


USER_FILE = """
class Model:
    optimizer = None
    def train_on_batch(self): ...

def nothing(): return None
def no_model(): return 1, 2, 3
def no_data(): return Model()
def torch_model():
    import torch
    return torch.nn.Linear(1, 1), 2, 3
def not_compiled(): return Model(), 2, 3
def fails():
    return 1 / 0
def takes(size, *more, depth=2): return Model(), 2, 3
def torch_short(): return torch_model()[:3]
"""


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("net.py", "name a function in a file, as my_net.py:make"),
        ("net.txt:make", "name a function in a file"),
        ("nett.py:make", "there is no file nett.py. Did you mean net.py"),
        ("net.py:make", "has no function 'make'. It has Model, nothing, no_model"),
        ("net.py:no_data", "It returned 0 values beside the model"),
        ("net.py:torch_model", "(model, optimizer, loss_fn, data); or a LightningModule"),
        ("net.py:nothing", "must return a compiled Keras model and its data: (model, x, y)"),
        ("net.py:no_model", "The first value is int, not a model"),
        ("net.py:not_compiled", "The model has no optimizer: call model.compile(...) first"),
        ("net.py:nothing", "It returned nothing: does it end with `return`?"),
        ("net.py:takes", "net.py:takes is called without arguments, but wants size: give defaults"),
        ("net.py:torch_short", "It returned 2 values beside the model, and PyTorch needs three"),
        ("net.py:fails", "failed at line 14: return 1 / 0 ZeroDivisionError: division by zero"),
        ("broken.py:make", "failed SyntaxError"),
        ("exits.py:make", "failed at line 1: raise SystemExit(7) SystemExit: 7"),
    ],
)
def test_a_file_that_gives_no_network(csv: Path, place: str, says: str):
    csv.with_name("net.py").write_text(USER_FILE)
    csv.with_name("broken.py").write_text("def make(:\n")
    csv.with_name("exits.py").write_text("raise SystemExit(7)\n")
    result = run("range-test", place)
    assert result.exit_code == 2
    assert says in flat(result.stderr)


def boundary(error: BaseException) -> typer.Typer:
    inner = typer.Typer(cls=Boundary)

    @inner.callback()
    def group() -> None:
        """A group, so that the command keeps its name."""

    @inner.command()
    def fail() -> None:
        raise error

    return inner


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Mistake("do this"), 2, "cyclerate: do this"),
        (MissingExtra("pip install x"), 2, "cyclerate: pip install x"),
        (KeyboardInterrupt(), 130, "cyclerate: interrupted; what was finished is kept."),
        (OSError(28, "No space left on device", "a.json"), 1, "a.json: No space left on device."),
        (ValueError("broken inside"), 1, "this is a fault in cyclerate"),
    ],
)
def test_exit_codes(error: BaseException, code: int, says: str):
    result = RUNNER.invoke(boundary(error), ["fail"])
    assert result.exit_code == code
    assert says in flat(result.stderr)
    # Only our own fault shows where it happened.
    assert ("Traceback" in result.stderr) == ("fault in cyclerate" in says)


def test_a_refused_value_is_the_users_mistake_while_asking():
    with pytest.raises(Mistake, match="too low"), asking():
        raise ValueError("too low")


@pytest.mark.parametrize(
    ("number", "usual", "raised", "code"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt, None),
        (signal.SIGTERM, signal.SIG_DFL, SystemExit, 143),
    ],
)
def test_an_interrupt_that_was_lost_is_raised_again(
    number: int, usual: Any, raised: type[BaseException], code: int | None
):
    previous = signal.signal(number, usual)
    try:
        with heard():
            let_through()
            assert signal.getsignal(number) != usual  # or the next line ends the tests
            with pytest.raises(raised):
                signal.raise_signal(number)  # and now it is lost
            with pytest.raises(raised) as again:
                let_through()
            assert getattr(again.value, "code", None) == code
        let_through()
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, previous)


def test_an_interrupt_in_a_destructor_is_told_by_no_traceback(monkeypatch: pytest.MonkeyPatch):
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_type))

    class Ended:
        def __init__(self, how: Any) -> None:
            self.how = how

        def __del__(self) -> None:
            self.how()

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with heard():
            Ended(lambda: 1 / 0)
            Ended(lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                let_through()
    finally:
        signal.signal(signal.SIGINT, previous)
    assert told == [ZeroDivisionError]


@pytest.mark.parametrize("place", ["cells/fixed-0-0", "range_tests/one_cycle-0-0"])
def test_what_another_process_works_on_is_not_overwritten(csv: Path, place: str):
    out = csv.parent / "out"
    with Folder(out).locked(Cell(place, {})):
        (out / "record.json").write_text("{}")
        result = run("compare", csv, "--target", "y", "--out", "out", "--overwrite")
        assert result.exit_code == 2
        assert f"process {os.getpid()} is at work in out: end it, or name" in flat(result.stderr)
        assert [(out / name).exists() for name in (f"{place}.lock", "record.json")] == [True, True]


def test_a_name_moves_no_cursor_and_turns_no_line(capsys: pytest.CaptureFixture[str]):
    console, name = Console(), "\x1b[2J\u202ey\u2069 \x9b1m"
    console.say(name)
    console.result(f"{name}\n  a   b")
    seen = "\ufffd[2J\ufffdy\ufffd \ufffd1m"
    assert capsys.readouterr().out == f"{seen}\n{seen}\n  a   b\n"
    assert seen in RUNNER.invoke(boundary(Mistake(f"no column {name}")), ["fail"]).stderr


def test_what_the_encoding_of_a_pipe_lacks_ends_no_command(monkeypatch: pytest.MonkeyPatch):
    for as_json in (False, True):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
        console = Console(as_json=as_json)
        console.result("73.4 % \N{PLUS-MINUS SIGN} 0.1")
        console.document({"name": "\N{GREEK SMALL LETTER ALPHA}"})
        sys.stdout.flush()
        if as_json:
            assert json.loads(written.getvalue()) == {"name": "\N{GREEK SMALL LETTER ALPHA}"}
        else:
            assert written.getvalue() == b"73.4 % \\xb1 0.1\n"


def test_r2_of_held_out_targets_that_are_all_equal_is_refused(csv: Path):
    csv.write_text("a,y\n" + "".join(f"{i % 7},{0.5 * (i == 1)}\n" for i in range(60)))
    result = run("compare", csv, "--target", "y", "--task", "regression", "--metric", "r2")
    assert result.exit_code == 2
    assert "'y' is the same in all 12 held-out rows. Try --metric rmse" in flat(result.stderr)


def test_sigterm_while_the_file_of_the_user_runs_is_no_mistake_of_the_file(csv: Path):
    (csv.parent / "net.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        result = run("range-test", "net.py:make")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert (result.exit_code, result.stderr) == (143, "")
