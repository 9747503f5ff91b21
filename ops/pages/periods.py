"""How far back the operator's pages look, and the links between these periods.

A period is divided into steps, which are the columns of its chart (`charts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Period:
    """A time up to now, divided into `columns` steps. `name` is its value in a page's address.

    `each` is a step in words. A chart labels its axis at multiples of `tick_step`; the formats
    are those of a step's begin, beside its column and on the axis.
    """

    name: str
    label: str
    step: timedelta
    columns: int
    each: str
    tick_step: timedelta
    column_format: str = "%H:%M"
    tick_format: str = "%H:%M"

    def starts(self, now: datetime) -> list[datetime]:
        """Return the begin of each step, oldest first. The last step contains `now`."""
        newest = floor_to(now, self.step)
        return [newest - self.step * back for back in reversed(range(self.columns))]

    def begin(self, now: datetime) -> datetime:
        """Return the begin of the first step."""
        return self.starts(now)[0]


HOUR: Final = Period(
    name="60m",
    label="last 60 minutes",
    step=timedelta(minutes=1),
    columns=60,
    each="a minute",
    tick_step=timedelta(minutes=10),
)
DAY: Final = Period(
    name="24h",
    label="last 24 hours",
    step=timedelta(hours=1),
    columns=24,
    each="an hour",
    tick_step=timedelta(hours=4),
)
WEEK: Final = Period(
    name="7d",
    label="last 7 days",
    step=timedelta(hours=3),
    columns=56,
    each="three hours",
    tick_step=timedelta(days=1),
    column_format="%m-%d %H:%M",
    tick_format="%m-%d",
)

ROLLOUT_PERIODS: Final[Mapping[str, Period]] = {each.name: each for each in (HOUR, DAY)}
CLIENT_PERIODS: Final[Mapping[str, Period]] = {each.name: each for each in (DAY, WEEK)}


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """One choice of a list of links. `current` marks the choice shown; `count` is its size."""

    word: str
    url: str
    current: bool = False
    count: int | None = None


def asked_period(request: HttpRequest, periods: Mapping[str, Period], default: Period) -> Period:
    """Return the period that the address names, or `default` if it names none of `periods`."""
    return periods.get(request.GET.get("window", ""), default)


def period_links(
    periods: Mapping[str, Period], current: Period, url: Callable[[Period], str]
) -> list[NavigationLink]:
    """Return one link for each period. `url` returns the address of the page for a period."""
    return [
        NavigationLink(each.label, url(each), current=each is current) for each in periods.values()
    ]


def client_url(client: str, period: Period) -> str:
    """Return the address of a client's page.

    The name is a query parameter, because it may be `..` or contain a slash.
    """
    return f"{reverse('ops-client')}?{urlencode({'name': client, 'window': period.name})}"


def floor_to(moment: datetime, step: timedelta) -> datetime:
    """Return the last multiple of `step` since midnight (UTC) that is not after `moment`."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + step * ((moment - midnight) // step)
