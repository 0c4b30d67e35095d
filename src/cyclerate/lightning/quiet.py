"""A Trainer that takes no notice of what its model does for a while."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers.logger import DummyLogger

from cyclerate._randomness import PutBack, all_of


@contextmanager
def quiet(trainer: pl.Trainer, module: pl.LightningModule) -> Generator[None]:
    """What the model logs goes nowhere, callbacks are not called, a wish to stop is forgotten."""
    callbacks, loggers, should_stop = trainer.callbacks, trainer.loggers, trainer.should_stop  # type: ignore[attr-defined]
    unmuted = [_mute(part) for part in module.modules() if isinstance(part, pl.LightningModule)]

    def put_back() -> None:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        trainer.loggers = loggers
        trainer.should_stop = should_stop

    try:
        trainer.callbacks = []  # type: ignore[attr-defined]
        trainer.loggers = [DummyLogger() for _ in loggers]
        yield
    finally:
        all_of([*unmuted, put_back])()


def _mute(module: pl.LightningModule) -> PutBack:
    attributes: dict[str, Any] = vars(module)
    before = {name: attributes[name] for name in ("log", "log_dict") if name in attributes}
    attributes.update(log=_nothing, log_dict=_nothing)

    def unmute() -> None:
        for name in ("log", "log_dict"):
            attributes.pop(name, None)
        attributes.update(before)

    return unmute


def _nothing(*_args: Any, **_named: Any) -> None:
    """Takes what `LightningModule.log` takes."""
