"""Output of `stage_clients`: a table for a terminal, or one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from normalization import conf
from normalization.rollout import Rollout
from ops.pages.clients.counts import ClientCounts, ClientList
from ops.pages.clients.enforcement import enforcement_of
from ops.pages.rollout.changes import percent_text

COLUMNS = ("requests", "canonical", "deprecated", "unknown", "rejected", "would be refused")


def to_wire(found: ClientList, rollout: Rollout) -> list[dict[str, Any]]:
    """Return the clients for `--json`; `last_seen` is None for one without a request."""
    return [_members(each, rollout) for each in found.listed]


def drawn(found: ClientList, rollout: Rollout) -> Table:
    """Return the clients as a table."""
    table = Table()
    table.add_column("client")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for heading in ("enforced", "last seen (UTC)"):
        table.add_column(heading)
    for each in found.listed:
        table.add_row(*_cells(each, rollout))
    return table


def sentence(found: ClientList, period: str) -> str:
    """Return the totals in sentences. `period` is its label, as `last 7 days`."""
    more = found.every - len(found.listed)
    refused = found.sentence or "No client sent a stage."
    silent = f"{found.silent:,} hold a key and sent nothing."
    unlisted = f" {more:,} more are not listed; raise --limit to see them." if more else ""
    return f"In the {period}: {refused} {silent}{unlisted}"


def _members(each: ClientCounts, rollout: Rollout) -> dict[str, Any]:
    enforcement = enforcement_of(rollout, each.client, conf.stage_endpoints())
    return {
        "client": each.client,
        "requests": each.counts.requests,
        **asdict(each.counts),
        "last_seen": each.last_seen and each.last_seen.isoformat(),
        "holds_key": each.holds_key,
        "bucket": enforcement.bucket,
        "enters_at_percent": percent_text(enforcement.enters_at),
        "pilot": enforcement.pilot,
        "holdout": enforcement.holdout,
        "enforced_at": list(enforcement.endpoints),
    }


def _cells(each: ClientCounts, rollout: Rollout) -> Iterator[Text]:
    enforcement = enforcement_of(rollout, each.client, conf.stage_endpoints())
    counts = each.counts
    yield Text(each.client)  # not a str: a name may look like markup
    for number in (
        counts.requests,
        counts.canonical,
        counts.normalized,
        counts.unknown,
        counts.rejected,
    ):
        yield Text(f"{number:,}")
    yield Text(
        f"{counts.percent:.2f} %" if counts.refusable else "none" if counts.requests else ""
    )
    roles = "".join(f" ({role})" for role in enforcement.roles)
    yield Text(f"{enforcement.word}{roles}")
    yield Text(f"{each.last_seen:%Y-%m-%d %H:%M}" if each.last_seen else "no request")
