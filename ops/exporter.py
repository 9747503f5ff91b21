"""`/metrics`: the counters of the worker processes, and the metrics that the database holds.

prometheus_client's multi-process mode ignores custom collectors, so the collectors that read the
database are called here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from normalization.bounded import Bounded, TookTooLong
from ops.backfill.metrics import BackfillCollector
from ops.backups.metrics import BackupCollector
from ops.rollout_metrics import RolloutCollector
from stagenorm import worker_metrics

log = structlog.get_logger(__name__)

FROM_DATABASE: Final[tuple[type[Collector], ...]] = (
    RolloutCollector,
    BackupCollector,
    BackfillCollector,
)
# prometheus.yml gives a scrape 2 s. If the database does not answer in time, the counters of the
# processes are exported without its metrics.
DATABASE_SECONDS: Final = 1.0

LAST_TICK: Final = "stage_guard_last_tick_timestamp_seconds"

_database = Bounded("metrics of the database")


class WorkerCollector(Collector):
    """The metrics of the worker processes, and the age of the guard's last tick among them.

    The age is computed at the scrape: a worker that is frozen cannot compute its own.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, then the age."""
        if self._directory is None:
            found = list(REGISTRY.collect())
        else:
            files = worker_metrics.serving_files(self._directory)
            found = list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
        yield from found
        ticks = (each.value for one in found if one.name == LAST_TICK for each in one.samples)
        last = min(ticks, default=0)
        if last:
            text = "Seconds since the guard of a worker ticked, the longest of all."
            age = max(0.0, time.time() - last)
            yield GaugeMetricFamily("stage_guard_tick_age_seconds", text, value=age)


@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape."""
    return HttpResponse(_counted() + _from_database(), content_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    directory = worker_metrics.shared_directory()
    counted = CollectorRegistry(auto_describe=False)
    counted.register(WorkerCollector(directory))
    if directory is None:
        return generate_latest(counted)
    try:
        with worker_metrics.folded(directory):
            return generate_latest(counted)
    except (OSError, ValueError) as error:  # the directory was removed or cannot be read
        log.warning("stage_worker_metrics_not_read", error=str(error))
        return generate_latest(REGISTRY)


def _from_database() -> bytes:
    try:
        return _database.run(_collect, DATABASE_SECONDS)
    except TookTooLong as error:
        log.warning("stage_database_metrics_not_read", error=str(error))
        return b""


def _collect() -> bytes:
    registry = CollectorRegistry()
    for collector in FROM_DATABASE:
        registry.register(collector())
    try:
        return generate_latest(registry)
    finally:
        connection.close()  # the thread's own connection
