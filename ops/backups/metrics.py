"""The metrics of backups, read from the database at each scrape: the counters of a command would die with it.

`stage_backup_last_valid_timestamp_seconds` is 0 when no backup ever counted, and absent when the database does not
answer; the alert rule takes both for stale (docs/backups.md).
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
from ops.backups.outcomes import CheckKind, CheckVerdict

log = structlog.get_logger(__name__)


class BackupCollector(Collector):
    """Answers with the newest snapshot that counts and the number of checks by verdict."""

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the database."""
        yield from (_last_valid(), _checks())

    def collect(self) -> Iterator[Metric]:
        """Read both from the database; nothing when it does not answer, so that a scrape never fails for it."""
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
        last_valid.add_metric([], newest.snapshot_at.timestamp() if newest else 0)
        for check, verdict in product(CheckKind, CheckVerdict):
            checks.add_metric(
                [check.value, verdict.value], counts.get((check.value, verdict.value), 0)
            )
        yield from (last_valid, checks)


def _last_valid() -> GaugeMetricFamily:
    text = "Snapshot time of the newest backup that passed both checks; 0 when there is none."
    return GaugeMetricFamily("stage_backup_last_valid_timestamp_seconds", text)


def _checks() -> CounterMetricFamily:
    return CounterMetricFamily(
        "stage_backup_checks_total", "Checks of backups, by verdict.", labels=["check", "verdict"]
    )
