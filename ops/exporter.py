"""`/metrics`: what the worker processes counted, together with what only the database knows.

prometheus_client's multi-process mode leaves collectors out, so those that read the database are asked here.
"""

from __future__ import annotations

import os
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ops.backfill.collector import BackfillCollector
from ops.backups.collector import BackupCollector

FROM_DATABASE: Final[tuple[type[Collector], ...]] = (BackupCollector, BackfillCollector)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape."""
    asked = CollectorRegistry()
    for collector in FROM_DATABASE:
        asked.register(collector())
    counted = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(counted) + generate_latest(asked), content_type=CONTENT_TYPE_LATEST)
