"""An experiment without a network: cells that count, so that the mechanism alone is tested."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reproductions._charts import Chart, line
from reproductions._experiment import Experiment, Results, Stage, Table
from reproductions._phrases import measured
from reproductions._record import Cell, Outcome, Reproduction, Run, Size

MADE: dict[str, Any] = {
    "created": "2026-01-02T03:04:05+00:00",
    "versions": {"python": "3"},
    "machine": {},
}


@dataclass
class Toy:
    """Notes what it ran; stops at one of them, if asked."""

    stop_at: tuple[str, int] | None = None
    ran: list[tuple[str, int]] = field(default_factory=list)

    def open(self, _size: Size) -> Stage:
        return Stage(("made of <b>nothing</b>",), self.run)

    def run(self, cell: Cell, seed: int, _results: Results) -> Outcome:
        if (cell.name, seed) == self.stop_at:
            raise KeyboardInterrupt
        self.ran.append((cell.name, seed))
        return outcome(loss=cell.settings["loss"] + 0.1 * seed)


def outcome(loss: float | None) -> Outcome:
    curves = {"steps": (1.0, 2.0), "loss": (1.0, loss), "metric": (0.0, 0.5), "train_loss": (1, 1)}
    return Outcome({"loss": loss, "diverged": float(loss is None)}, curves)


def toy(stage: Toy, **losses: float) -> Experiment:
    """An experiment with a cell for each loss."""

    def cells(_size: Size) -> tuple[Cell, ...]:
        made = [Cell(n, f"<i>{n}</i>", {"loss": loss}) for n, loss in losses.items()]
        return tuple(made)

    def tables(record: Reproduction) -> tuple[Table, ...]:
        rows = tuple((cell, measured(record, cell, "loss")) for cell in losses)
        return (Table("Losses & more", ("cell", "loss"), rows, legend="of <toys>"),)

    def charts(record: Reproduction) -> tuple[Chart, ...]:
        lines = tuple(line(record, cell, cell, "loss") for cell in losses)
        text = '"quoted" <alt>'
        return (Chart("losses", "Losses $x$ <1>", "steps", "loss", lines, "<u>see</u>", text),)

    return Experiment(
        name="toy",
        title="A toy <script>alert(1)</script>",
        source="Nobody & Co.",
        article="It <em>says</em>\n    so.",
        differences="None & nothing.",
        backend="jax",
        seeds=2,
        minutes=1,
        cells=cells,
        open=stage.open,
        charts=charts,
        tables=tables,
        lessons=lambda record: (f"{len(record.runs)} runs <done>",),
    )


def record_of(**losses: tuple[float | None, ...]) -> Reproduction:
    """A record with a cell for each name and a seed for each loss."""
    runs = [
        Run(cell, seed, {}, outcome(loss), MADE)
        for cell, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    return Reproduction("toy", Size((0, 1)), (), tuple(runs))
