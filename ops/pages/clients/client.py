"""`/admin/ops/rollout/clients/client/?name=…`: one client, and what enforcement would do. Only to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib import admin
from django.db import Error as StoreError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from normalization import conf, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import AppliedMode, Rollout
from ops.pages import outcome_counts, periods
from ops.pages.clients import counts, enforcement, spellings
from ops.pages.clients import keys as key_holders
from ops.pages.clients.counts import OfClient
from ops.pages.outcome_chart import Window, draw
from ops.pages.panels import softly
from ops.pages.request_counts import Counts
from ops.pages.rollout import proposals
from ops.pages.rollout.page import HISTORY, PERMISSION, unavailable

LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the client sent to one endpoint, and how that treats it now."""

    name: str
    path: str
    counts: Counts
    last_seen: datetime | None
    decision: AppliedMode


@require_safe
def client_page(request: HttpRequest) -> HttpResponse:
    """Show the client that `?name=` names."""
    client = request.GET.get("name", "")
    if not 0 < len(client) <= LONGEST_NAME or "\0" in client:
        raise Http404
    try:
        rollout = rollout_store.newest().rollout
        history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    except StoreError:
        return unavailable(request)
    period, now = periods.asked(request), timezone.now()
    context = {
        **admin.site.each_context(request),
        "title": client,
        "client": client,
        "rollout": rollout,
        "window": period,
        "begin": period.starts(now)[0],
        "windows": periods.links(period, lambda each: periods.client_url(client, each)),
        "enforcement": enforcement.of(rollout, client, conf.stage_endpoints()),
        "spellings": softly("spellings", lambda: spellings.of_client(client, period, now)),
        "keys": softly("keys", lambda: key_holders.keys_of(client, now)),
        "proposals": proposals.links(rollout, client) if request.user.has_perm(PERMISSION) else [],
        "may_add_alias": request.user.has_perm("normalization.add_stagealias"),
        **_requests(client, rollout, period, now, history),
    }
    return TemplateResponse(request, "admin/ops/rollout_client.html", context)


def _requests(
    client: str, rollout: Rollout, period: Window, now: datetime, history: list[RolloutChange]
) -> dict[str, Any]:
    sent = softly("requests", lambda: counts.of_client(client, period, now))
    if sent is None:
        return {"sent": None, "chart": None}
    before = None
    if not sent.last_seen:
        before = softly("requests before", lambda: counts.last_before(client, period, now))
    return {
        "sent": sent,
        "last_before": before,
        "chart": draw(period, now, sent.steps, outcome_counts.changes_of_mode(history)),
        "consequence": enforcement.consequence(sent.counts),
        "endpoints": list(_endpoints(client, rollout, sent)),
    }


def _endpoints(client: str, rollout: Rollout, sent: OfClient) -> Iterator[Endpoint]:
    known = conf.stage_endpoints()
    for name in [*sent.endpoints, *sorted(known.keys() - sent.endpoints.keys())]:
        of_it, last = sent.endpoints.get(name, (Counts(), None))
        yield Endpoint(name, known.get(name, ""), of_it, last, rollout.decide(name, client))
