"""How `stage_clients` looks: a table for a terminal, or one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from normalization import conf
from normalization.rollout import Rollout
from ops.pages.clients import enforcement
from ops.pages.clients.counts import ClientCounts, Clients

COLUMNS = (
    "requests",
    "canonical",
    "deprecated",
    "outside",
    "unknown",
    "rejected",
    "would be refused",
)


def to_wire(found: Clients, rollout: Rollout) -> list[dict[str, Any]]:
    """Return the clients for `--json`; `last_seen` is None for one without a request."""
    return [_members(each, rollout) for each in found.listed]


def drawn(found: Clients, rollout: Rollout) -> Table:
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


def sentence(found: Clients, period: str) -> str:
    """Say the same in a sentence."""
    more = found.every - len(found.listed)
    share = f"{found.refused:,} of {found.requests:,} requests ({found.percent:.2f} %)"
    who = f"{found.refusable:,} of {found.seen:,} clients sent what enforcement refuses in the {period}: {share}."
    unlisted = f" {more:,} more are not listed: --limit takes more." if more else ""
    return f"{who} {found.silent:,} hold a key and sent nothing.{unlisted}"


def _members(each: ClientCounts, rollout: Rollout) -> dict[str, Any]:
    standing = enforcement.of(rollout, each.client, conf.stage_endpoints())
    return {
        "client": each.client,
        "requests": each.counts.requests,
        **asdict(each.counts),
        "last_seen": each.last_seen and each.last_seen.isoformat(),
        "holds_key": each.holds_key,
        "bucket": standing.bucket,
        "enters_at_percent": enforcement.spelled(standing.enters_at),
        "pilot": standing.pilot,
        "holdout": standing.holdout,
        "enforced_at": list(standing.endpoints),
    }


def _cells(each: ClientCounts, rollout: Rollout) -> Iterator[Text]:
    standing = enforcement.of(rollout, each.client, conf.stage_endpoints())
    counts = each.counts
    yield Text(each.client)  # not a str: a name may look like markup
    for number in (
        counts.requests,
        counts.canonical,
        counts.normalized,
        counts.outside,
        counts.unknown,
        counts.rejected,
    ):
        yield Text(f"{number:,}")
    yield Text(
        f"{counts.percent:.2f} %" if counts.refusable else "none" if counts.requests else ""
    )
    yield Text(standing.word + " (pilot)" * standing.pilot + " (holdout)" * standing.holdout)
    yield Text(f"{each.last_seen:%Y-%m-%d %H:%M}" if each.last_seen else "no request")
