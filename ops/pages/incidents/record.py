"""An incident: a change of the rollout that the alert or the guard made.

Its number is the version of that change. The guard may take enforcement back for every client, for
one endpoint or for one client; the alert always does for every client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from django.urls import reverse

from normalization import guard
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, enforces_more
from ops.alerts.way_back import WHAT as WAY_BACK_DEAD
from ops.gates.facts import AUTOMATIC

LISTED: Final = 50
LATER_READ: Final = 200
"""Most later changes that are looked through for the one that enforces more again."""


class IncidentScope(StrEnum):
    """For whom enforcement was taken back."""

    EVERYBODY = "everybody"
    ENDPOINT = "endpoint"
    CLIENT = "client"


_SCOPES: Final = {scope.value: scope for scope in IncidentScope}


@dataclass(frozen=True, slots=True)
class Measured:
    """What the guard measured: of `requests` in `window` seconds, `rejects` were refused.

    `share` and `limit` are in percent; `clients` has the rejects of the worst clients.
    """

    window: int
    requests: int
    rejects: int
    share: float
    limit: float
    clients: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """The measured value beside its limit."""
        figures = f"{self.rejects:,} of {self.requests:,} requests in {self.window} s"
        return f"{figures} were refused: {self.share:.1f} %. The limit is {self.limit:g} %."


@dataclass(frozen=True, slots=True)
class Incident:
    """One way back.

    `enforced` is the change that enforced more before it, and `again` the one that did after it;
    both are None if there was none. `before` is the rollout that was taken back. A list of
    incidents has none of the three.
    """

    change: RolloutChange
    scope: IncidentScope
    before: Rollout | None = None
    enforced: RolloutChange | None = None
    again: RolloutChange | None = None

    @property
    def version(self) -> int:
        """The number of the incident."""
        return self.change.pk

    @property
    def at(self) -> datetime:
        """When enforcement was taken back."""
        return self.change.created_at

    @property
    def by(self) -> str:
        """Who acted: the alert or the guard."""
        return f"the {self.change.source}"

    @property
    def after(self) -> Rollout:
        """The rollout that the way back left in force."""
        return self.change.rollout()

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients that the guard held out, none if it acted for an endpoint or everybody."""
        if self.scope is not IncidentScope.CLIENT:
            return ()
        return tuple(map(str, self.change.evidence.get("clients", ())))

    @property
    def endpoint(self) -> str:
        """The endpoint that the guard limited, "" for none."""
        of_endpoint = self.scope is IncidentScope.ENDPOINT
        return str(self.change.evidence.get("endpoint", "")) if of_endpoint else ""

    @property
    def measured(self) -> Measured | None:
        """What the guard measured; None for the alert, and where no way back worked."""
        return measured_of(self.change.evidence)

    @property
    def way_back_was_dead(self) -> bool:
        """Whether the service acted because neither alert nor guard worked."""
        return bool(self.change.evidence.get("guard") == WAY_BACK_DEAD)

    @property
    def summary_of_alert(self) -> str:
        """The text of the alert, with the measured value; "" without one."""
        return str(self.change.evidence.get("summary", ""))

    @property
    def title(self) -> str:
        """What happened, with the day."""
        return f"{self.what} on {day(self.at)}"

    @property
    def what(self) -> str:
        """What happened."""
        if self.scope is IncidentScope.CLIENT:
            return f"{', '.join(self.clients)} was held out"
        if self.scope is IncidentScope.ENDPOINT:
            return f"{self.endpoint} was limited to warnings"
        return "Enforcement was taken back"

    @property
    def url(self) -> str:
        """The address of its page."""
        return reverse("ops-incident", args=[self.version])


def incidents(before: int | None = None, size: int = LISTED) -> list[Incident]:
    """Return the incidents before a version, newest first, `size` at most."""
    changes = RolloutChange.objects.filter(source__in=AUTOMATIC).order_by("-id")
    if before is not None:
        changes = changes.filter(pk__lt=before)
    return [Incident(change, _scope(change)) for change in changes[:size]]


def incident(version: int) -> Incident | None:
    """Return the incident of a version, None if that change was made by a person."""
    change = RolloutChange.objects.filter(pk=version, source__in=AUTOMATIC).first()
    if change is None:
        return None
    earlier = RolloutChange.objects.filter(pk__lt=version).order_by("-id").first()
    if earlier is None:
        return Incident(change, _scope(change), again=_again(change))
    epoch = guard.newest_enforcing_change(earlier.pk)
    enforced = RolloutChange.objects.filter(pk=epoch).first()
    return Incident(change, _scope(change), earlier.rollout(), enforced, _again(change))


def of_change(change: RolloutChange) -> str:
    """Return the address of the page of a change that alert or guard made."""
    return reverse("ops-incident", args=[change.pk])


def measured_of(evidence: Mapping[str, Any]) -> Measured | None:
    """Return the guard's figures from the evidence of a change, None without any."""
    if "rejects" not in evidence or "requests" not in evidence:
        return None
    return Measured(
        window=int(evidence["window_seconds"]),
        requests=int(evidence["requests"]),
        rejects=int(evidence["rejects"]),
        share=float(evidence["share_percent"]),
        limit=float(evidence["limit_percent"]),
        clients={str(name): int(n) for name, n in evidence.get("rejects_by_client", {}).items()},
    )


def day(at: datetime) -> str:
    """Return the day of a moment in UTC, as 14 December 2026."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y}"


def _scope(change: RolloutChange) -> IncidentScope:
    return _SCOPES.get(str(change.evidence.get("guard")), IncidentScope.EVERYBODY)


def _again(change: RolloutChange) -> RolloutChange | None:
    """Return the first later change that enforces more."""
    older = change
    for newer in RolloutChange.objects.filter(pk__gt=change.pk).order_by("id")[:LATER_READ]:
        if enforces_more(older.rollout(), newer.rollout()):
            return newer
        older = newer
    return None


def still_holds(found: Incident, now: Rollout) -> bool:
    """Return whether what the way back did is in force: nothing of it is enforced again."""
    if found.scope is IncidentScope.CLIENT:
        return now.mode is not Mode.ENFORCE or now.holdouts.issuperset(found.clients)
    if found.scope is IncidentScope.ENDPOINT:
        limit = now.overrides.get(found.endpoint, now.mode)
        return now.mode is not Mode.ENFORCE or limit is not Mode.ENFORCE
    return now.mode is not Mode.ENFORCE
