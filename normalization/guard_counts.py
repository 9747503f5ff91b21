"""What one process counts for the guard between two ticks: enforced requests, and those refused.

`record` is called by the boundary for each request that is enforced, so it costs a microsecond.
The counts carry the version of the rollout that was applied: after more is enforced, the rejects
of before must not count.

Most clients have no rejects, and of those the database gets nothing. A process remembers how many
requests each client sent, coarsely, so that the share is right once a client has a first reject.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from normalization.guard_rule import SLOT_SECONDS, WINDOWS_SECONDS

GuardKey = tuple[str, str]
"""(endpoint, client)"""

# Where the requests of before the first reject are placed: in the middle of the part of a window
# that the shorter windows do not cover, in slots back from now.
_BACK: Final = {10: 1, 60: 7, 300: 36, 3600: 390}
_BLOCK, _NOW, _BEFORE = range(3)


class RequestHistory:
    """How many requests each client sent in about the last 10 s, 60 s, 5 min and 1 h.

    For each window the requests of the current and the previous block of its length are kept, 12
    numbers a client. Both together cover one to two windows: the requests are overestimated, so
    the share is underestimated, and the guard never acts for that reason.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[GuardKey, array[int]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, key: GuardKey, requests: int) -> None:
        """Count requests of now."""
        kept = self._of.get(key)
        if kept is None:
            kept = self._of[key] = array("q", [0] * 3 * len(WINDOWS_SECONDS))
        now = self._clock()
        for number, seconds in enumerate(WINDOWS_SECONDS):
            _turn(kept, 3 * number, int(now // seconds))
            kept[3 * number + _NOW] += requests

    def placed(self, key: GuardKey) -> Iterator[tuple[int, int]]:
        """Yield (slots back from now, requests) for a client, the newest first."""
        kept = self._of.get(key)
        if kept is None:
            return
        now, covered = self._clock(), 0
        for number, seconds in enumerate(WINDOWS_SECONDS):
            _turn(kept, 3 * number, int(now // seconds))
            requests = kept[3 * number + _NOW] + kept[3 * number + _BEFORE]
            if requests > covered:
                yield _BACK[seconds], requests - covered
                covered = requests

    def forget(self) -> None:
        """Start anew: more is enforced than before."""
        self._of.clear()

    def forget_idle(self) -> None:
        """Drop the clients that sent nothing for two hours."""
        hour = int(self._clock() // 3600)
        last = 3 * (len(WINDOWS_SECONDS) - 1) + _BLOCK
        for key in [key for key, kept in self._of.items() if kept[last] < hour - 1]:
            del self._of[key]


def _turn(kept: array[int], start: int, block: int) -> None:
    """Begin the block that the clock is in."""
    passed = block - kept[start + _BLOCK]
    if passed:
        kept[start + _BEFORE] = kept[start + _NOW] if passed == 1 else 0
        kept[start + _NOW] = 0
        kept[start + _BLOCK] = block


class GuardBuffer:
    """The counts since the last `take`, by version of the rollout; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])

    def record(self, version: int, endpoint: str, client: str, *, rejected: bool) -> None:
        """Count one enforced request; `version` is the rollout's that decided it."""
        with self._lock:
            cell = self._counts[version, endpoint, client]
            cell[0] += 1
            cell[1] += rejected

    def take(self, epoch: int) -> dict[GuardKey, tuple[int, int]]:
        """Return {(endpoint, client): (requests, rejects)} and be empty.

        Counts of a version before `epoch` are dropped.
        """
        with self._lock:
            counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        found: dict[GuardKey, tuple[int, int]] = {}
        for (version, endpoint, client), (requests, rejects) in counts.items():
            if version >= epoch:
                before = found.get((endpoint, client), (0, 0))
                found[endpoint, client] = before[0] + requests, before[1] + rejects
        return found

    def put_back(self, epoch: int, counts: dict[GuardKey, tuple[int, int]]) -> None:
        """Keep what could not be shared for the next tick."""
        with self._lock:
            for (endpoint, client), (requests, rejects) in counts.items():
                cell = self._counts[epoch, endpoint, client]
                cell[0] += requests
                cell[1] += rejects

    def forget(self) -> None:
        """Drop everything: after a fork, or when nothing is enforced."""
        with self._lock:
            self._counts.clear()


assert set(_BACK) == set(WINDOWS_SECONDS)  # noqa: S101 (two tables of one file)
assert all(back * SLOT_SECONDS < window for window, back in _BACK.items())  # noqa: S101
