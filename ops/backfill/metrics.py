"""The metrics of the backfill, read from the database at each scrape.

The counters of a command would be lost with its process.
"""

from collections.abc import Iterator
from typing import Any

import structlog
from django.db import Error as StoreError
from django.db.models import F, Sum
from django.db.models.functions import Greatest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.backfill.lease import is_alive
from ops.backfill.models import BackfillCheckpoint, BackfillRun
from ops.backfill.states import RunState

log = structlog.get_logger(__name__)


class BackfillCollector(Collector):
    """Exports the rows of all runs, by table and outcome, and the state of the newest run."""

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without values; does not read the database."""
        yield from (_rows_family(), _state_family(), _alive_family(), _heartbeat_family())

    def collect(self) -> Iterator[Metric]:
        """Read the metrics; yields nothing, and logs it, when the database does not answer."""
        try:
            newest = BackfillRun.objects.defer("plan", "unknown", "history").first()
            alive = newest is not None and is_alive(newest)
            sums = list(_sums())
        except StoreError as error:
            log.warning("stage_backfill_metrics_not_read", error=type(error).__name__)
            return
        yield from (_rows(sums), _state(newest), _alive(alive), _heartbeat(newest))


def _sums() -> Iterator[Any]:
    # A few rows for each run ever made: cheap enough for every scrape.
    yield from (
        BackfillCheckpoint.objects.order_by("table_name")
        .values("table_name")
        .annotate(
            normalized=Sum("changed"),
            unchanged=Sum(Greatest(F("scanned") - F("changed") - F("skipped"), 0)),
            skipped=Sum("skipped"),
        )
    )


def _rows(sums: list[Any]) -> Metric:
    family = _rows_family()
    for each in sums:
        for outcome in ("normalized", "unchanged", "skipped"):
            family.add_metric([each["table_name"], outcome], each[outcome] or 0)
    return family


def _state(newest: BackfillRun | None) -> Metric:
    family = _state_family()
    for state in RunState:
        family.add_metric([state.value], 1 if newest and newest.state == state else 0)
    return family


def _alive(alive: bool) -> Metric:
    family = _alive_family()
    family.add_metric([], int(alive))
    return family


def _heartbeat(newest: BackfillRun | None) -> Metric:
    family = _heartbeat_family()
    if newest and newest.heartbeat_at:
        family.add_metric([], newest.heartbeat_at.timestamp())
    return family


def _rows_family() -> CounterMetricFamily:
    text = "Rows that runs scanned, by outcome (a restored row counts as normalized)."
    return CounterMetricFamily("stage_backfill_rows_total", text, labels=["table", "outcome"])


def _state_family() -> GaugeMetricFamily:
    text = "1 for the state of the newest run."
    return GaugeMetricFamily("stage_backfill_run_state", text, labels=["state"])


def _alive_family() -> GaugeMetricFamily:
    text = "1 while a process holds the newest run. 0 with state running: its process is gone."
    return GaugeMetricFamily("stage_backfill_run_alive", text)


def _heartbeat_family() -> GaugeMetricFamily:
    text = "When the process of the newest run last sent a heartbeat."
    return GaugeMetricFamily("stage_backfill_heartbeat_timestamp_seconds", text)
