"""The two ways back: what protects and what is shown when parts are gone, and without any."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from pytest_django import Settings

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode
from ops import clock
from ops.alerts.models import Heartbeat
from ops.alerts.way_back import WayBackWatch, read_way_back
from ops.gates import facts, rules
from tests.observed import serves
from tests.pages import HomePage, RolloutPage

pytestmark = pytest.mark.django_db


def heartbeat(minutes: float, now: datetime | None = None) -> None:
    """Let the watchdog have come for the last time so many minutes ago."""
    Heartbeat.objects.create(fingerprint="f")
    moment = (now or timezone.now()) - timedelta(minutes=minutes)
    Heartbeat.objects.update(received_at=moment)


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_heartbeat_is_as_old_as_the_clock_of_the_database_counts(
    monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    moment = timezone.now() + timedelta(minutes=minutes)
    with monkeypatch.context() as host:
        host.setattr(timezone, "now", lambda: moment)
        beat = Heartbeat.objects.create(fingerprint="f")
    assert abs(clock.database_now() - beat.received_at) < timedelta(minutes=1)


# What is gone, how long ago the last heartbeat came (None: Prometheus, Alertmanager and relay all
# stop the same heartbeat), what the guard is → what protects, what the pages show.
MATRIX = {
    "nothing": (1, "act", 0.5, {"guard", "alerts"}, "open"),
    "one of the alert path, a while": (8, "act", 0.5, {"guard"}, "not proven"),
    "one of the alert path": (16, "act", 0.5, {"guard"}, "closed"),
    "the guard by setting": (1, "off", None, {"alerts"}, "not proven"),
    "the guard only notifies": (1, "notify", 0.5, {"alerts"}, "not proven"),
    "the guard's ticks": (1, "act", 60, {"alerts"}, "closed"),
    "the guard and the alert path": (16, "off", None, set(), "dead"),
    "the guard's ticks and the alert path": (16, "act", 60, set(), "dead"),
}


@pytest.mark.parametrize("gone", MATRIX)
def test_what_protects_and_what_is_shown(
    operator: Client, set_mode: Callable[..., int], gone: str
) -> None:
    minutes, guard, guard_age, protects, word = MATRIX[gone]
    heartbeat(minutes)
    serves(set_mode("enforce"), guard=guard, guard_age=guard_age)  # type: ignore[arg-type]

    seen = read_way_back()
    found = facts.collect(rollout_store.newest().version)
    assert seen.word == word
    assert seen.dead is not bool(protects)
    assert (rules.way_by_guard(found).outcome == "pass") is ("guard" in protects)
    assert (rules.way_by_alerts(found).outcome != "fail" and minutes < 6) is ("alerts" in protects)
    assert HomePage.open(operator).state["Last heartbeat"].detail == f"the way back is {word}"
    page = RolloutPage.open(operator)
    assert page.facts["Automatic way back"].startswith(f"{word} ")
    assert page.offers_back_to_warn


def look() -> None:
    WayBackWatch().look()


@pytest.mark.parametrize(
    ("then", "minutes", "guard", "mode"),
    [
        ("warn", 16, "off", "warn"),
        ("warn", 16, "notify", "warn"),
        ("keep", 16, "off", "enforce"),
        ("warn", 14, "off", "enforce"),
        ("warn", 16, "act", "enforce"),
    ],
)
def test_with_both_ways_dead_the_setting_decides(
    set_mode: Callable[..., int],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
    minutes: float,
    guard: str,
    mode: str,
) -> None:
    settings.STAGE_WHEN_WAY_BACK_DEAD = then
    version = set_mode("enforce")
    serves(version, guard=guard)
    later = timezone.now() + timedelta(hours=1)  # the change is an hour old by then
    monkeypatch.setattr(clock, "database_now", lambda: later)
    heartbeat(minutes, later)
    look()
    look()
    newest = RolloutChange.objects.latest("id")
    assert (newest.mode, rollout_store.newest().rollout.mode) == (mode, mode)
    if mode == "warn":
        assert (newest.source, newest.evidence) == ("guard", {"guard": "way_back_dead"})
        assert REGISTRY.get_sample_value("stage_guard_acted_total", {"what": "way_back_dead"})


def test_after_more_was_enforced_the_ways_have_fifteen_minutes_to_prove_themselves(
    set_mode: Callable[..., int], settings: Settings
) -> None:
    settings.STAGE_WHEN_WAY_BACK_DEAD = "warn"
    serves(set_mode("enforce"), guard="off")
    heartbeat(60)
    look()
    assert rollout_store.newest().rollout.mode is Mode.ENFORCE


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_nothing_is_taken_back_where_nothing_is_enforced(
    set_mode: Callable[..., int], settings: Settings, mode: str
) -> None:
    settings.STAGE_WHEN_WAY_BACK_DEAD = "warn"
    version = set_mode(mode)
    look()
    assert rollout_store.newest().version == version
