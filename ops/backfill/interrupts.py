"""SIGINT and SIGTERM as a wish: the batch is finished first. A second one ends the process at once."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """`wish`: the signal's name, or None. `wait(seconds)` sleeps and wakes early when there is a wish."""

    def __init__(self) -> None:
        self.wish: str | None = None
        self._woken, self._wake = os.pipe()

    def wait(self, seconds: float) -> None:
        """Sleep; returns at once when a signal has come. A pipe, for it is safe to write to from a handler."""
        select.select([self._woken], [], [], max(0.0, seconds))

    @contextmanager
    def listening(self) -> Iterator["Interrupts"]:
        """Take SIGINT and SIGTERM for the length of the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._heard)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._woken)
        os.close(self._wake)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.wish = signal.Signals(number).name
        os.write(self._wake, b"!")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
