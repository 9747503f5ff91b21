"""Counts who called which endpoint, from the lines of access logs, with flat memory.

Totals are exact. Of each endpoint at most KEPT addresses, user agents and clients are kept by
name; requests of further ones count as `others`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.urls import Resolver404, resolve

from ops.consumers.access_log import LoggedRequest, UnreadableLine, parse
from ops.consumers.log_files import LogSource, lines
from stagenorm.terminal import ReportProgress, no_progress

KEPT: Final = 10_000
LONGEST_PATH: Final = 500  # none of the endpoints is as long
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# The service refused these before it looked at the body: no key, not allowed, not found, too many.
NOT_SERVED: Final = frozenset({401, 403, 404, 405, 429})
LOCAL: Final = ("unix:", "localhost")
_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")

Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


@dataclass(slots=True)
class Use:
    """Requests of one address, user agent or client; `served` of them were not turned away."""

    requests: int = 0
    served: int = 0
    last_at: datetime | None = None
    last_client: str = ""
    last_agent: str = ""

    def add(self, request: LoggedRequest) -> None:
        """Count a request."""
        self.requests += 1
        self.served += request.status not in NOT_SERVED
        if self.last_at is None or request.at >= self.last_at:
            self.last_at = request.at
            self.last_client = request.client or self.last_client
            self.last_agent = request.agent or self.last_agent


@dataclass(slots=True)
class Users:
    """Uses by name, at most KEPT of them; `others` has the requests of the rest."""

    by_name: dict[str, Use] = field(default_factory=dict)
    others: Use = field(default_factory=Use)

    def add(self, name: str, request: LoggedRequest) -> None:
        """Count a request."""
        found = self.by_name.get(name)
        if found is None:
            if len(self.by_name) >= KEPT:
                self.others.add(request)
                return
            found = self.by_name[name] = Use()
        found.add(request)

    def most(self) -> list[tuple[str, Use]]:
        """Return the uses, those with most requests first."""
        return sorted(self.by_name.items(), key=lambda each: (-each[1].requests, each[0]))


@dataclass(slots=True)
class EndpointUse:
    """Who called one endpoint. `key_unknown`: requests of logs that do not have the key."""

    endpoint: str
    requests: int = 0
    without_key: int = 0
    key_unknown: int = 0
    internal: Users = field(default_factory=Users)
    external: Users = field(default_factory=Users)
    agents: Users = field(default_factory=Users)
    clients: Users = field(default_factory=Users)

    def add(self, request: LoggedRequest, *, internal: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.without_key += request.has_key is False or request.status == 401
        self.key_unknown += request.has_key is None and request.status != 401
        (self.internal if internal else self.external).add(request.address, request)
        self.agents.add(request.agent or "(none)", request)
        if request.client:
            self.clients.add(request.client, request)

    @property
    def external_requests(self) -> int:
        """The requests of external addresses."""
        named = sum(use.requests for use in self.external.by_name.values())
        return named + self.external.others.requests


@dataclass(slots=True)
class ConsumerAudit:
    """What the logs showed.

    `endpoints`: by "METHOD /path", those that check stages first. `elsewhere`: requests of other
    addresses. `older`: requests before the days that were asked for. `records`: other records.
    """

    days: int
    sources: list[LogSource] = field(default_factory=list)
    endpoints: dict[str, EndpointUse] = field(default_factory=dict)
    elsewhere: int = 0
    older: int = 0
    records: int = 0

    @property
    def requests(self) -> int:
        """The requests to endpoints of this service."""
        return sum(each.requests for each in self.endpoints.values())

    @property
    def external(self) -> int:
        """Those of external addresses."""
        return sum(each.external_requests for each in self.endpoints.values())

    @property
    def without_key(self) -> int:
        """Those without a key, or with one that is not valid."""
        return sum(each.without_key for each in self.endpoints.values())

    @property
    def unreadable(self) -> int:
        """The lines that could not be read."""
        return sum(source.unreadable for source in self.sources)

    def clients(self) -> set[str]:
        """Return the names of the clients."""
        return {name for each in self.endpoints.values() for name in each.clients.by_name}

    def served_external(self) -> list[tuple[str, int]]:
        """Return the external addresses that were served, with their requests, most first."""
        found: dict[str, int] = {}
        for each in self.endpoints.values():
            for address, use in each.external.by_name.items():
                if use.served:
                    found[address] = found.get(address, 0) + use.served
            if each.external.others.served:
                found["others"] = found.get("others", 0) + each.external.others.served
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def audit(
    paths: Sequence[Path],
    *,
    days: int,
    now: datetime,
    networks: Networks,
    progress: ReportProgress = no_progress,
) -> ConsumerAudit:
    """Read the logs at `paths`, and count their requests of the last `days` days.

    `networks` are internal. Raises `OSError` if a file cannot be opened.
    """
    names = settings.STAGE_ENDPOINTS.values()
    found = ConsumerAudit(days, endpoints={name: EndpointUse(name) for name in names})
    is_internal = internal_by(networks)
    since = now - timedelta(days=days)
    for path in paths:
        for request in _requests(path, found, progress):
            if request.at < since:
                found.older += 1
                continue
            path_asked = request.target.partition("?")[0]
            endpoint = endpoint_of(request.method, path_asked[: LONGEST_PATH + 1])
            if not endpoint:
                found.elsewhere += 1
                continue
            if endpoint not in found.endpoints:
                found.endpoints[endpoint] = EndpointUse(endpoint)
            found.endpoints[endpoint].add(request, internal=is_internal(request.address))
    return found


def _requests(
    path: Path, found: ConsumerAudit, progress: ReportProgress
) -> Iterator[LoggedRequest]:
    source = LogSource(str(path))
    found.sources.append(source)
    size = path.stat().st_size or None
    for line in lines(path, source, lambda done: progress(path.name, done, size)):
        try:
            request = parse(line)
        except UnreadableLine as fault:
            source.refuse(str(fault))
            continue
        if request is None:
            found.records += 1
        else:
            yield request


@lru_cache(8_192)
def endpoint_of(method: str, path: str) -> str:
    """Return "METHOD /path" of the API's endpoint at `path`; "" if there is none.

    A path below DJANGO_SCRIPT_NAME is meant too: the proxy may log it with the prefix or without.
    """
    if len(path) > LONGEST_PATH:
        return ""
    if "://" in path:  # a request through a proxy names the host too
        path = urlsplit(path).path
    path = unquote(path).removeprefix(settings.SCRIPT_NAME)
    if not path.startswith("/api/"):
        return ""
    try:
        route = resolve(path).route
    except Resolver404:
        return ""
    if method == "HEAD":
        method = "GET"
    elif method not in METHODS:
        method = "OTHER"
    return f"{method} /" + _PARAMETER.sub(r"{\1}", route)


def internal_by(networks: Networks) -> Callable[[str], bool]:
    """Return the function that recognizes internal addresses. Host names are not internal."""

    @lru_cache(8_192)
    def is_internal(address: str) -> bool:
        if address in LOCAL:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in networks)

    return is_internal


def read_networks(texts: Iterable[str]) -> Networks:
    """Read networks such as 10.0.0.0/8. Raises `ValueError`."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]
