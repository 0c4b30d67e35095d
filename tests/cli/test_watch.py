"""The live page: what it shows of a folder that grows, and whom it answers."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import cyclerate as cr
from cyclerate._errors import MissingExtra
from cyclerate._files import Reader
from cyclerate._trackers import tell_found, tell_steps
from cyclerate.cli._console import Mistake
from cyclerate.cli._watch import View, serving
from cyclerate.compare._cells import Cell, Folder
from cyclerate.compare._record import Run
from cyclerate.compare._wording import MISSING
from tests.compare.browser import AXE, CHROMIUM, DRIVER, chromium
from tests.compare.records import Made, raced

pytest.importorskip("uvicorn", reason="needs the extra watch")
pytest.importorskip("starlette", reason="needs the extra watch")

SPEEDS = {"fixed": 0.35, "triangular": 5.0}
EVIL = '<script>alert("x")</script>'


class Growing:
    """The folder of a comparison of two policies and two seeds, whose runs are made up."""

    def __init__(self, root: Path, **about: Any) -> None:
        self.root = root
        self.made: Made = raced(SPEEDS, seeds=(0, 1), points=40, **about)
        dataclasses.replace(self.made, cells=()).save(root / "record.json")

    def _run(self, policy: str, seed: int) -> Run:
        return next(r for r in self.made.cells if (r.policy, r.seed) == (policy, seed))

    def finish(self, policy: str, seed: int) -> None:
        cell = Cell(f"cells/{policy}-{seed}-0", {"policy": policy})
        Folder(self.root).save(cell, {"run": vars(self._run(policy, seed)), "metric": "accuracy"})

    @contextmanager
    def at_work(self, policy: str, seed: int, points: int) -> Generator[None]:
        """A run that somebody is at, so many evaluations far."""
        run, folder = self._run(policy, seed), Folder(self.root)
        curves = ("steps", "train_loss", "heldout_loss", "heldout_metric")
        part = {name: getattr(run, name)[:points] for name in curves}
        cell = Cell(f"cells/{policy}-{seed}-0", {})
        step = part["steps"][-1] + 17  # of an epoch that is not over
        told = {"run": {**vars(run), **part}, "total_steps": 8000, "step": step, "rate": 0.0625}
        with folder.locked(cell):
            folder.progress(cell).tell(lambda: told)
            yield
        folder.progress(cell).remove()


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def state(folder: Path) -> dict[str, Any]:
    return json.loads(View(Reader(folder)).told())


def test_a_run_is_seen_from_waiting_to_its_end(growing: Growing):
    view = View(Reader(growing.root))
    first = json.loads(view.told())
    assert first["said"] == "0 of 4 runs finished, none at work."
    assert [row[2] for row in first["rows"]] == ["waiting"] * 4
    assert first["curves"] is None
    with growing.at_work("triangular", 1, 10):
        running = json.loads(view.told())
        policy, seed, how, steps, rate, loss, accuracy, who = running["rows"][3]
        assert (policy, seed, how, steps, rate) == (
            *("triangular", "1", "running", "2,017 of 8,000", "0.0625"),
        )
        at = growing._run("triangular", 1)
        assert float(loss) == pytest.approx(at.heldout_loss[9], abs=1e-3)
        assert accuracy == f"{100 * at.heldout_metric[9]:.1f} %"
        assert who.endswith(f", process {os.getpid()}")
        assert running["done"] == [2017, 32000]
        (drawn,) = running["curves"]["quantities"][0]["policies"][1]["runs"]
        assert (len(drawn["x"]), drawn["running"]) == (10, True)
    growing.finish("triangular", 1)
    after = json.loads(view.told())
    assert after["said"] == "1 of 4 runs finished, none at work."
    assert after["rows"][3][2:5] == ["finished", "8,000 of 8,000", MISSING]
    assert len({one["key"] for one in (first, running, after)}) == 2  # with its first curve


def test_a_worker_that_is_gone_is_told_from_one_at_work(growing: Growing):
    code = (
        "import sys, os\n"
        "from cyclerate.compare._cells import Cell, Folder\n"
        "lock = Folder(sys.argv[1]).locked(Cell('cells/fixed-0-0', {}))\n"
        "lock.__enter__()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(growing.root)], check=False)
    assert state(growing.root)["rows"][0][2] == "interrupted"


def test_a_folder_that_is_emptied_or_hostile_is_shown_as_it_is(growing: Growing, tmp_path: Path):
    growing.finish("fixed", 0)
    view = View(Reader(growing.root))
    assert json.loads(view.told())["said"].startswith("1 of 4")
    for file in ("record.json", "cells/fixed-0-0.json"):
        (growing.root / file).unlink()
    assert json.loads(view.told())["said"] == "Nothing has begun here."
    for text in ("[]", "{}", "nonsense", '{"policies": 5, "seeds": "many", "data": []}', "null"):
        for name in ("record.json", "plan.json", "progress.json", "cells/fixed-0-0.json"):
            (growing.root / name).write_text(text)
        (growing.root / "cells" / "fixed-0-0.lock").write_text(text)
        assert json.loads(view.told())["rows"][0][2] in ("interrupted", "running")
        assert "<h1" in view.page()


def test_no_link_leads_out_of_the_folder(growing: Growing, tmp_path_factory: Any):
    other = Growing(tmp_path_factory.mktemp("other"))
    other.finish("fixed", 0)
    (growing.root / "cells").symlink_to(other.root / "cells")
    assert state(growing.root)["rows"][0][2] == "waiting"
    (growing.root / "cells").unlink()
    (growing.root / "cells").mkdir()
    (growing.root / "cells" / "fixed-0-0.json").symlink_to(other.root / "cells/fixed-0-0.json")
    os.mkfifo(growing.root / "cells" / "fixed-1-0.json")
    assert [row[2] for row in state(growing.root)["rows"]][:2] == ["waiting"] * 2


def test_what_a_folder_says_is_text(tmp_path: Path):
    growing = Growing(tmp_path, title=EVIL)
    growing.finish("fixed", 0)
    with cr.tracking(tmp_path):
        tell_steps(EVIL, {EVIL: [1.0, 0.5]})
        tell_found(EVIL, {EVIL: EVIL})
    page = View(Reader(tmp_path)).page()
    assert EVIL not in page
    assert page.count("&lt;script&gt;") > 5
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', page)
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; "
        r"script-src 'sha256-[\w+/=]+' 'nonce-[\w-]+'",
        policy,
    )


def test_a_training_tells_a_folder_how_far_it_is(tmp_path: Path):
    with cr.tracking(tmp_path / "mine"):
        tell_steps("training", {"loss": [1.0, float("nan"), 0.5], "learning_rate": [0.1] * 3})
        tell_steps("training", {"loss": [0.25], "learning_rate": [0.2]}, first_step=3)
        tell_found("cycle", {"max_lr": 0.3, "verdict": "found"})
    told = state(tmp_path / "mine")
    assert told["said"] == "A training, at step 3: loss 0.25, learning_rate 0.2."
    assert told["found"] == [["cycle: max_lr", "0.3"], ["cycle: verdict", "found"]]
    loss, rate = told["lines"]
    assert (loss["title"], loss["x"], loss["y"]) == ("training: loss", [0, 2, 3], [1, 0.5, 0.25])
    assert rate["y"] == [0.1, 0.1, 0.1, 0.2]
    assert "training: learning_rate" in View(Reader(tmp_path / "mine")).page()


def ask(
    address: str, path: str | None = None, *, host: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer."""
    parts = urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as line:
        own = f"{parts.path}?{parts.query}"
        line.request(method, own if path is None else path, headers={"Host": host or parts.netloc})
        answer = line.getresponse()
        text = "" if "event-stream" in answer.headers["content-type"] else answer.read().decode()
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, text


def test_only_who_has_the_token_is_answered_and_only_on_this_machine(growing: Growing):
    with serving(growing.root) as (address, _):
        assert urlsplit(address).hostname == "127.0.0.1"
        port, (token,) = urlsplit(address).port, parse_qs(urlsplit(address).query)["token"]
        assert len(token) >= 32
        status, headers, text = ask(address)
        assert (status, "0 of 4 runs finished" in text) == (200, True)
        assert ask(address, host=f"localhost:{port}")[0] == 200
        assert "access-control-allow-origin" not in headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        for wrong in ("/", "/?token=", "/?token=x", f"/?token={token}x", "/events", "/record.json"):
            status, _, text = ask(address, wrong)
            assert (status, "of 4 runs" in text) == (403, False), wrong
        assert ask(address, f"/?token={token[:-1]}%C3%A9")[0] == 403
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            status, _, text = ask(address, host=host or " ")
            assert (status, "of 4 runs" in text) == (400, False), host
        for path in ("/record.json", "/cells/", "/..%2f..%2fetc/passwd"):
            assert ask(address, f"{path}?token={token}")[0] == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(address, method=method)[0] == 405


def test_a_table_whose_name_is_not_utf8_is_shown(tmp_path: Path):
    growing = Growing(tmp_path, title=os.fsdecode(b"\xe9l.csv"))
    with serving(growing.root) as (address, _):
        status, _, text = ask(address)
    assert (status, "\\udce9l.csv" in text) == (200, True)


def test_events_tell_what_changes(growing: Growing):
    with serving(growing.root) as (address, _), ExitStack() as stack:
        parts = urlsplit(address)
        line = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
        stack.callback(line.close)
        line.request("GET", f"/events?{parts.query}")
        answer = line.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")

        def event() -> dict[str, Any]:
            for text in iter(answer.readline, b""):
                if text.startswith(b"data: "):
                    return json.loads(text[6:])
            raise AssertionError("the events have ended")

        assert event()["rows"][0][2] == "waiting"
        growing.finish("fixed", 0)
        assert event()["rows"][0][2] == "finished"
        began = time.monotonic()
    assert time.monotonic() - began < 20  # it does not wait for who listens


def test_a_port_that_is_taken_is_named(growing: Growing):
    with serving(growing.root) as (address, _):
        port = urlsplit(address).port or 0
        with (
            pytest.raises(Mistake, match=f"--port {port} cannot be used"),
            serving(growing.root, port),
        ):
            pass


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_without_the_extra_it_is_named(
    growing: Growing, monkeypatch: pytest.MonkeyPatch, missing: str
):
    monkeypatch.setitem(sys.modules, missing, None)
    told = rf"needs {missing}, .* pip install 'cyclerate\[watch\]'"
    with pytest.raises(MissingExtra, match=told), serving(growing.root):
        pass


def test_ctrl_c_ends_the_command_well(growing: Growing):
    command = [sys.executable, "-c", "from cyclerate.cli import main; main()", "watch"]
    with subprocess.Popen(
        [*command, str(growing.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        said = watching.stdout.readline()
        address = said.rpartition(" ")[2].strip()
        assert ask(address)[0] == 200
        watching.send_signal(signal.SIGINT)
        out, err = watching.stdout.read(), watching.stderr and watching.stderr.read()
    assert (watching.returncode, err) == (0, "")
    assert out == "Ctrl-C ends it.\nEnded; the runs go on.\n"
    assert said.startswith(f"Watching {growing.root}: http://127.0.0.1:")


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
def test_the_page_follows_a_folder_by_itself(growing: Growing, tmp_path_factory: Any):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

    with ExitStack() as stack:
        browser = stack.enter_context(chromium(webdriver, tmp_path_factory.mktemp("profile")))

        def shows(*words: str) -> None:
            until, text = time.monotonic() + 20, ""
            while time.monotonic() < until:
                text = browser.run("return document.body.innerText")
                if all(word in text for word in words):
                    return
                time.sleep(0.1)
            raise AssertionError(text)

        stopping = stack.enter_context(ExitStack())
        address, _ = stopping.enter_context(serving(growing.root))
        browser.driver.get(address)
        shows("0 of 4 runs finished", "waiting")
        with growing.at_work("fixed", 0, 10):
            shows("running", "2,017 of 8,000", "0.0625", f"process {os.getpid()}")
        for policy in SPEEDS:
            for seed in (0, 1):
                growing.finish(policy, seed)
        shows("All 4 runs are finished.")
        drawn = (
            "return document.querySelectorAll('[data-figure=learning_curves_loss] polyline').length"
        )
        assert browser.run(drawn) == 4 + 2
        for file in (growing.root / "cells").glob("*.json"):  # another run begins
            file.unlink()
        shows("0 of 4 runs finished, none at work.")
        assert not AXE.is_file() or browser.violations() == []
        complaints = [one for one in browser.complaints() if "favicon" not in one]
        assert complaints == []
        stopping.close()  # the server ends
        shows("Nobody answers: trying again every second.")
