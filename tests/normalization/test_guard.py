"""The guard of one process: what it counts, shares, judges and records, with a real database."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import ProgrammingError, connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from normalization import guard as guards
from normalization import rollout_store
from normalization.guard import Guard, newest_enforcing_change
from normalization.guard_counts import RequestHistory
from normalization.models import GuardCount, RolloutChange
from normalization.rollout import Mode, Rollout
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund

pytestmark = pytest.mark.django_db(transaction=True)

BY: dict[str, Any] = {"actor": "olga", "source": "command", "reason": "test"}
ENDPOINT = "fund-companies"


@pytest.fixture(autouse=True)
def no_gates(settings: Settings) -> None:
    settings.STAGE_GATEKEEPER = ""


def enforce(**parts: Any) -> int:
    """Go by warn to enforce; return the version."""
    rollout_store.change(Mode.WARN, **BY)
    return rollout_store.change(Rollout(Mode.ENFORCE, **parts), **BY).version


def record(guard: Guard, client: str, accepted: int, rejected: int) -> None:
    version = rollout_store.current().version
    for number in range(accepted + rejected):
        guard.record(version, ENDPOINT, client, rejected=number >= accepted)


def newest() -> RolloutChange:
    return RolloutChange.objects.latest("id")


def test_a_hurt_client_is_held_out_with_its_figures() -> None:
    enforce()
    guard = Guard()
    record(guard, "deal-flow", 0, 6)
    record(guard, "others", 500, 0)
    guard.tick()
    change = newest()
    assert (change.source, change.actor, change.mode) == ("guard", "guard", "enforce")
    assert change.holdouts == ["deal-flow"]
    assert change.evidence["rejects"] == change.evidence["requests"] == 6
    assert change.reason == (
        "The guard holds out deal-flow: 6 of 6 requests in 10 s were refused (100.0 %)."
    )


def test_three_hurt_clients_end_enforcement() -> None:
    enforce()
    guard = Guard()
    for name in ("a", "b", "c"):
        record(guard, name, 2, 8)
    guard.tick()
    assert (newest().source, newest().mode) == ("guard", "warn")


def test_three_clients_held_out_by_hosts_whose_clocks_differ_end_enforcement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enforce()
    for name, minutes in (("a", -20), ("b", 20), ("c", 0)):
        moment = timezone.now() + timedelta(minutes=minutes)
        with monkeypatch.context() as host:
            host.setattr(timezone, "now", lambda moment=moment: moment)
            guard = Guard()
            record(guard, name, 2, 8)
            guard.tick()
    assert (newest().source, newest().mode) == ("guard", "warn")


def test_the_counts_of_two_processes_are_judged_together() -> None:
    enforce()
    one, other = Guard(), Guard()
    record(one, "deal-flow", 0, 2)
    one.tick()
    record(other, "deal-flow", 0, 2)
    other.tick()
    assert newest().holdouts == ["deal-flow"]


def test_accepted_requests_of_another_process_count_before_the_first_reject() -> None:
    enforce()
    quiet, busy = Guard(), Guard()
    record(busy, "deal-flow", 300, 0)
    busy.tick()
    record(quiet, "deal-flow", 0, 6)
    quiet.tick()  # judges what is shared: the other process has not heard of the reject yet
    held = newest().holdouts
    busy.tick()
    rows = GuardCount.objects.filter(client="deal-flow")
    assert sum(row.requests for row in rows) == 306
    assert held == ["deal-flow"]


def test_rejects_of_an_earlier_epoch_do_not_count_after_more_is_enforced() -> None:
    enforce()
    guard = Guard()
    record(guard, "deal-flow", 0, 3)  # not enough to act
    rollout_store.change(Mode.WARN, **BY)
    version = rollout_store.change(Mode.ENFORCE, **BY).version
    guard.tick()
    record(guard, "deal-flow", 0, 3)
    guard.tick()
    assert newest().pk == version
    record(guard, "deal-flow", 0, 1)
    guard.tick()
    assert newest().holdouts == ["deal-flow"]


def test_a_milder_change_begins_no_epoch() -> None:
    version = enforce()
    milder = rollout_store.change(
        Rollout(Mode.ENFORCE, holdouts=frozenset({"someone"})), **BY
    ).version
    assert milder > version
    assert newest_enforcing_change(milder) == version


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.WARN])
def test_nothing_is_shared_while_nothing_is_enforced(mode: Mode) -> None:
    rollout_store.change(Mode.WARN, **BY)
    version = rollout_store.change(mode, **BY).version
    guard = Guard()
    record(guard, "deal-flow", 0, 50)
    guard.tick()
    assert not GuardCount.objects.exists()
    assert newest().pk == version


def test_a_pilot_that_is_hurt_becomes_a_holdout() -> None:
    enforce(enforce_percent=Decimal(0), pilots=frozenset({"deal-flow"}))
    guard = Guard()
    record(guard, "deal-flow", 0, 6)
    guard.tick()
    assert (newest().pilots, newest().holdouts) == ([], ["deal-flow"])


def test_guards_of_many_processes_record_one_change() -> None:
    enforce()
    several = [Guard() for _ in range(6)]
    for guard in several:
        record(guard, "deal-flow", 0, 6)
    before = newest().pk

    def tick(guard: Guard) -> None:
        try:
            guard.tick()
        finally:
            connection.close()

    threads = [threading.Thread(target=tick, args=[guard]) for guard in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RolloutChange.objects.filter(pk__gt=before, source="guard").count() == 1


def test_a_change_of_a_person_meanwhile_is_not_overwritten() -> None:
    enforce()
    guard = Guard()
    record(guard, "deal-flow", 0, 6)
    action_version = rollout_store.current().version
    mine = rollout_store.change(Rollout(Mode.ENFORCE, holdouts=frozenset({"other"})), **BY).version
    assert mine > action_version
    guard.tick()  # finds the newer version first, then judges that one
    assert newest().holdouts == ["deal-flow", "other"]


@pytest.mark.parametrize("mode", ["notify", "off"])
def test_in_notify_and_off_nothing_is_recorded(settings: Settings, mode: str) -> None:
    version = enforce()
    settings.STAGE_GUARD = mode
    guard = Guard()
    record(guard, "deal-flow", 0, 60)
    guard.tick()
    assert newest().pk == version


def test_an_emptied_table_is_counted_anew() -> None:
    enforce()
    guard = Guard()
    record(guard, "deal-flow", 0, 3)
    guard.tick()
    GuardCount.objects.all().delete()
    record(guard, "deal-flow", 0, 4)
    guard.tick()
    assert newest().holdouts == ["deal-flow"]


def test_counts_survive_a_database_that_fails_once() -> None:
    enforce()
    guard = Guard()
    record(guard, "deal-flow", 0, 6)
    rename("normalization_guardcount", "elsewhere")
    try:
        with pytest.raises(ProgrammingError):
            guard.tick()
    finally:
        rename("elsewhere", "normalization_guardcount")
    guard.tick()
    assert newest().holdouts == ["deal-flow"]


def rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_only_enforced_requests_of_the_boundary_count() -> None:
    fund = Fund.objects.create(name="Alder")
    _, key = create_key("deal-flow")
    version = enforce()
    client = APIClient(headers={"Authorization": f"Api-Key {key}"})
    address = f"/api/funds/{fund.pk}/companies"
    assert client.get(address, {"stage": "Grant"}).status_code == 400
    assert client.get(address, {"stage": "seed"}).status_code == 200
    rehearsal = {"Prefer": "stage-validation=enforce"}
    assert client.get(address, {"stage": "Grant"}, headers=rehearsal).status_code == 400
    assert guards.guard.buffer.take(0) == {(ENDPOINT, "deal-flow"): (2, 1)}
    rollout_store.change(Rollout(Mode.ENFORCE, overrides={ENDPOINT: Mode.WARN}), **BY)
    client.get(address, {"stage": "Grant"})
    rollout_store.change(Rollout(Mode.WARN), **BY)
    client.get(address, {"stage": "Grant"})
    assert guards.guard.buffer.take(0) == {}
    assert newest().pk > version


def test_the_history_never_underestimates_the_requests_of_a_window() -> None:
    now = 1_000_003.0
    history = RequestHistory(lambda: now)
    for _ in range(720):  # one request each 5 s, for an hour
        history.add(("e", "c"), 1)
        now += 5
    placed = dict(history.placed(("e", "c")))
    for window in (60, 300, 3600):
        within = sum(requests for back, requests in placed.items() if back * 5 < window)
        assert window / 5 - 1 <= within <= 2 * window / 5 + 1
    history.forget_idle()
    assert len(history) == 1
    now += 3 * 3600
    history.forget_idle()
    assert len(history) == 0
