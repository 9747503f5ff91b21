"""`/metrics`: the counters of the worker processes, and the metrics that the database holds.

prometheus_client's multi-process mode ignores custom collectors, so the collectors that read the
database are called here.
"""

from __future__ import annotations

from typing import Final

import structlog
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from normalization.bounded import Bounded, TookTooLong
from ops.backfill.metrics import BackfillCollector
from ops.backups.metrics import BackupCollector
from stagenorm import worker_metrics

log = structlog.get_logger(__name__)

FROM_DATABASE: Final[tuple[type[Collector], ...]] = (BackupCollector, BackfillCollector)
# prometheus.yml gives a scrape 2 s. If the database does not answer in time, the counters of the
# processes are exported without its metrics.
DATABASE_SECONDS: Final = 1.0

_database = Bounded("metrics of the database")


@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape."""
    return HttpResponse(_counted() + _from_database(), content_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    directory = worker_metrics.shared_directory()
    if directory is None:
        return generate_latest(REGISTRY)
    counted = CollectorRegistry()
    try:
        with worker_metrics.folded(directory):
            MultiProcessCollector(counted, str(directory))  # type: ignore[no-untyped-call]
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
