"""The metrics of backups, read from the database at each scrape.

Counters of a command would end with its process.

`stage_backup_last_valid_timestamp_seconds` is 0 if there is no valid backup, and absent if the
database does not answer; the alert rule takes both for stale (docs/backups.md). A scrape
reads no dump.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import structlog
from django.db import Error as StoreError
from django.db.models import Count
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.backups import history
from ops.backups.models import BackupCheck
from ops.gates.backup_rule import CheckKind, CheckVerdict

log = structlog.get_logger(__name__)


class BackupCollector(Collector):
    """Collects the snapshot time of the newest valid backup and the checks by verdict."""

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the database."""
        yield from (_last_valid(), _checks())

    def collect(self) -> Iterator[Metric]:
        """Read both; yield nothing if the database does not answer, so that a scrape succeeds."""
        try:
            newest = history.newest_valid()
            rows = (
                BackupCheck.objects.order_by()
                .values("kind", "verdict")
                .annotate(number=Count("id"))
            )
            counts = {(row["kind"], row["verdict"]): row["number"] for row in rows}
        except StoreError as error:
            log.warning("stage_backup_metrics_not_read", error=type(error).__name__)
            return
        last_valid, checks = _last_valid(), _checks()
        last_valid.add_metric([], newest.backup.snapshot_at.timestamp() if newest else 0)
        for kind, verdict in product(CheckKind, CheckVerdict):
            number = counts.get((kind.value, verdict.value), 0)
            checks.add_metric([kind.value, verdict.value], number)
        yield from (last_valid, checks)


def _last_valid() -> GaugeMetricFamily:
    text = (
        "Snapshot time of the newest backup that passed both checks and whose files are not "
        "known to be missing or changed; 0 if there is none."
    )
    return GaugeMetricFamily("stage_backup_last_valid_timestamp_seconds", text)


def _checks() -> CounterMetricFamily:
    return CounterMetricFamily(
        "stage_backup_checks_total", "Checks of backups, by verdict.", labels=["check", "verdict"]
    )
