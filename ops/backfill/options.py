"""How to run: what an operator may choose when a run begins or is taken up."""

from dataclasses import dataclass
from typing import Any

from ops.backfill.lease import LEASE_SECONDS
from ops.backfill.models import Strategy
from ops.backfill.pacing import LARGEST


@dataclass(frozen=True, slots=True)
class Options:
    """First batch size in rows, back-off (milliseconds, or a share of the batch's time), throttle, lease."""

    strategy: Strategy = Strategy.BATCHED
    batch_size: int = 5000
    max_batch_size: int = LARGEST
    backoff_ms: int = 100
    backoff_share: float | None = None
    max_lag_seconds: float = 10.0
    lease_seconds: float = LEASE_SECONDS

    def to_json(self) -> dict[str, Any]:
        """What the run keeps."""
        return {
            "max_batch_size": self.max_batch_size,
            "backoff_ms": self.backoff_ms,
            "backoff_share": self.backoff_share,
            "max_lag_seconds": self.max_lag_seconds,
            "lease_seconds": self.lease_seconds,
        }
