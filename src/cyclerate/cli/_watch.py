"""`cyclerate watch`: what the runs of a folder are doing, on a live page for this machine alone.

A server on 127.0.0.1 reads the files of that folder and no others; it writes nothing, and runs
nothing that lies there. Its address has a token, without which it answers nothing, and so has no
page of another site; a foreign name that leads to it (DNS rebinding) is refused. What changes is
sent to the page as server-sent events.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cyclerate._errors import check_count, count, require
from cyclerate._files import PROGRESS, Reader, built
from cyclerate._plain import digest
from cyclerate._svg import number
from cyclerate._theme import CSS, styles
from cyclerate._trackers import told_in
from cyclerate.cli._console import Console, Mistake, asking
from cyclerate.cli._plan import FILE as PLAN, plan_of
from cyclerate.compare import _cells
from cyclerate.compare._answer import Answer
from cyclerate.compare._comparison import FILE_NAME as RECORD, Comparison
from cyclerate.compare._curves import curves
from cyclerate.compare._figures import Figure, learning_curves, range_test, told_line
from cyclerate.compare._numbers import curve_numbers, line_numbers
from cyclerate.compare._page import embedded, fill
from cyclerate.compare._record import Going, Run, final
from cyclerate.compare._wording import MISSING, Numbers, rate, whole
from cyclerate.finder import RangeTestResult

HOST = "127.0.0.1"
_NAMES = [HOST, "localhost"]  # by which a browser may ask
_LOOK_SECONDS, _BEAT_SECONDS = 1.0, 10.0
_MOST_ASKING = 64  # at the same time
_ENDED = ("finished", "diverged")
_CELL = re.compile(r"(?P<policy>.+)-(?P<seed>\d+)-(?P<fold>\d+)")
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def watch(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder of a comparison or of a training.", show_default=False
        ),
    ],
    *,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1.", show_default="one that is free")] = 0,
) -> None:
    """See on a live page what the runs in DIR are doing, until Ctrl-C.

    The page is for this machine alone, reads DIR and changes nothing.
    """
    with asking():
        check_count("--port", port, low=0, below=2**16)
    if not folder.is_dir():
        raise Mistake(f"there is no folder {folder}. Check the path.")
    console = Console()
    with serving(folder, port) as (address, ended):
        console.result(f"Watching {folder}: {address}\nCtrl-C ends it.")
        with suppress(KeyboardInterrupt):
            ended.wait()
    console.say("Ended; the runs go on.")


@contextmanager
def serving(folder: Path, port: int = 0) -> Generator[tuple[str, threading.Event]]:
    """Serves the page of a folder in a thread, until the block ends.

    Gives its address, and what is set when the server has ended.

    Raises:
        MissingExtra: Starlette or Uvicorn is not installed.
        Mistake: The port is taken.
    """
    uvicorn, token = require("uvicorn", "watch"), secrets.token_urlsafe(24)
    require("starlette", "watch")
    stopping, ended = threading.Event(), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        try:
            door.bind((HOST, port))
        except OSError as error:
            raise Mistake(f"--port {port} cannot be used ({error.strerror}).") from error
        config = uvicorn.Config(
            application(View(Reader(folder.resolve()), str(folder)), token, stopping),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,  # an address has the token in it
            server_header=False,
            limit_concurrency=_MOST_ASKING,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)

        def serve() -> None:
            try:
                server.run(sockets=[door])
            finally:
                ended.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            while not server.started and not ended.wait(0.01):
                pass
            yield f"http://{HOST}:{door.getsockname()[1]}/?token={token}", ended
        finally:
            stopping.set()
            server.should_exit = True
            thread.join()


def application(view: View, token: str, stopping: threading.Event) -> Any:
    """The page and its events, for whoever has the token, under a name of this machine."""
    starlette = require("starlette.applications", "watch")
    responses = require("starlette.responses", "watch")
    routing, middleware = (
        require(f"starlette.{name}", "watch") for name in ("routing", "middleware")
    )
    trusted = require("starlette.middleware.trustedhost", "watch")

    async def page(_request: Any) -> Any:
        text = await asyncio.to_thread(view.page)
        return responses.HTMLResponse(text.encode("utf-8", "backslashreplace"))

    async def events(_request: Any) -> Any:
        return responses.StreamingResponse(_told(view, stopping), media_type="text/event-stream")

    return starlette.Starlette(
        routes=[routing.Route("/", page), routing.Route("/events", events)],
        middleware=[
            middleware.Middleware(
                trusted.TrustedHostMiddleware, allowed_hosts=_NAMES, www_redirect=False
            ),
            middleware.Middleware(_Guard, token=token),
        ],
    )


class _Guard:
    """Answers nothing without the token; and asks browsers to keep what is answered to the page."""

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        requests = require("starlette.requests", "watch")
        responses = require("starlette.responses", "watch")
        given = requests.Request(scope).query_params.get("token", "")
        answer = self._app
        if not secrets.compare_digest(given.encode(errors="replace"), self._token):
            answer = responses.PlainTextResponse("The token is missing, or wrong.\n", 403)

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await answer(scope, receive, send_guarded)


async def _told(view: View, stopping: threading.Event) -> AsyncGenerator[str]:
    """The state now, and each time it has changed; something now and then, to see who is gone."""
    last, quiet = "", 0.0
    yield "retry: 1000\n\n"
    while not stopping.is_set():
        text = await asyncio.to_thread(view.told)
        if text != last:
            yield f"data: {text}\n\n"
            last, quiet = text, 0.0
        elif quiet >= _BEAT_SECONDS:
            yield ": nothing new\n\n"
            quiet = 0.0
        quiet += _LOOK_SECONDS
        until = time.monotonic() + _LOOK_SECONDS
        while time.monotonic() < until and not stopping.is_set():
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class _Row:
    """What is known of one run of a comparison."""

    policy: str
    seed: int
    fold: int
    state: str
    run: Run | None = None  # as far as it is
    step: int = 0  # the latest that is known
    total: int | None = None
    rate: float | None = None
    who: str = ""


@dataclass(frozen=True)
class _Seen:
    """All that the page shows, as the files were at one time."""

    title: str
    answer: Answer | None  # of what is finished
    rows: tuple[_Row, ...]
    searching: bool  # whether somebody runs the range test
    test: RangeTestResult | None
    fit: dict[str, Any]

    @property
    def running(self) -> list[Run]:
        """The runs that are not at their end, and have a curve."""
        runs = [row.run for row in self.rows if row.run and row.state == "running"]
        return [run for run in runs if run.steps]


@dataclass
class View:
    """What the files of a folder say, as a page and as events."""

    reader: Reader
    folder: str = ""  # as it was named
    _last: tuple[Any, _Seen, str] | None = field(default=None, init=False)
    _turn: Any = field(default_factory=threading.Lock, init=False)

    def told(self) -> str:
        """The state as JSON in one line."""
        return self._look()[1]

    def page(self) -> str:
        """The page, with the state of now inside."""
        seen, text = self._look()
        state = json.loads(text)
        made = seen.answer.comparison if seen.answer else None
        live = {"key": state["key"], "lines": state["lines"]}
        data = {"curves": state["curves"], "tests": [], "design": None, "policies": []}
        return fill(
            "watch.html.j2",
            title=seen.title,
            folder=self.folder or str(self.reader.root),
            state=state,
            figures=_figures(seen, state),
            about=made.about if made else None,
            look=styles(made.policies, made.reference, CSS) if made else {},
            nonce=secrets.token_urlsafe(16),
            data={**data, "frameworks": [], "live": live},
        )

    def _look(self) -> tuple[_Seen, str]:
        with self._turn:
            self.reader.look("", "cells", "range_tests", PROGRESS)
            taken = {name: _cells.taken(self.reader, name) for name in ("cells", "range_tests")}
            files = self.reader.files.items()
            # A lock is touched while it is held: what counts is who has it.
            mark = (
                {place: stamp for place, stamp in files if not _cells.is_lock(place[1])},
                taken,
            )
            if self._last is None or self._last[0] != mark:
                seen = self._seen(taken)
                self._last = (mark, seen, embedded(_state(seen)))
            return self._last[1:]

    def _seen(self, taken: dict[str, dict[str, tuple[str, bool]]]) -> _Seen:
        read = self.reader.read
        made, plan = read("", RECORD, _without_runs), read("", PLAN, plan_of)
        there = {name.partition(".json")[0] for name in self.reader.names("cells")}
        names = made.about.cells if made else plan.cells if plan else []
        names = names or sorted(filter(_CELL.fullmatch, there | {*taken["cells"]}))
        title = made.about.title if made else Path((plan and plan.data) or "").name
        rows = tuple(self._row(name, taken["cells"], made) for name in names)
        finished = tuple(row.run for row in rows if row.run and row.state in _ENDED)
        tests = [read("range_tests", name, _tested) for name in self.reader.names("range_tests")]
        tests.append(read("", "range_test.json", RangeTestResult.from_dict))
        return _Seen(
            title=title or self.reader.root.name,
            answer=Answer(replace(made, cells=finished)) if made else None,
            rows=rows,
            searching=any(alive for _, alive in taken["range_tests"].values()),
            test=next((test for test in tests if test is not None), None),
            fit=read("", f"{PROGRESS}.json", told_in) or {},
        )

    def _row(self, name: str, taken: dict[str, tuple[str, bool]], made: Comparison | None) -> _Row:
        policy, seed, fold = name.rsplit("-", 2)
        place, total = (policy, int(seed), int(fold)), made.about.total_steps if made else None
        if run := self.reader.read("cells", f"{name}.json", _finished):
            steps = run.steps[-1]
            return _Row(*place, "diverged" if run.diverged else "finished", run, steps, steps)
        who, alive = taken.get(name, ("", False))
        if not alive:
            return _Row(*place, "interrupted" if who else "waiting", total=total)
        if going := self.reader.read(PROGRESS, f"{name}.json", _going):
            told = (going.run, going.step, going.total_steps, going.rate)
            return _Row(*place, "running", *told, who)
        return _Row(*place, "running", total=total, who=who)


def _without_runs(values: Any) -> Comparison:
    """The comparison of a record; its runs are read from files of their own, which are newer."""
    return Comparison.from_dict({**values, "cells": []})


def _finished(values: Any) -> Run:
    return built(Run, values["result"]["run"], "run")


def _tested(values: Any) -> RangeTestResult:
    return RangeTestResult.from_dict(values["result"])


def _going(values: Any) -> Going:
    return built(Going, values, "progress")


def _state(seen: _Seen) -> dict[str, Any]:
    """What the page is told, all of it as it is shown."""
    answer, fit = seen.answer, seen.fit.get("lines", {})
    about = answer.comparison.about if answer else None
    curves = curve_numbers(answer, seen.running) if answer else None
    lines = [line_numbers(i, name, line) for i, (name, line) in enumerate(fit.items())]
    heads = ["Policy", "Seed", "State", "Steps", "Rate now", "Held-out loss"]
    metric = [answer.heading] if answer and answer.comparison.metric else []
    drawn = [one["figure"] for one in curves["quantities"]] if curves else []
    # What the page is made of: where this differs it is loaded again.
    whole_page = [seen.title, about and [about.policies, about.seeds], seen.test, drawn, [*fit]]
    return {
        "key": digest([ascii(whole_page).encode()]),
        "said": _said(seen),
        "done": [
            sum(row.step for row in seen.rows),
            sum(row.total or 0 for row in seen.rows),
        ],
        "heads": [*heads, *metric, "Worker"],
        "rows": [_texts(row, answer) for row in seen.rows],
        "found": [list(pair) for pair in seen.fit.get("found", {}).items()],
        "curves": curves,
        "lines": lines,
    }


def _said(seen: _Seen) -> str:
    """How far it is, in a sentence."""
    states = [row.state for row in seen.rows]
    finished, running = sum(state in _ENDED for state in states), states.count("running")
    lines = seen.fit.get("lines", {})
    if states and finished == len(states):
        return f"All {len(states)} runs are finished." if finished > 1 else "The run is finished."
    if seen.searching:
        return f"The range test runs; {count(len(states), 'run')} will follow it."
    if states:
        return f"{finished} of {count(len(states), 'run')} finished, {running or 'none'} at work."
    if lines:
        told = {name.rpartition(": ")[2]: line for name, line in lines.items() if line["x"]}
        at = max((line["x"][-1] for line in told.values()), default=0)
        now = ", ".join(f"{name} {number(line['y'][-1])}" for name, line in told.items())
        return f"A training, at step {whole(at)}: {now}."
    return "Nothing has begun here."


def _texts(row: _Row, answer: Answer | None) -> list[str]:
    """A run as a line of the table."""
    run, made = row.run, answer.comparison if answer else None
    at = whole(row.step)
    losses, scores = (answer.losses, answer.scores) if answer else (Numbers(4), Numbers(4))
    metric = [scores.text(run and final(run.heldout_metric))] if made and made.metric else []
    return [
        answer.label(row.policy) if answer else row.policy,
        f"{row.seed}, fold {row.fold}" if made and made.about.folds > 1 else str(row.seed),
        row.state,
        f"{at} of {whole(row.total)}" if row.total else at,
        MISSING if row.rate is None else rate(row.rate),
        losses.text(run and final(run.heldout_loss)),
        *metric,
        row.who,
    ]


def _figures(seen: _Seen, state: dict[str, Any]) -> dict[str, Figure]:
    """The figures as they are now; the script draws those that change again."""
    figures: dict[str, Figure] = {}
    if seen.answer and state["curves"]:
        runs = [*seen.answer.comparison.cells, *seen.running]
        for one in state["curves"]["quantities"]:
            quantity = one["figure"].rpartition("_")[2]
            drawn = curves(runs, seen.answer.comparison.policies, f"heldout_{quantity}")
            figures[one["figure"]] = learning_curves(seen.answer, quantity, drawn)
    for line in state["lines"]:
        figures[line["figure"]] = told_line(line)
    if seen.test is not None:
        figures["range_test"] = range_test(seen.test)
    return figures
