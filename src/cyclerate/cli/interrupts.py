"""Ctrl-C that is heard in the end, also where a framework's callback lost the exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_pressed = threading.Event()


@contextmanager
def heard() -> Generator[None]:
    """Notes Ctrl-C meanwhile; it raises as ever, and `let_through` raises once more.

    Code that a framework calls back from C++ may lose an exception, and the command would go on.
    """
    usual = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or usual is not signal.default_int_handler:
        yield
        return

    def note(number: int, frame: Any) -> None:
        _pressed.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        _pressed.clear()


def let_through() -> None:
    """Ends what goes on although Ctrl-C was pressed.

    Raises:
        KeyboardInterrupt: It was.
    """
    if _pressed.is_set():
        raise KeyboardInterrupt
