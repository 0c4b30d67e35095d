"""What a container holds, to be put back into it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from cyclerate._randomness import PutBack

CONTAINERS = (dict, set, list, deque, np.ndarray)


def remember_contents(container: Any) -> PutBack:
    """Notes what a dict, set, list, deque or NumPy array holds; the items are not copied."""
    if isinstance(container, np.ndarray):
        values = container.copy()
        return lambda: np.copyto(container, values) if container.flags.writeable else None
    held = dict(container) if isinstance(container, dict) else list(container)

    def put_back() -> None:
        container.clear()
        if isinstance(container, (dict, set)):
            container.update(held)
        else:
            container.extend(held)

    return put_back
