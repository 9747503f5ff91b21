"""`/admin/ops/rollout/clients/`: who still sends what, and where each client stands in the rollout. Only to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from math import ceil
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from normalization import conf, rollout_store
from normalization.rollout import Rollout
from ops.pages import periods
from ops.pages.clients import counts, enforcement, spellings
from ops.pages.clients.counts import CLIENTS_COUNTED, LISTED, ClientCounts, Clients
from ops.pages.clients.enforcement import Enforcement
from ops.pages.clients.spellings import Undecided
from ops.pages.outcome_chart import Part, Window, stripe
from ops.pages.panels import softly
from ops.pages.periods import Link
from ops.pages.rollout.page import unavailable

LONGEST_NAME: Final = 100
KINDS: Final = {
    "": "All",
    "refusable": "Would be refused",
    "deprecated": "Deprecated spellings only",
    "silent": "No request",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A client of the list."""

    seen: ClientCounts
    enforcement: Enforcement
    undecided: Undecided | None
    url: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """How its outcomes share a stripe."""
        return stripe(asdict(self.seen.counts))


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the list an address asks for. Whatever it says, this is something that can be shown."""

    period: Window
    named: str
    only: str
    page: int

    @classmethod
    def by(cls, request: HttpRequest) -> Asked:
        """Read the address."""
        given = request.GET
        page = given.get("page", "")
        return cls(
            period=periods.asked(request),
            named="".join(filter(str.isprintable, given.get("q", "")))[:LONGEST_NAME].strip(),
            only=given.get("only", "") if given.get("only") in KINDS else "",
            page=min(max(int(page), 1), CLIENTS_COUNTED // LISTED)
            if page.isascii() and page.isdecimal()
            else 1,
        )

    def url(self, **other: Any) -> str:
        """Return the address of the same list, but for `other`; a list begins with its first page."""
        asked = {"window": self.period.name, "q": self.named, "only": self.only, **other}
        return f"{reverse('ops-clients')}?{urlencode({name: value for name, value in asked.items() if value})}"


@require_safe
def clients_page(request: HttpRequest) -> HttpResponse:
    """List the clients, those that enforcement would hurt most first."""
    try:
        rollout = rollout_store.newest().rollout
    except StoreError:
        return unavailable(request)
    asked, now = Asked.by(request), timezone.now()
    found = softly(
        "clients", lambda: counts.clients(asked.period, now, asked.named, asked.only, asked.page)
    )
    context = {
        **admin.site.each_context(request),
        "title": "Clients",
        "rollout": rollout,
        "asked": asked,
        "begin": asked.period.starts(now)[0],
        "windows": periods.links(asked.period, lambda each: asked.url(window=each.name)),
        "found": found,
    }
    if found is not None:
        rows = _rows(asked.period, found, rollout, now)
        context |= {"kinds": list(_kinds(asked, found)), "rows": rows, **_turned(asked, found)}
    return TemplateResponse(request, "admin/ops/rollout_clients.html", context)


def _kinds(asked: Asked, found: Clients) -> Iterator[Link]:
    for only, word in KINDS.items():
        yield Link(
            word,
            asked.url(only=only),
            current=only == asked.only,
            count=getattr(found, only or "every"),
        )


def _rows(period: Window, found: Clients, rollout: Rollout, now: datetime) -> list[Row]:
    names = [each.client for each in found.listed if each.counts.refusable]
    undecided = (
        softly("undecided spellings", lambda: spellings.undecided(names, period, now)) or {}
    )
    endpoints = conf.stage_endpoints()
    return [
        Row(
            each,
            enforcement.of(rollout, each.client, endpoints),
            undecided.get(each.client),
            periods.client_url(each.client, period),
        )
        for each in found.listed
    ]


def _turned(asked: Asked, found: Clients) -> dict[str, Any]:
    matching = getattr(found, asked.only or "every")
    last = max(ceil(matching / LISTED), 1)
    return {
        "last_page": last,
        "before": asked.url(page=min(asked.page - 1, last)) if asked.page > 1 else "",
        "after": asked.url(page=asked.page + 1) if asked.page < last else "",
    }
