"""Sends a test page the way an alert goes: to Alertmanager, and from there to the operator.

Alertmanager routes the alert by its labels, as it does with a real one. Its counters show whether
each integration of the receiver (mail, PagerDuty, Slack, webhook) accepted a notification. What
happens behind that, only the person who gets the page can confirm: the page has a code.
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

from normalization import conf

TEST_ALERT: Final = "StagePageTest"
# Without letters and digits that look alike: a person reads the code from a telephone.
CODE_LETTERS: Final = "23456789abcdefghjkmnpqrstuvwxyz"
CODE_LENGTH: Final = 6
REQUEST_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.2
ATTEMPTS: Final = "alertmanager_notification_requests_total"
FAILURES: Final = "alertmanager_notification_requests_failed_total"


class PageTestFailed(Exception):
    """The test page did not arrive; the message has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class PageTest:
    """One test page: the base URL of Alertmanager's API, and the code that the page shows."""

    alertmanager: str
    code: str = field(
        default_factory=lambda: "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    )


@dataclass(frozen=True, slots=True)
class PageDelivery:
    """Who accepted the page: receivers and their integrations, after so many seconds."""

    receivers: tuple[str, ...]
    integrations: tuple[str, ...]
    seconds: float


def send(
    test: PageTest, seconds: float, elapsed: Callable[[], float] = time.monotonic
) -> PageDelivery:
    """Send the page and wait at most `seconds` until each integration accepted it.

    Raises `PageTestFailed`.
    """
    started = elapsed()
    before = _counters(test)
    _post(test, ends_in=timedelta(seconds=seconds))
    try:
        receivers = _receivers(test, started + seconds, elapsed)
        integrations = _integrations(test, receivers)
        if not integrations:
            raise PageTestFailed(
                f"The receiver {', '.join(receivers)} has no integration: its alerts are only on "
                "Alertmanager's own page. Add one in alertmanager.yml."
            )
        _wait_for(test, integrations, before, started + seconds, elapsed)
    finally:
        _post(test, ends_in=timedelta(0))  # resolves the alert
    return PageDelivery(receivers, integrations, elapsed() - started)


def body(test: PageTest, now: datetime, ends_in: timedelta) -> list[dict[str, Any]]:
    """Return the alert as Alertmanager's API takes it (`POST /api/v2/alerts`).

    Its labels page, and ask for no way back: the mode does not change.
    """
    annotations = {
        "summary": f"Test of the pager, code {test.code}. Nothing is wrong.",
        "by_itself": "Nothing.",
        "next": f"Give the code {test.code} to the person who sent this test.",
        "page_url": f"{conf.public_url()}/admin/ops/rollout/",
    }
    labels = {"alertname": TEST_ALERT, "severity": "page", "code": test.code}
    ends = (now + ends_in).isoformat()
    return [{"labels": labels, "annotations": annotations, "endsAt": ends}]


def _post(test: PageTest, ends_in: timedelta) -> None:
    alerts = body(test, datetime.now(UTC), ends_in)
    _ask(test, "/api/v2/alerts", json.dumps(alerts).encode())


def _receivers(test: PageTest, until: float, elapsed: Callable[[], float]) -> tuple[str, ...]:
    """Return the receivers to which Alertmanager routes the page."""
    while True:
        found = json.loads(_ask(test, f"/api/v2/alerts?filter=code%3D%22{test.code}%22"))
        if found:
            return tuple(each["name"] for each in found[0]["receivers"])
        if elapsed() > until:
            raise PageTestFailed("Alertmanager took the alert and does not show it.")
        time.sleep(POLL_SECONDS)


def _integrations(test: PageTest, receivers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds of integrations of these receivers, as the counters name them."""
    status = json.loads(_ask(test, "/api/v2/status"))
    configured = yaml.safe_load(status["config"]["original"])
    kinds = {
        kind.removesuffix("_configs")
        for receiver in configured["receivers"]
        if receiver["name"] in receivers
        for kind, values in receiver.items()
        if kind.endswith("_configs") and values
    }
    return tuple(sorted(kinds))


def _wait_for(
    test: PageTest,
    integrations: tuple[str, ...],
    before: Mapping[tuple[str, str], float],
    until: float,
    elapsed: Callable[[], float],
) -> None:
    while True:
        now = _counters(test)
        attempts, failures = (
            {kind: now.get((name, kind), 0) - before.get((name, kind), 0) for kind in integrations}
            for name in (ATTEMPTS, FAILURES)
        )
        missing = [kind for kind in integrations if attempts[kind] <= failures[kind]]
        if not missing:
            return
        if elapsed() > until:
            tried = ", ".join(f"{kind}: {failures[kind]:.0f} failed attempts" for kind in missing)
            raise PageTestFailed(
                f"Not accepted in time by {tried}. "
                "Alertmanager's log has the reason of each failed attempt."
            )
        time.sleep(POLL_SECONDS)


def _counters(test: PageTest) -> dict[tuple[str, str], float]:
    """Return Alertmanager's counters of attempts and failures by integration."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(_ask(test, "/metrics")):
        for sample in family.samples:
            if sample.name in (ATTEMPTS, FAILURES):
                key = (sample.name, sample.labels["integration"])
                found[key] = found.get(key, 0) + sample.value
    return found


def _ask(test: PageTest, path: str, sent: bytes | None = None) -> str:
    """Return the body of Alertmanager's response; raise `PageTestFailed`."""
    headers = {"Content-Type": "application/json"} if sent else {}
    request = urllib.request.Request(  # noqa: S310 (the command accepts http and https only)
        f"{test.alertmanager.rstrip('/')}{path}", sent, headers
    )
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:  # noqa: S310
            text: str = answer.read().decode()
            return text
    except (OSError, urllib.error.URLError) as fault:
        raise PageTestFailed(
            f"Alertmanager does not answer at {test.alertmanager}: {fault}. "
            "Check that it runs, and --alertmanager."
        ) from fault
