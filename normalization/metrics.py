"""Prometheus metrics of stage validation. No label has text from a client."""

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from normalization.guard_rule import GuardScope
from normalization.outcomes import OUTCOMES
from normalization.rollout import Mode

# The validator takes microseconds; the usual buckets for requests start too high.
VALIDATOR_BUCKETS: Final = (
    0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005,
    0.001, 0.0025, 0.005, 0.01, 0.05, 0.25,
)  # fmt: skip
STORE_BUCKETS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
)

REQUESTS: Final = Counter(
    "stage_validation_requests_total",
    "Requests that gave stages, by the worst outcome among them.",
    ["endpoint", "mode", "outcome"],
)
VALIDATOR_SECONDS: Final = Histogram(
    "stage_validation_seconds",
    "Time the validator alone took for one request.",
    buckets=VALIDATOR_BUCKETS,
)
MODE_INFO: Final = Gauge(
    "stage_mode_info",
    "1 for the mode in force, 0 for the others.",
    ["mode"],
    multiprocess_mode="mostrecent",
)
MODE_VERSION: Final = Gauge(
    "stage_mode_version", "Version of the rollout in force.", multiprocess_mode="livemin"
)
MODE_AGE: Final = Gauge(
    "stage_mode_age_seconds",
    "Age of the rollout that the worker last used, the oldest of all.",
    multiprocess_mode="livemax",
)
MODE_STORE_SECONDS: Final = Histogram(
    "stage_mode_store_seconds",
    "Time to read the rollout from a store.",
    ["store"],
    buckets=STORE_BUCKETS,
)
MODE_STORE_ERRORS: Final = Counter(
    "stage_mode_store_errors_total",
    "Failed reads or writes of a rollout store.",
    ["store", "reason"],
)
GUARD_ACTED: Final = Counter(
    "stage_guard_acted_total",
    "What the guard took back (client, endpoint, everybody) or would have (notify_…).",
    ["what"],
)
TASK_FAILURES: Final = Counter(
    "stage_task_failures_total",
    "Runs of a task of the ticker (guard, observations) that failed; each is tried again.",
    ["task"],
)
GUARD_TICK: Final = Gauge(
    "stage_guard_last_tick_timestamp_seconds",
    "When the guard of a worker last ticked, the longest ago of all.",
    multiprocess_mode="livemin",
)
CLOCK_SKEW: Final = Gauge(
    "stage_clock_skew_seconds",
    "How far the clock of a worker is from the clock of the database, the furthest of all.",
    multiprocess_mode="livemax",
)
CLIENTS_HURT: Final = Gauge(
    "stage_clients_hurt",
    "Clients whose rejects are above the guard's limit now, by the guard's own rule.",
    multiprocess_mode="livemax",
)
STORE_REASONS: Final = {
    "redis": (
        "TimeoutError",
        "ConnectionError",
        "AuthenticationError",
        "BusyLoadingError",
        "NoPermissionError",
        "OutOfMemoryError",
        "ReadOnlyError",
        "ResponseError",
        "invalid",
        "other",
    ),
    "database": ("OperationalError", "InterfaceError", "ProgrammingError", "TookTooLong", "other"),
}
"""The reasons of `stage_mode_store_errors_total`. Others are counted as `other`."""


def show_mode(mode: Mode, version: int, age: float) -> None:
    """Export the rollout of this process; `age` is the seconds since a store confirmed it."""
    for each in Mode:
        MODE_INFO.labels(mode=each.value).set(1 if each is mode else 0)
    MODE_VERSION.set(version)
    MODE_AGE.set(age)


def count_store_error(store: str, reason: str) -> None:
    """Count one failed read or write of a store, "redis" or "database"."""
    known = reason if reason in STORE_REASONS[store] else "other"
    MODE_STORE_ERRORS.labels(store=store, reason=known).inc()


@cache
def _requests(endpoint: str, mode: Mode, outcome: str) -> Counter:
    return REQUESTS.labels(endpoint=endpoint, mode=mode.value, outcome=outcome)


def begin_at_zero(endpoints: Iterable[str]) -> None:
    """Export every series of the counters as 0.

    Prometheus sees no increase in a series that begins at 1.
    """
    for endpoint, mode, outcome in product(endpoints, Mode, OUTCOMES):
        _requests(endpoint, mode, outcome)
    for scope in GuardScope:
        GUARD_ACTED.labels(what=scope.value)
        GUARD_ACTED.labels(what=f"notify_{scope.value}")
    GUARD_ACTED.labels(what="way_back_dead")
    for store, reasons in STORE_REASONS.items():
        for reason in reasons:
            MODE_STORE_ERRORS.labels(store=store, reason=reason)


def count_request(endpoint: str, mode: Mode, outcome: str) -> None:
    """Count one request; the three labels come from the code, never from a client."""
    _requests(endpoint, mode, outcome).inc()
