"""Metrics of the rollout and the way back, read from the database at each scrape.

Changes are made by commands too, whose own counters would end with them. What the gate
`would_refuse` goes by is asked once a minute and process: it adds up a day of tallies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import structlog
from django.db import Error as StoreError
from django.db.models import Count
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, with_mode
from ops import clock
from ops.alerts.models import last_heartbeat_at
from ops.gates.traffic import enforced_traffic
from ops.gates.traffic_rule import EnforcedTraffic

log = structlog.get_logger(__name__)

SOURCES: Final = ("admin", "command", "api", "alert", "guard")
CHANGES_SHOWN: Final = 5
REASON_CHARACTERS: Final = 120
ASKED_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Asked:
    """The last answer about the next step, and when it was asked."""

    traffic: EnforcedTraffic = field(default_factory=EnforcedTraffic)
    at: float = float("-inf")


_asked = _Asked()


class RolloutCollector(Collector):
    """Collects the changes of the rollout, the last heartbeat, and what the next step refuses."""

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without asking the database."""
        yield from (_changes(), _newest(), _heartbeat(), _refused(), _requests())

    def collect(self) -> Iterator[Metric]:
        """Read all; yield nothing if the database does not answer, so that a scrape succeeds."""
        try:
            yield from (_counted_changes(), _newest_changes(), _last_heartbeat())
            yield from _next_step(time.monotonic)
        except StoreError as error:
            log.warning("stage_rollout_metrics_not_read", error=type(error).__name__)


def _counted_changes() -> Metric:
    rows = RolloutChange.objects.order_by().values_list("mode", "source")
    counts = dict.fromkeys(product(map(str, Mode), SOURCES), 0)
    for mode, source, number in rows.annotate(number=Count("id")):
        counts[mode, source] = number
    family = _changes()
    for (mode, source), number in counts.items():
        family.add_metric([mode, source], number)
    return family


def _newest_changes() -> Metric:
    family = _newest()
    for change in RolloutChange.objects.order_by("-id")[:CHANGES_SHOWN]:
        labels = [str(change.pk), change.mode, change.source, change.actor]
        reason = change.reason[:REASON_CHARACTERS]
        family.add_metric([*labels, reason], change.created_at.timestamp())
    return family


def _last_heartbeat() -> Metric:
    family, last = _heartbeat(), last_heartbeat_at()
    family.add_metric([], last.timestamp() if last else 0)
    return family


def _next_step(elapsed: Callable[[], float]) -> Iterator[Metric]:
    if elapsed() - _asked.at > ASKED_SECONDS:
        rollout = rollout_store.newest().rollout
        _asked.traffic = enforced_traffic(with_mode(rollout, Mode.ENFORCE), clock.database_now())
        _asked.at = elapsed()
    refused, requests = _refused(), _requests()
    refused.add_metric([], _asked.traffic.refused)
    requests.add_metric([], _asked.traffic.requests)
    yield from (refused, requests)


def _changes() -> CounterMetricFamily:
    text = "Recorded changes of the rollout, also those that commands made."
    return CounterMetricFamily("stage_mode_changes_total", text, labels=["to", "source"])


def _newest() -> GaugeMetricFamily:
    text = f"When the newest {CHANGES_SHOWN} changes of the rollout were recorded."
    labels = ["version", "mode", "source", "author", "reason"]
    return GaugeMetricFamily("stage_mode_change_timestamp_seconds", text, labels=labels)


def _heartbeat() -> GaugeMetricFamily:
    text = "When the watchdog alert last arrived; 0 if it never did."
    return GaugeMetricFamily("stage_heartbeat_last_timestamp_seconds", text)


def _refused() -> GaugeMetricFamily:
    text = "Requests of 24 hours that the rollout would refuse in enforce: the gate's figure."
    return GaugeMetricFamily("stage_would_refuse_requests", text)


def _requests() -> GaugeMetricFamily:
    text = "Requests of 24 hours of the clients that the rollout would enforce."
    return GaugeMetricFamily("stage_would_enforce_requests", text)
