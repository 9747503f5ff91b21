"""The one function that changes the mode: what it records, refuses and keeps."""

import threading
from typing import TypedDict

import pytest
from django.db import connection, transaction
from django.db.utils import Error as StoreError

from normalization import rollout_store
from normalization.models import AppendOnlyError, RolloutChange
from normalization.rollout import Mode, Rollout
from normalization.rollout_store import ChangeRefused, VersionConflict


class By(TypedDict):
    """Who changes the rollout in these tests."""

    actor: str
    source: str
    reason: str


BY: By = {"actor": "ann", "source": "tests", "reason": "because"}


@pytest.mark.django_db
def test_without_any_change_the_default_holds_at_version_0() -> None:
    snapshot = rollout_store.current()
    assert (snapshot.rollout, snapshot.version, snapshot.source) == (
        Rollout(Mode.OFF),
        0,
        "default",
    )


@pytest.mark.django_db(transaction=True)
def test_a_change_is_recorded_with_who_and_why_and_holds_at_once() -> None:
    result = rollout_store.change(
        Mode.WARN, actor="ann", source="admin", reason="  start warning "
    )
    row = RolloutChange.objects.get()
    assert (row.pk, row.mode, row.previous_mode) == (result.version, "warn", "off")
    assert (row.actor, row.source, row.reason) == ("ann", "admin", "start warning")
    assert (rollout_store.current().rollout.mode, rollout_store.current().version) == (
        Mode.WARN,
        row.pk,
    )


@pytest.mark.django_db
def test_a_change_of_mode_keeps_everything_else() -> None:
    rollout_store.change(
        Rollout(Mode.WARN, pilots=frozenset("p"), overrides={"x": Mode.OFF}), **BY
    )
    result = rollout_store.change(Mode.ENFORCE, **BY)
    assert result.rollout == Rollout(
        Mode.ENFORCE, pilots=frozenset("p"), overrides={"x": Mode.OFF}
    )
    assert RolloutChange.objects.order_by("-id")[0].rollout() == result.rollout


@pytest.mark.django_db
def test_a_change_to_what_holds_writes_nothing() -> None:
    rollout_store.change(Mode.WARN, **BY)
    again = rollout_store.change(Mode.WARN, **BY)
    assert not again.changed
    assert RolloutChange.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_change_without_a_reason_is_refused(reason: str) -> None:
    with pytest.raises(ChangeRefused, match="reason"):
        rollout_store.change(Mode.WARN, actor="ann", source="tests", reason=reason)
    assert not RolloutChange.objects.exists()


@pytest.mark.django_db
def test_off_to_enforce_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(ChangeRefused, match="set warn"):
        rollout_store.change(Mode.ENFORCE, **BY)
    assert not RolloutChange.objects.exists()


@pytest.mark.django_db
def test_a_change_of_a_version_that_is_gone_is_a_conflict() -> None:
    first = rollout_store.change(Mode.WARN, **BY)
    rollout_store.change(Mode.OFF, **BY, expected_version=first.version)
    with pytest.raises(VersionConflict, match="look at it again"):
        rollout_store.change(Mode.ENFORCE, **BY, expected_version=first.version)


@pytest.mark.django_db(transaction=True)
def test_of_two_changes_at_once_from_one_version_one_wins() -> None:
    version = rollout_store.change(Mode.WARN, **BY).version
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def attempt(mode: Mode) -> None:
        try:
            start.wait(10)
            rollout_store.change(mode, **BY, expected_version=version)
            outcomes.append("won")
        except VersionConflict:
            outcomes.append("conflict")
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt, args=[mode]) for mode in (Mode.OFF, Mode.ENFORCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "won"]
    assert RolloutChange.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_change_in_a_transaction_that_fails_never_happened() -> None:
    rollout_store.change(Mode.WARN, **BY)
    with transaction.atomic():
        rollout_store.change(Mode.ENFORCE, **BY)
        transaction.set_rollback(True)
    assert rollout_store.current().rollout.mode is Mode.WARN
    assert RolloutChange.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE normalization_rolloutchange SET mode = 'off'",
        "DELETE FROM normalization_rolloutchange",
    ],
)
def test_history_cannot_be_changed_by_sql(statement: str) -> None:
    rollout_store.change(Mode.WARN, **BY)
    with (
        pytest.raises(StoreError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert RolloutChange.objects.get().mode == "warn"


@pytest.mark.django_db
def test_history_cannot_be_changed_by_the_model() -> None:
    rollout_store.change(Mode.WARN, **BY)
    row = RolloutChange.objects.get()
    row.mode = "off"
    with pytest.raises(AppendOnlyError):
        row.save()
    with pytest.raises(AppendOnlyError):
        row.delete()
