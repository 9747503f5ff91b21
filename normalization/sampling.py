"""Log sampling: log all events while they are rare, and a fixed share of them otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Sampler:
    """Keeps the first `all_below` events of each minute, then one in `then_one_in`."""

    def __init__(
        self, all_below: int, then_one_in: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._all_below, self._one_in, self._clock = all_below, then_one_in, clock
        self._lock = threading.Lock()
        self._minute, self._seen = -1, 0

    def rate(self) -> float:
        """Count one event; return the current share of logged events, or 0 to skip this one."""
        with self._lock:
            minute = int(self._clock() // 60)
            if minute != self._minute:
                self._minute, self._seen = minute, 0
            self._seen += 1
            if self._seen <= self._all_below:
                return 1.0
            return 1 / self._one_in if (self._seen - self._all_below) % self._one_in == 0 else 0.0
