"""The times that the pages of clients look back, and the links between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from ops.pages.outcome_chart import WEEK, WINDOWS, Window

PERIODS: Final[Mapping[str, Window]] = {window.name: window for window in (WINDOWS["24h"], WEEK)}


@dataclass(frozen=True, slots=True)
class Link:
    """A choice on a page: `current` is the one that is shown, `count` how much there is of it."""

    word: str
    url: str
    current: bool = False
    count: int | None = None


def asked(request: HttpRequest) -> Window:
    """Return the period that an address asks for, the week unless it names another."""
    return PERIODS.get(request.GET.get("window", ""), WEEK)


def links(current: Window, url: Callable[[Window], str]) -> list[Link]:
    """Return the choice between the periods; `url` gives the address for one."""
    return [Link(each.label, url(each), current=each is current) for each in PERIODS.values()]


def client_url(client: str, period: Window) -> str:
    """Return the address of a client's page. The name is a parameter: it may be `..` or have a slash in it."""
    return f"{reverse('ops-client')}?{urlencode({'name': client, 'window': period.name})}"
