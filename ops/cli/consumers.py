"""What `consumer_audit` prints: tables and sentences, or one JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table

from ops.consumers.audit import ConsumerAudit, EndpointUse, Use, Users
from ops.consumers.code_search import CodeSearch
from ops.consumers.log_files import LogSource
from ops.gates.consumers_rule import KnownConsumers
from stagenorm.terminal import add_row, table

LISTED_IN_JSON: Final = 1_000


def audit_tables(audit: ConsumerAudit, limit: int) -> Iterator[Table]:
    """Yield the endpoints, then for each that was called its addresses, agents and clients.

    `limit` is the number of rows of each table.
    """
    yield _endpoints_table(audit)
    for use in audit.endpoints.values():
        if use.requests:
            yield _address_table(use, limit)
            yield _users_table(f"{use.endpoint}: user agents", "user agent", use.agents, limit)
        if use.clients.by_name:
            yield _users_table(f"{use.endpoint}: clients", "client", use.clients, limit)


def audit_sentences(audit: ConsumerAudit) -> Iterator[str]:
    """Yield what was read, what was not, and why."""
    lines = sum(source.lines for source in audit.sources)
    yield (
        f"{lines:,} lines of {len(audit.sources):,} files; {audit.requests:,} requests of the "
        f"last {audit.days} days to endpoints, {audit.external:,} of external addresses, "
        f"{audit.without_key:,} without a valid key."
    )
    yield (
        f"Not counted: {audit.elsewhere:,} requests of other addresses, {audit.older:,} older, "
        f"{audit.records:,} other records, {audit.unreadable:,} unreadable lines."
    )
    for source in audit.sources:
        yield from _faults(source)


def code_table(found: CodeSearch) -> Table:
    """Return the places in code that name an endpoint."""
    drawn = table("endpoint", "place", "line", title="Code")
    for hit in found.hits:
        add_row(drawn, hit.endpoint, f"{hit.file}:{hit.line}", hit.text)
    return drawn


def code_sentence(found: CodeSearch) -> str:
    """Return how many files were searched, and which were not."""
    hits = f"{len(found.hits):,} places in {found.files:,} files name an endpoint."
    if not found.complete:
        hits = f"The search ended at {len(found.hits):,} places: search fewer directories at once."
    return (
        f"{hits} Not searched: {found.binary:,} binary files, {found.too_large:,} that are too "
        f"large, {found.unreadable:,} that cannot be read."
    )


def decision_sentence(known: KnownConsumers | None, now: Any) -> str:
    """Return the decision in force, or how to record one."""
    if known is not None and not known.is_expired(now):
        return known.sentence(now)
    before = "No decision is recorded." if known is None else known.sentence(now)
    return (
        f"{before} Record one: add --decide internal-only, or --decide external with --owner "
        "for each owner, and --reason."
    )


def audit_json(audit: ConsumerAudit) -> dict[str, Any]:
    """Return the audit for `--json`; each list has at most LISTED_IN_JSON entries."""
    return {
        "days": audit.days,
        "requests": audit.requests,
        "external_requests": audit.external,
        "without_key": audit.without_key,
        "elsewhere": audit.elsewhere,
        "older": audit.older,
        "other_records": audit.records,
        "files": [asdict(source) for source in audit.sources],
        "endpoints": [_endpoint_json(use) for use in audit.endpoints.values()],
    }


def code_json(found: CodeSearch) -> dict[str, Any]:
    """Return the search for `--json`."""
    return asdict(found)


def decision_json(known: KnownConsumers | None, now: Any) -> dict[str, Any] | None:
    """Return the decision in force for `--json`, None if none was recorded."""
    if known is None:
        return None
    moments = {"decided_at": known.decided_at.isoformat()}
    moments["expires_at"] = known.expires_at.isoformat()
    return {**known.evidence(), **moments, "expired": known.is_expired(now)}


def _endpoints_table(audit: ConsumerAudit) -> Table:
    numbers = ("requests", "internal", "external", "without key", "key not logged", "clients")
    drawn = table("endpoint", *numbers, title="Endpoints", numbers=numbers)
    for use in audit.endpoints.values():
        internal = use.requests - use.external_requests
        counts = (use.requests, internal, use.external_requests, use.without_key, use.key_unknown)
        add_row(drawn, use.endpoint, *counts, len(use.clients.by_name))
    return drawn


def _address_table(use: EndpointUse, limit: int) -> Table:
    """Return the addresses of an endpoint, external ones first."""
    numbers = ("requests", "served")
    drawn = table(
        "address", "place", *numbers, "last (UTC)", "last client", "last user agent",
        title=f"{use.endpoint}: addresses", numbers=numbers,
    )  # fmt: skip
    placed = [("external", each) for each in use.external.most()]
    placed += [("internal", each) for each in use.internal.most()]
    for place, (address, found) in placed[:limit]:
        add_row(
            drawn, address, place, found.requests, found.served, _last(found),
            found.last_client, found.last_agent,
            style="yellow" if place == "external" and found.served else None,
        )  # fmt: skip
    others = use.external.others.requests + use.internal.others.requests
    hidden = sum(found.requests for _, (_, found) in placed[limit:]) + others
    if hidden:
        add_row(drawn, "others", "", hidden, "", "", "", "")
    return drawn


def _users_table(title: str, heading: str, users: Users, limit: int) -> Table:
    drawn = table(
        heading, "requests", "served", "last (UTC)", title=title, numbers=("requests", "served")
    )
    most = users.most()
    for name, found in most[:limit]:
        add_row(drawn, name, found.requests, found.served, _last(found))
    hidden = sum(found.requests for _, found in most[limit:]) + users.others.requests
    if hidden:
        add_row(drawn, "others", hidden, "", "")
    return drawn


def _last(use: Use) -> str:
    return f"{use.last_at:%Y-%m-%d %H:%M}" if use.last_at else ""


def _faults(source: LogSource) -> Iterator[str]:
    if source.damage:
        yield f"{source.name} is {source.damage}. What follows was not read."
    for number, reason in source.first_unreadable:
        yield f"{source.name}, line {number:,}: {reason}."
    more = source.unreadable - len(source.first_unreadable)
    if more:
        yield f"{source.name}: {more:,} more unreadable lines."


def _endpoint_json(use: EndpointUse) -> dict[str, Any]:
    addresses = [
        *({"place": "external", **each} for each in _users_json("address", use.external)),
        *({"place": "internal", **each} for each in _users_json("address", use.internal)),
    ]
    return {
        "endpoint": use.endpoint,
        "requests": use.requests,
        "external_requests": use.external_requests,
        "without_key": use.without_key,
        "key_not_logged": use.key_unknown,
        "addresses": addresses[:LISTED_IN_JSON],
        "user_agents": list(_users_json("user_agent", use.agents)),
        "clients": list(_users_json("client", use.clients)),
    }


def _users_json(member: str, users: Users) -> Iterable[dict[str, Any]]:
    for name, use in users.most()[:LISTED_IN_JSON]:
        yield {
            member: name,
            "requests": use.requests,
            "served": use.served,
            "last": use.last_at and use.last_at.isoformat(),
            "last_client": use.last_client,
            "last_user_agent": use.last_agent,
        }
