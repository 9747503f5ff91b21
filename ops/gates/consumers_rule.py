"""When the consumers of the endpoints are known: the rule of the gate `consumers_known`.

Pure functions over the newest recorded decision. `ops.consumers.deciding` records and reads it.
Enforcement refuses requests, so a person first finds out who sends them, and records it. The
decision expires, because new consumers come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

AUDIT: Final = (
    "audit the access logs, then record the decision: "
    "manage.py consumer_audit --access-log FILE --decide internal-only|external --reason WHY"
)


class ConsumerVerdict(StrEnum):
    """Who uses the endpoints."""

    INTERNAL_ONLY = "internal-only"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class KnownConsumers:
    """A recorded decision. `owners` answer for the external consumers; empty if there are none.

    `requests`: how many requests the audit had seen; None if no access log was read.
    """

    verdict: ConsumerVerdict
    owners: tuple[str, ...]
    decided_by: str
    decided_at: datetime
    expires_at: datetime
    requests: int | None = None

    @property
    def in_words(self) -> str:
        """The decision, its author and its day."""
        who = "internal only"
        if self.verdict is ConsumerVerdict.EXTERNAL:
            who = f"internal, and external ones of {', '.join(self.owners)}"
        seen = "without an access log"
        if self.requests is not None:
            seen = f"from {self.requests:,} logged requests"
        return f"{who}. Decided {seen} by {self.decided_by} on {self.decided_at:%Y-%m-%d}"

    def is_expired(self, now: datetime) -> bool:
        """Whether the decision must be made again."""
        return now >= self.expires_at

    def sentence(self, now: datetime) -> str:
        """Return the decision and until when it is valid."""
        if self.is_expired(now):
            return (
                f"The decision about the consumers expired on {self.expires_at:%Y-%m-%d}. "
                f"It was: {self.in_words}."
            )
        return f"The consumers are {self.in_words}; valid until {self.expires_at:%Y-%m-%d}."

    def evidence(self) -> dict[str, Any]:
        """Return the decision as it is recorded with a verdict."""
        return {
            "decision": self.verdict.value,
            "owners": list(self.owners),
            "decided_by": self.decided_by,
            "decided_at": self.decided_at,
            "expires_at": self.expires_at,
            "requests": self.requests,
        }
