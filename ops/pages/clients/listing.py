"""`/admin/ops/rollout/clients/`: the clients, those that enforcement would refuse most first.

The page is read-only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from math import ceil
from typing import Any, Final
from urllib.parse import urlencode

from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from normalization import conf, rollout_store
from normalization.outcomes import OUTCOMES
from normalization.rollout import Mode, Rollout
from ops.pages.charts import StripePart, stripe
from ops.pages.clients import counts, spellings
from ops.pages.clients.counts import CLIENTS_COUNTED, LISTED, ClientCounts, ClientList
from ops.pages.clients.enforcement import ClientEnforcement, enforcement_of
from ops.pages.clients.spellings import UndecidedSpellings
from ops.pages.console import console_context
from ops.pages.panels import softly
from ops.pages.periods import (
    CLIENT_PERIODS,
    WEEK,
    NavigationLink,
    Period,
    asked_period,
    client_url,
    period_links,
)
from ops.pages.rollout.changes import percent_text
from ops.pages.rollout.page import unavailable

LONGEST_NAME: Final = 100
KINDS: Final = {
    "": "All",
    "refusable": "Would be refused",
    "deprecated": "Deprecated spellings only",
    "silent": "No request",
}


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client of the list."""

    seen: ClientCounts
    enforcement: ClientEnforcement
    undecided: UndecidedSpellings | None
    url: str

    @property
    def stripe(self) -> tuple[StripePart, ...]:
        """The shares of its outcomes."""
        return stripe(asdict(self.seen.counts))


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The part of the list that an address asks for. Invalid parameters count as absent."""

    period: Period
    named: str
    only: str
    page: int

    @classmethod
    def of_request(cls, request: HttpRequest) -> ListQuery:
        """Read the query parameters."""
        given = request.GET
        only = given.get("only", "")
        printable = filter(str.isprintable, given.get("q", ""))
        return cls(
            period=asked_period(request, CLIENT_PERIODS, WEEK),
            named="".join(printable)[:LONGEST_NAME].strip(),
            only=only if only in KINDS else "",
            page=_page_number(given.get("page", "")),
        )

    def url(self, **other: Any) -> str:
        """Return the address of the list with `other` parameters, at its first page."""
        asked = {"window": self.period.name, "q": self.named, "only": self.only, **other}
        given = {name: value for name, value in asked.items() if value}
        return f"{reverse('ops-clients')}?{urlencode(given)}"


@require_safe
def clients_page(request: HttpRequest) -> HttpResponse:
    """List the clients, those that enforcement would refuse most first."""
    try:
        rollout = rollout_store.newest().rollout
    except StoreError:
        return unavailable(request)
    query, now = ListQuery.of_request(request), timezone.now()
    found = softly(
        "clients", lambda: counts.clients(query.period, now, query.named, query.only, query.page)
    )
    context = {
        **console_context(request, "Clients", "ops-clients", rollout),
        "rollout": rollout,
        "mode_note": _mode_note(rollout),
        "query": query,
        "begin": query.period.begin(now),
        "period_links": period_links(
            CLIENT_PERIODS, query.period, lambda each: query.url(window=each.name)
        ),
        "outcomes": OUTCOMES,
        "found": found,
    }
    if found is not None:
        context |= {
            "kinds": list(_kinds(query, found)),
            "rows": _rows(query.period, found, rollout, now),
            "empty": _empty(query),
            **_pages(query, found),
        }
    return TemplateResponse(request, "admin/ops/clients/list.html", context)


def _page_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        return 1
    return min(max(int(text), 1), CLIENTS_COUNTED // LISTED)


def _mode_note(rollout: Rollout) -> str:
    if rollout.mode is not Mode.ENFORCE:
        return ""
    return f"for {percent_text(rollout.enforce_percent)} % of the clients."


def _kinds(query: ListQuery, found: ClientList) -> Iterator[NavigationLink]:
    for only, word in KINDS.items():
        yield NavigationLink(
            word,
            query.url(only=only),
            current=only == query.only,
            count=getattr(found, only or "every"),
        )


def _rows(period: Period, found: ClientList, rollout: Rollout, now: datetime) -> list[ClientRow]:
    names = [each.client for each in found.listed if each.counts.refusable]
    undecided = softly("undecided spellings", lambda: spellings.undecided(names, period, now))
    endpoints = conf.stage_endpoints()
    return [
        ClientRow(
            each,
            enforcement_of(rollout, each.client, endpoints),
            (undecided or {}).get(each.client),
            client_url(each.client, period),
        )
        for each in found.listed
    ]


def _empty(query: ListQuery) -> str:
    """Return the sentence for a list without rows."""
    if query.named:
        return f"No client has “{query.named}” in its name."
    if query.only or query.page > 1:
        return "There are no such clients."
    return (
        f"No client sent a stage in the {query.period.label}, and there are no keys. "
        "A request is counted a few seconds after its answer."
    )


def _pages(query: ListQuery, found: ClientList) -> dict[str, Any]:
    matching = getattr(found, query.only or "every")
    last = max(ceil(matching / LISTED), 1)
    return {
        "last_page": last,
        "previous": query.url(page=min(query.page - 1, last)) if query.page > 1 else "",
        "next": query.url(page=query.page + 1) if query.page < last else "",
    }
