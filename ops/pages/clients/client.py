"""`/admin/ops/rollout/clients/client/?name=…`: one client, and what enforcement would do to it.

The page is read-only. Its links lead to the form of the rollout page and to the form of decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import Error as StoreError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.timesince import timesince
from django.views.decorators.http import require_safe

from normalization import conf, known_clients, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import AppliedMode, Mode, Rollout
from ops.pages import charts
from ops.pages.clients import counts, spellings
from ops.pages.clients.counts import ClientRequests, RequestCounts
from ops.pages.clients.enforcement import (
    ClientEnforcement,
    EnforcementStatus,
    consequence,
    enforcement_of,
)
from ops.pages.clients.spellings import ClientSpellings
from ops.pages.console import console_context
from ops.pages.panels import StatusFact, softly
from ops.pages.periods import CLIENT_PERIODS, WEEK, Period, asked_period, client_url, period_links
from ops.pages.rollout.changes import percent_text, proposal_links
from ops.pages.rollout.page import HISTORY, PERMISSION, unavailable
from ops.pages.rollout.status import moment_text

LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class ClientEndpoint:
    """What the client sent to one endpoint, and how the rollout treats it there now."""

    name: str
    path: str
    counts: RequestCounts
    last_seen: datetime | None
    decision: AppliedMode


@require_safe
def client_page(request: HttpRequest) -> HttpResponse:
    """Show the client that `?name=` names. Any name is a client, also one without requests."""
    client = request.GET.get("name", "")
    if not 0 < len(client) <= LONGEST_NAME or "\0" in client:
        raise Http404
    try:
        rollout = rollout_store.newest().rollout
        history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    except StoreError:
        return unavailable(request)
    now = timezone.now()
    period = asked_period(request, CLIENT_PERIODS, WEEK)
    enforcement = enforcement_of(rollout, client, conf.stage_endpoints())
    sent = softly("requests", lambda: counts.requests_of(client, period, now))
    found = softly("spellings", lambda: spellings.spellings_of(client, period, now))
    may_change = request.user.has_perm(PERMISSION)
    context = {
        **console_context(request, client, "ops-clients", rollout),
        "client": client,
        "period": period,
        "begin": period.begin(now),
        "period_links": period_links(
            CLIENT_PERIODS, period, lambda each: client_url(client, each)
        ),
        "enforcement": enforcement,
        "status_sentence": _status_sentence(enforcement, rollout),
        "facts": list(_facts(client, period, now, enforcement, sent, found)),
        "spellings": found,
        "proposals": proposal_links(rollout, client) if may_change else [],
        "may_decide": request.user.has_perm("normalization.add_stagedecision"),
        "sent": sent,
        **_requests(client, rollout, period, now, sent, history),
    }
    return TemplateResponse(request, "admin/ops/clients/client.html", context)


def _status_sentence(enforcement: ClientEnforcement, rollout: Rollout) -> str:
    if rollout.mode is not Mode.ENFORCE:
        return f"{enforcement.sentence} The mode is {rollout.mode}: nothing is refused now."
    if enforcement.status is EnforcementStatus.SHARE:
        share = percent_text(rollout.enforce_percent)
        return f"{enforcement.sentence} The share is {share} % now, so it is only warned."
    return enforcement.sentence


def _facts(
    client: str,
    period: Period,
    now: datetime,
    enforcement: ClientEnforcement,
    sent: ClientRequests | None,
    found: ClientSpellings | None,
) -> Iterator[StatusFact]:
    yield _consequence(period, sent, found)
    yield _last_seen(client, period, now, sent)
    usable = softly("keys", lambda: known_clients.keys_of(client, now))
    if usable is None:
        yield StatusFact("Keys that can be used", "", "not known")
    elif usable:
        yield StatusFact("Keys that can be used", str(usable))
    else:
        yield StatusFact("Keys that can be used", "none", "the client cannot send requests")
    yield _agents(client)
    yield StatusFact(
        "Canary bucket",
        f"{enforcement.bucket:,} of 10,000",
        f"enters at {percent_text(enforcement.enters_at)} %",
    )


def _consequence(
    period: Period, sent: ClientRequests | None, found: ClientSpellings | None
) -> StatusFact:
    term = f"What enforcement would do, by the {period.label}"
    if sent is None:
        return StatusFact(term, "", "not known: this part is slow right now", "wide consequence")
    note = found.sentence if found and sent.counts.refusable else ""
    return StatusFact(term, consequence(sent.counts), note, "wide consequence")


def _last_seen(
    client: str, period: Period, now: datetime, sent: ClientRequests | None
) -> StatusFact:
    if sent is None:
        return StatusFact("Last seen", "", "not known")
    if sent.last_seen:
        ago = f"{timesince(sent.last_seen, now)} ago"
        return StatusFact("Last seen", moment_text(sent.last_seen), ago)
    before = softly("requests before", lambda: counts.last_before(client, period, now))
    if before:
        note = f"no request in the {period.label}"
        return StatusFact("Last seen", moment_text(before), note)
    return StatusFact("Last seen", "never", "as far back as requests are kept")


def _agents(client: str) -> StatusFact:
    term = "Last user agents"
    agents = softly("user agents", lambda: counts.agents_of([client]))
    if agents is None:
        return StatusFact(term, "", "not known")
    of_client = agents.get(client, [])
    note = "newest first" if len(of_client) > 1 else ""
    return StatusFact(term, " · ".join(of_client) or "none seen", note, "wide")


def _requests(
    client: str,
    rollout: Rollout,
    period: Period,
    now: datetime,
    sent: ClientRequests | None,
    history: list[RolloutChange],
) -> dict[str, Any]:
    if sent is None:
        return {"chart": None, "endpoints": None}
    return {
        "chart": charts.draw(period, now, sent.steps, charts.changes_of_mode(history)),
        "endpoints": list(_endpoints(client, rollout, sent)),
    }


def _endpoints(client: str, rollout: Rollout, sent: ClientRequests) -> Iterator[ClientEndpoint]:
    paths = conf.stage_endpoints()
    for name in [*sent.endpoints, *sorted(paths.keys() - sent.endpoints.keys())]:
        of_endpoint, last = sent.endpoints.get(name, (RequestCounts(), None))
        decision = rollout.decide(name, client)
        yield ClientEndpoint(name, paths.get(name, ""), of_endpoint, last, decision)
