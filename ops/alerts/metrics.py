"""Metrics of the webhook."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from prometheus_client import Counter


class Outcome(StrEnum):
    """What became of one request to the webhook or the heartbeat."""

    DOWNGRADED = "downgraded"
    ALREADY = "already"  # the mode was off or warn
    IGNORED = "ignored"  # resolved, or another alert
    ALIVE = "alive"  # a heartbeat
    REPEATED = "repeated"  # this signature has been used
    FORGED = "forged"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_METHOD = "wrong_method"
    WRONG_TYPE = "wrong_type"
    NO_LENGTH = "no_length"
    INCOMPLETE = "incomplete"
    STORE_DOWN = "store_down"


REQUESTS: Final = Counter(
    "stage_webhook_requests_total",
    "Requests to the webhook and the heartbeat, by outcome.",
    ["outcome"],
)


def count(outcome: Outcome) -> None:
    """Count one request."""
    REQUESTS.labels(outcome=outcome.value).inc()


def begin_at_zero() -> None:
    """Export every outcome as 0, so that the first request of its kind is an increase."""
    for outcome in Outcome:
        REQUESTS.labels(outcome=outcome.value)
