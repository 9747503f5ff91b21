"""Incidents for the tests: the real guard and the real alert take enforcement back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from normalization import rollout_store
from normalization.guard import Guard
from normalization.models import ObservedSpelling, RolloutChange, ServedVersion
from ops.alerts.downgrade import downgrade
from ops.alerts.payload import read
from tests.observed import counted
from tests.ops.deliveries import alert, payload, raw

ENDPOINT = "fund-companies"
ALERT_FIGURES = ("annotations", "startsAt")
SUMMARY = "12 % of the enforced requests of 20 seconds are rejected; the limit is 5 %."


@dataclass(frozen=True)
class Sent:
    """Enforced requests of a client in this minute, to one endpoint."""

    accepted: int
    refused: int
    endpoint: str = ENDPOINT


def guard_acts(sent: Mapping[str, Sent]) -> int:
    """Let clients send enforced requests, and the guard judge them; return its version."""
    version = rollout_store.current().version
    guard = Guard()
    for client, requests in sent.items():
        for number in range(requests.accepted + requests.refused):
            rejected = number >= requests.accepted
            guard.record(version, requests.endpoint, client, rejected=rejected)
        _tally(client, requests)
    guard.tick()
    rollout_store.forget()
    change = RolloutChange.objects.latest("id")
    assert change.source == "guard", change
    return change.pk


def alert_acts(sent: Mapping[str, Sent], **members: object) -> int:
    """Let clients send enforced requests, and the alert fire; return its version."""
    for client, requests in sent.items():
        _tally(client, requests)
    bare = {name: value for name, value in alert().items() if name not in ALERT_FIGURES}
    firing = bare | members
    result = downgrade(read(raw(payload(firing))), secrets.token_hex(32))
    rollout_store.forget()
    assert result.version is not None
    return result.version


def sends(client: str, *spellings: str, times: int = 1, endpoint: str = ENDPOINT) -> None:
    """Let a client send unknown spellings now."""
    now = timezone.now()
    for spelling in spellings:
        ObservedSpelling.objects.create(
            day=now.date(),
            spelling=spelling,
            endpoint=endpoint,
            client=client,
            count=times,
            first_seen=now,
            last_seen=now,
        )


def served(name: str, versions: Mapping[int, float]) -> None:
    """Let a process have served each version first so many seconds after it was recorded."""
    for version, seconds in versions.items():
        change = RolloutChange.objects.get(pk=version)
        at = change.created_at + timedelta(seconds=seconds)
        ServedVersion.objects.create(version=version, name=name, served_at=at)


def date_back(minutes: float) -> None:
    """Date every change so far back. Only the owner of the table can, without its trigger."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE normalization_rolloutchange DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE normalization_rolloutchange"
            " SET created_at = created_at - make_interval(secs => %s)",
            [60 * minutes],
        )
        cursor.execute("ALTER TABLE normalization_rolloutchange ENABLE TRIGGER USER")


def _tally(client: str, requests: Sent) -> None:
    for outcome, count in (("canonical", requests.accepted), ("rejected", requests.refused)):
        if count:
            counted(outcome, count, client=client, mode="enforce", endpoint=requests.endpoint)
