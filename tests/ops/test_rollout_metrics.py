"""The metrics of the rollout, the guard and the way back tell what the database has."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from io import StringIO
from itertools import product

import pytest
from django.core.management import call_command
from django.test import Client

from normalization import metrics, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode
from ops import rollout_metrics
from ops.alerts.models import Heartbeat
from ops.gates.traffic_rule import EnforcedTraffic
from tests.observed import counted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_metrics._asked, "at", float("-inf"))
    monkeypatch.setattr(rollout_metrics._asked, "traffic", EnforcedTraffic())


@pytest.fixture
def exported(client: Client) -> Callable[[str], dict[str, float]]:
    """`exported("stage_x")` → labels → value of a scrape."""

    def read(name: str) -> dict[str, float]:
        text = client.get("/metrics").content.decode()
        found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    return read


def test_changes_count_from_zero_also_those_of_commands(
    exported: Callable[[str], dict[str, float]],
) -> None:
    every = {
        f'source="{source}",to="{mode}"' for mode, source in product(Mode, rollout_metrics.SOURCES)
    }
    assert exported("stage_mode_changes_total") == dict.fromkeys(every, 0.0)
    call_command("stage_mode", "set", "warn", "--reason", "r", stdout=StringIO())
    found = exported("stage_mode_changes_total")
    assert {labels: value for labels, value in found.items() if value} == {
        'source="command",to="warn"': 1.0
    }


def test_the_newest_changes_carry_author_and_reason_for_annotations(
    exported: Callable[[str], dict[str, float]], set_mode: Callable[..., int]
) -> None:
    for number in range(7):
        set_mode("off" if number % 2 else "warn")
    found = exported("stage_mode_change_timestamp_seconds")
    assert len(found) == rollout_metrics.CHANGES_SHOWN
    newest = RolloutChange.objects.latest("id")
    [value] = [value for labels, value in found.items() if f'version="{newest.pk}"' in labels]
    assert value == pytest.approx(newest.created_at.timestamp(), abs=0.01)
    assert all('author="tests"' in labels and 'reason="a test' in labels for labels in found)


def test_the_heartbeat_and_the_figures_of_the_gate_are_exported(
    exported: Callable[[str], dict[str, float]],
) -> None:
    assert exported("stage_heartbeat_last_timestamp_seconds") == {"": 0.0}
    beat = Heartbeat.objects.create(fingerprint="f")
    counted("canonical", 990)
    counted("unknown", 10)
    rollout_metrics._asked.at = float("-inf")
    last = exported("stage_heartbeat_last_timestamp_seconds")
    assert last[""] == pytest.approx(beat.received_at.timestamp(), abs=0.01)
    assert exported("stage_would_refuse_requests") == {"": 10.0}
    assert exported("stage_would_enforce_requests") == {"": 1_000.0}


def test_the_age_of_the_last_tick_grows_without_the_guard(
    exported: Callable[[str], dict[str, float]],
) -> None:
    metrics.GUARD_TICK.set(time.time() - 30)
    assert 30 <= exported("stage_guard_tick_age_seconds")[""] < 90


def test_mode_and_version_are_exported_by_the_ticker_without_a_request(
    exported: Callable[[str], dict[str, float]], set_mode: Callable[..., int]
) -> None:
    for mode in ("warn", "off"):
        version = set_mode(mode)
        rollout_store.show()  # what the ticker calls once a second
        assert exported("stage_mode_info")[f'mode="{mode}"'] == 1.0
        assert exported("stage_mode_version") == {"": float(version)}


def test_counters_of_failures_begin_at_zero_and_unusual_reasons_are_other() -> None:
    metrics.begin_at_zero([])
    samples = {
        (each.labels["store"], each.labels["reason"]): each.value
        for family in metrics.MODE_STORE_ERRORS.collect()
        for each in family.samples
        if each.name.endswith("_total")
    }
    assert set(samples) >= {
        (store, reason) for store, reasons in metrics.STORE_REASONS.items() for reason in reasons
    }
    metrics.count_store_error("redis", "VeryUnusualError")
    assert (
        metrics.MODE_STORE_ERRORS.labels(store="redis", reason="other")._value.get()
        == samples["redis", "other"] + 1
    )
