"""The metrics of the backfill, read from the database at each scrape: the counters of a command would die with it."""

from collections.abc import Iterator
from typing import Any

import structlog
from django.db import Error as StoreError
from django.db.models import F, Sum
from django.db.models.functions import Greatest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.backfill.models import BackfillCheckpoint, BackfillRun
from ops.backfill.states import State

log = structlog.get_logger(__name__)


class BackfillCollector(Collector):
    """Answers with the rows that all runs looked at, by table and outcome, and the state of the newest run."""

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the database."""
        yield from (_rows(), _state(), _heartbeat())

    def collect(self) -> Iterator[Metric]:
        """Read them from the database; nothing when it does not answer, so that a scrape never fails for it."""
        try:
            newest = BackfillRun.objects.only("state", "heartbeat_at").order_by("-id").first()
            sums = list(_sums())
        except StoreError as error:
            log.warning("stage_backfill_metrics_not_read", error=type(error).__name__)
            return
        rows, state, heartbeat = _rows(), _state(), _heartbeat()
        for each in sums:
            for outcome in ("normalized", "unchanged", "skipped"):
                rows.add_metric([each["table_name"], outcome], each[outcome] or 0)
        for one in State:
            state.add_metric([one.value], 1 if newest and newest.state == one else 0)
        if newest and newest.heartbeat_at:
            heartbeat.add_metric([], newest.heartbeat_at.timestamp())
        yield from (rows, state, heartbeat)


def _sums() -> Iterator[Any]:
    # A few rows for each run ever made: as cheap as a scrape needs.
    yield from (
        BackfillCheckpoint.objects.order_by("table_name")
        .values("table_name")
        .annotate(
            normalized=Sum("changed"),
            unchanged=Sum(Greatest(F("scanned") - F("changed") - F("skipped"), 0)),
            skipped=Sum("skipped"),
        )
    )


def _rows() -> CounterMetricFamily:
    text = "Rows that runs looked at, by what became of them (an undo counts as normalized back)."
    return CounterMetricFamily("stage_backfill_rows_total", text, labels=["table", "outcome"])


def _state() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "stage_backfill_run_state", "1 for the state of the newest run.", labels=["state"]
    )


def _heartbeat() -> GaugeMetricFamily:
    text = "When the newest run's process last showed a sign of life."
    return GaugeMetricFamily("stage_backfill_heartbeat_timestamp_seconds", text)
