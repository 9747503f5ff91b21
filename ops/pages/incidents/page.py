"""`/admin/ops/incidents/`: the incidents, the page of each, and its JSON.

All staff may look. Nothing is changed here: each action links to the page that changes something.
Each part is read by itself (`softly`), so that the page comes up without a slow one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import Error as StoreError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from normalization import instances, rollout_store
from normalization.rollout import Mode
from ops import clock
from ops.pages.console import console_context
from ops.pages.incidents import chart, counts, record, timeline
from ops.pages.incidents.advice import next_actions, safety
from ops.pages.incidents.record import Incident, IncidentScope, still_holds
from ops.pages.incidents.summary import IncidentReport
from ops.pages.panels import softly
from ops.pages.rollout.changes import percent_text
from ops.pages.rollout.page import unavailable

SECONDS: Final = 2.0
"""The page is left without a part that takes longer."""
HOME: Final = "admin:index"
LARGEST_VERSION: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class IncidentTile:
    """A figure at the head of the page, with a note."""

    name: str
    figure: str
    note: str


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident in the list. `holds`: what it took back is not enforced again."""

    incident: Incident
    holds: bool

    @property
    def figures(self) -> str:
        """The measured value against its limit."""
        measured = self.incident.measured
        return measured.sentence if measured else self.incident.summary_of_alert


@require_safe
def incident_page(request: HttpRequest, version: int) -> HttpResponse:
    """Show one incident. Answers 404 for a change that a person made."""
    try:
        found, rollout = _found(version), rollout_store.newest().rollout
        now, period = clock.database_now(), counts.IncidentPeriod.of(found)
        report = _report(found, now)
        bars = softly("chart", lambda: chart.draw(found, chart.minutes_of(found)), SECONDS)
    except StoreError:
        return unavailable(request)
    context = {
        **console_context(request, found.title, HOME, rollout),
        "incident": found,
        "report": report,
        "lede": _lede(found),
        "tiles": list(_tiles(found, report)),
        "chart": bars,
        "period": period,
        "until": min(period.end, now),
        "json_url": reverse("ops-incident-json", args=[found.version]),
    }
    return TemplateResponse(request, "admin/ops/incidents/incident.html", context)


@require_safe
def incident_json(request: HttpRequest, version: int) -> HttpResponse:
    """Send the facts of one incident as a file."""
    try:
        found = _found(version)
        report = _report(found, clock.database_now())
    except StoreError:
        return unavailable(request)
    answer = JsonResponse(report.to_wire(), json_dumps_params={"indent": 2, "ensure_ascii": False})
    answer["Content-Disposition"] = f'attachment; filename="incident-{found.version}.json"'
    return answer


@require_safe
def incidents_page(request: HttpRequest) -> HttpResponse:
    """List the incidents, newest first. `?before=` continues after a page."""
    given = request.GET.get("before", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
    try:
        rollout = rollout_store.newest().rollout
        found = record.incidents(before, record.LISTED + 1)
    except StoreError:
        return unavailable(request)
    listed = found[: record.LISTED]
    context = {
        **console_context(request, "Incidents", HOME, rollout),
        "rows": [IncidentRow(each, still_holds(each, rollout)) for each in listed],
        "older": f"?before={listed[-1].version}" if len(found) > len(listed) else "",
        "newest": before is None,
    }
    return TemplateResponse(request, "admin/ops/incidents/list.html", context)


def _found(version: int) -> Incident:
    found = record.incident(version) if version <= LARGEST_VERSION else None
    if found is None:
        raise Http404(f"There is no incident {version}.")
    return found


def _report(found: Incident, now: datetime) -> IncidentReport:
    """Return what is known of the incident. Raises `django.db.Error`."""
    snapshot = rollout_store.newest()
    refused = softly("refused requests", lambda: counts.refused_requests(found, now), SECONDS)
    names = refused.names if refused else list(found.clients)
    spellings = softly("spellings", lambda: counts.refused_spellings(found, names), SECONDS)
    spread = softly("spread", lambda: timeline.spread_of(found), SECONDS)
    newest = rollout_store.since(snapshot.version)
    age = (now - newest.created_at).total_seconds() if newest else 0.0
    servers = instances.convergence(snapshot.version, age)
    facts = (found, snapshot.rollout, servers, refused, spellings)
    return IncidentReport(
        found,
        refused,
        spellings,
        spread,
        timeline.timeline(found, refused, spellings, spread),
        safety(*facts),
        next_actions(*facts),
    )


def _lede(found: Incident) -> str:
    at = f"{found.at:%H:%M:%S} UTC, by {found.by}"
    if found.scope is IncidentScope.CLIENT:
        return f"Warned instead of refused since {at}. The other clients stayed enforced."
    if found.scope is IncidentScope.ENDPOINT:
        return f"Warns instead of refusing since {at}. The other endpoints stayed enforced."
    share = ""
    if found.before is not None and found.before.mode is Mode.ENFORCE:
        share = f"From {percent_text(found.before.enforce_percent)} % back to Warn at {at}."
    return share or f"Back to Warn at {at}."


def _tiles(found: Incident, report: IncidentReport) -> Iterator[IncidentTile]:
    refused = report.refused
    if refused is not None:
        yield IncidentTile("Refused requests", f"{refused.refused:,}", _refused_note(refused))
        of = f" of {refused.clients:,}" if refused.clients else ""
        names = ", ".join(refused.names[:2])
        more = f" and {refused.hurt - 2:,} more" if refused.hurt > 2 else ""
        yield IncidentTile("Clients hurt", f"{refused.hurt:,}{of}", names + more)
    measured = found.measured
    if measured is not None:
        note = f"the limit is {measured.limit:g} %; in {measured.window} s"
        yield IncidentTile("Share refused", f"{measured.share:.1f} %", note)
    if report.spellings is not None:
        new = sum(each.is_new for each in report.spellings)
        note = f"{new} not sent before" if new else "all sent before"
        yield IncidentTile("Spellings", f"{len(report.spellings):,}", note)


def _refused_note(refused: counts.RefusedRequests) -> str:
    if not refused.counted:
        return "as the guard recorded them"
    if not refused.requests:
        return ""
    return f"of {refused.requests:,} enforced ones"
