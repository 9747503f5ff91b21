"""How many rows a batch takes, and how long to rest after it."""

from dataclasses import dataclass

TARGET_SECONDS = 0.5
SMALLEST = 100
LARGEST = 50_000
# While clients wait for the run's rows, a batch is held so small that they hardly notice.
SMALLEST_CONTENDED = 500


@dataclass
class Pace:
    """Steers `size` (rows looked at, at most `largest`) towards TARGET_SECONDS a batch, and down while clients wait.

    Rests `backoff_ms`, or `backoff_share` of the batch's time when given.
    """

    size: int
    backoff_ms: int = 100
    backoff_share: float | None = None
    largest: int = LARGEST
    ceiling: float = LARGEST

    def note(self, seconds: float, contended: bool) -> None:
        """A batch of `size` rows took `seconds`. Grows at most twofold, shrinks at once."""
        if contended:
            self.ceiling = max(SMALLEST_CONTENDED, min(self.ceiling, self.size) / 2)
        else:
            self.ceiling = min(LARGEST, self.ceiling * 1.1)
        factor = min(2.0, TARGET_SECONDS / max(seconds, 1e-6))
        self.size = min(self.largest, int(max(SMALLEST, min(self.size * factor, self.ceiling))))

    def shrink(self) -> None:
        """A batch ran into a time limit: half as many rows next time."""
        self.size = max(min(SMALLEST, self.size), self.size // 2)

    def rest(self, seconds: float) -> float:
        """Seconds to wait after a batch that took `seconds`."""
        return (
            seconds * self.backoff_share
            if self.backoff_share is not None
            else self.backoff_ms / 1000
        )
