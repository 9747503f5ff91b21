"""A change to more enforcement asks the gates in its transaction. A change to less never does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from normalization import rollout_store
from normalization.models import GuardCount, OutcomeTally, RolloutChange
from normalization.rollout import Mode, Rollout
from ops.alerts.models import Heartbeat, WebhookDelivery, last_heartbeat_at
from ops.backups import history
from ops.backups.history import backup_verdict
from ops.backups.models import Backup
from ops.backups.verify import verify
from ops.gates import facts
from ops.gates.backup_rule import FileState
from ops.gates.rules import GATES, GateOutcome
from tests.backup_faults import companies, execute, flip, valid_backup
from tests.decided import consumers_decided
from tests.observed import plan_of, serves

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _asked(settings: Settings, tmp_path: Path) -> None:
    settings.STAGE_GATEKEEPER, settings.BACKUP_DIR = "ops.gates.ask.examine", tmp_path


@pytest.fixture
def warned() -> int:
    return change(Mode.WARN)


@pytest.fixture
def ready(tmp_path: Path, warned: int) -> None:
    """All facts are good."""
    companies(10, "series-a")
    valid_backup(tmp_path)
    now = timezone.now().replace(second=0, microsecond=0)
    for outcome, requests in (("canonical", 1_990), ("normalized", 5), ("unknown", 5)):
        OutcomeTally.objects.create(
            minute=now, endpoint="e", client="c", mode="warn", outcome=outcome, requests=requests
        )
    Heartbeat.objects.create(fingerprint="f")
    serves(warned)
    consumers_decided()


def change(to: Mode | Rollout, source: str = "tests", override: str = "") -> int:
    overrides = {gate.__name__: override for gate in GATES} if override else None
    return rollout_store.change(
        to, actor="a", source=source, reason="r", gate_overrides=overrides
    ).version


def refused(to: Mode | Rollout) -> str:
    with pytest.raises(rollout_store.GateRefused) as refusal:
        change(to)
    return str(refusal.value)


def test_enforce_is_allowed_if_all_gates_pass_and_their_verdicts_are_recorded(ready: None) -> None:
    change(Mode.ENFORCE)
    evidence = RolloutChange.objects.first().evidence  # type: ignore[union-attr]
    assert {gate["outcome"] for gate in evidence["gates"]} == {"pass"}
    assert "overrides" not in evidence


def test_enforce_without_facts_is_refused_with_a_sentence_and_a_command_for_each_gate(
    warned: int,
) -> None:
    lines = refused(Mode.ENFORCE).splitlines()
    assert lines[0] == "More enforcement is refused:"
    assert "backup_valid: This database has no backup. → manage.py backup_cycle" in lines
    assert any(line.startswith("would_refuse: No client sent a stage") for line in lines)
    assert any(line.startswith("way_back_proven: The way back is not proven") for line in lines)
    assert rollout_store.newest().version == warned


def test_an_override_needs_a_reason_and_is_recorded_with_every_verdict(warned: int) -> None:
    with pytest.raises(rollout_store.ChangeRefused, match="Give a reason for overriding"):
        change(Mode.ENFORCE, override="   ")
    change(Mode.ENFORCE, override="the auditor waits")
    evidence = RolloutChange.objects.first().evidence  # type: ignore[union-attr]
    assert evidence["overrides"] == dict.fromkeys(
        ("backup_valid", "would_refuse", "way_back_proven", "consumers_known"), "the auditor waits"
    )
    assert {gate["gate"]: gate["outcome"] for gate in evidence["gates"]}["backup_valid"] == "fail"


def test_the_command_refuses_and_overrides(warned: int) -> None:
    with pytest.raises(CommandError, match="backup_valid: This database has no backup"):
        call_command("stage_mode", "set", "enforce", "--reason", "r")
    held = ("backup_valid", "would_refuse", "consumers_known", "way_back_proven")
    given = [word for gate in held for word in ("--override", f"{gate}=a rehearsal")]
    with pytest.raises(CommandError, match="way_back_proven: The way back is not proven"):
        call_command("stage_mode", "set", "enforce", "--reason", "r", *given[:-2])
    call_command("stage_mode", "set", "enforce", "--reason", "r", *given)
    assert rollout_store.newest().rollout.mode is Mode.ENFORCE


@pytest.mark.parametrize("given", ["a rehearsal", "=why", "cooldown=", "cooldown= "])
def test_an_override_that_names_no_gate_or_no_reason_is_refused(warned: int, given: str) -> None:
    with pytest.raises(CommandError, match='use GATE="WHY"'):
        call_command("stage_mode", "set", "enforce", "--reason", "r", "--override", given)


def test_an_override_of_an_unknown_gate_names_the_gates(warned: int) -> None:
    with pytest.raises(CommandError, match=r"There is no gate unknown_rate\. The gates are "):
        call_command(
            *("stage_mode", "set", "enforce", "--reason", "r", "--override", "unknown_rate=x")
        )


def test_no_gate_is_overridden_while_a_downgrade_alert_fires(ready: None) -> None:
    fires = WebhookDelivery.objects.create(
        endpoint="auto-downgrade", outcome="already", alert_names=["StageRejectRateHigh"]
    )
    everything = "fire or not"
    with pytest.raises(rollout_store.GateRefused, match="It cannot be overridden"):
        change(Mode.ENFORCE, override=everything)
    WebhookDelivery.objects.create(
        endpoint="auto-downgrade", outcome="ignored", alert_names=["StageRejectRateHigh"]
    )
    assert fires.pk
    change(Mode.ENFORCE)


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        (Rollout(Mode.ENFORCE, Decimal(10)), Rollout(Mode.ENFORCE, Decimal(20)), True),
        (Rollout(Mode.ENFORCE, Decimal(20)), Rollout(Mode.ENFORCE, Decimal(10)), False),
        (Rollout(Mode.ENFORCE, holdouts=frozenset({"a"})), Rollout(Mode.ENFORCE), True),
        (Rollout(Mode.ENFORCE), Rollout(Mode.ENFORCE, holdouts=frozenset({"a"})), False),
        (Rollout(Mode.ENFORCE), Rollout(Mode.WARN), False),
        (Rollout(Mode.ENFORCE), Rollout(Mode.OFF), False),
        (Rollout(Mode.WARN), Rollout(Mode.WARN, Decimal(5)), False),
    ],
)
def test_more_enforcement_asks_and_less_never_does(
    warned: int, old: Rollout, new: Rollout, asked: bool
) -> None:
    change(old, override="to get there")
    if asked:
        assert "backup_valid" in refused(new)
    else:
        change(new)
        assert "gates" not in RolloutChange.objects.first().evidence  # type: ignore[union-attr]


def test_a_transition_that_does_not_exist_is_refused_before_any_gate_is_asked() -> None:
    with pytest.raises(rollout_store.ChangeRefused, match="clients must be warned first"):
        change(Mode.ENFORCE, override="no matter")


@pytest.mark.parametrize("source", ["alert", "guard"])
def test_an_automatic_way_back_holds_more_enforcement_for_half_an_hour(
    ready: None, source: str
) -> None:
    change(Mode.ENFORCE)
    change(Mode.WARN, source=source)
    assert "cooldown: Enforcement was taken back automatically 0 min ago" in refused(Mode.ENFORCE)


def test_a_client_that_the_guard_holds_out_begins_no_cooldown(ready: None) -> None:
    change(Mode.ENFORCE)
    change(Rollout(Mode.ENFORCE, holdouts=frozenset({"deal-flow"})), source="guard")
    serves(change(Mode.WARN))
    change(Rollout(Mode.ENFORCE, holdouts=frozenset({"deal-flow"})))


@pytest.mark.parametrize("order", ["alert first", "alert after", "no alert"])
def test_back_to_warn_by_a_person_during_an_alert_begins_the_cooldown(
    ready: None, order: str
) -> None:
    def deliver(outcome: str) -> None:
        WebhookDelivery.objects.create(
            endpoint="auto-downgrade", outcome=outcome, alert_names=["StageRejectRateHigh"]
        )

    change(Mode.ENFORCE)
    if order == "alert first":
        deliver("already")
    serves(change(Mode.WARN, source="admin"))
    if order == "no alert":
        change(Mode.ENFORCE)
        return
    if order == "alert after":
        deliver("already")
    deliver("ignored")  # the alert has ended
    assert "cooldown: Enforcement was taken back" in refused(Mode.ENFORCE)
    held = {"cooldown": "the cause is fixed"}
    rollout_store.change(Mode.ENFORCE, actor="a", source="tests", reason="r", gate_overrides=held)


@pytest.mark.parametrize("rejects", [3, 4])
def test_rejects_above_the_guard_s_limit_hold_more_enforcement_without_override(
    ready: None, rejects: int
) -> None:
    pilots = frozenset({"c", "deal-flow"})
    tenth = change(Rollout(Mode.ENFORCE, Decimal(10), pilots))
    serves(tenth)
    slot = int(timezone.now().timestamp() // 5)
    for client, refused_of in (("", 0), ("deal-flow", rejects)):
        GuardCount.objects.create(
            epoch=tenth, endpoint="e", client=client, slot=slot,
            requests=4, rejects=refused_of,
        )  # fmt: skip
    if rejects == 3:
        change(Rollout(Mode.ENFORCE, Decimal(20), pilots))
        return
    with pytest.raises(rollout_store.GateRefused, match="cannot be overridden") as held:
        change(Rollout(Mode.ENFORCE, Decimal(20), pilots), override="no matter")
    assert "4 of 4 requests in 10 s were refused" in str(held.value)


TWO_HOURS = timedelta(hours=2)

# Each gate, and a change of the stored rows after which this gate alone refuses.
FAULTS: dict[str, Callable[[], object]] = {
    "backup_valid": lambda: Backup.objects.update(snapshot_at=F("snapshot_at") - TWO_HOURS),
    "stored_stages_clean": lambda: companies(10, "Late stage"),
    "would_refuse": lambda: OutcomeTally.objects.filter(outcome="unknown").update(requests=11),
    "way_back_proven": lambda: Heartbeat.objects.update(received_at=F("received_at") - TWO_HOURS),
    "instances_converged": lambda: serves(0, "web:2"),
    "cooldown": lambda: WebhookDelivery.objects.create(
        endpoint="auto-downgrade", outcome="already", alert_names=["StageRejectRateHigh"]
    ),
    "consumers_known": lambda: consumers_decided(days=-0.001),
}


def test_each_gate_refuses_over_a_fault_of_its_own_in_the_stored_rows(ready: None) -> None:
    for gate, fault in FAULTS.items():
        with transaction.atomic():
            fault()
            _, *held = refused(Mode.ENFORCE).splitlines()
            transaction.set_rollback(True)
        assert [line.partition(":")[0] for line in held if ": " in line] == [gate]
    assert list(FAULTS) == [gate.__name__ for gate in GATES]
    change(Mode.ENFORCE)


def test_one_undecided_request_too_many_holds_the_change(ready: None) -> None:
    OutcomeTally.objects.filter(outcome="unknown").update(requests=11)
    sentence = "would_refuse: Too many requests would be refused: 11 of 2,006 requests (0.55 %)"
    assert sentence in refused(Mode.ENFORCE)


def test_requests_of_yesterday_do_not_count(ready: None) -> None:
    OutcomeTally.objects.update(minute=timezone.now() - timedelta(hours=24, minutes=1))
    assert "would_refuse: No client sent a stage within 24 hours" in refused(Mode.ENFORCE)


def test_the_last_heartbeat_is_none_until_one_was_recorded() -> None:
    assert last_heartbeat_at() is None
    beat = Heartbeat.objects.create(fingerprint="f")
    assert last_heartbeat_at() == beat.received_at


def test_the_status_exits_1_while_a_gate_holds_and_shows_every_verdict(
    warned: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="would be refused by backup_valid"):
        call_command("rollout_status", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["mode"], found["version"], found["may_enforce_more"]) == ("warn", warned, False)
    assert [gate["gate"] for gate in found["gates"]][:2] == ["backup_valid", "stored_stages_clean"]


def test_the_status_is_a_table_and_exits_0_when_all_gates_and_the_step_pass(
    ready: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_of("warn:24h", "100")
    with pytest.raises(CommandError, match=r"would be refused by step_proven\."):
        call_command("rollout_status")
    assert "Warn has run for" in capsys.readouterr().out
    plan_of("warn", "100")
    call_command("rollout_status")
    shown = capsys.readouterr().out
    assert shown.count("pass") >= 6
    assert "The way back works" in shown


# -- Backups -------------------------------------------


def _changed(backup: Backup, detail: str) -> str:
    return f"{backup.name} was changed on disk since its checks: {detail}."


def _missing(backup: Backup) -> str:
    return (
        f"{backup.name} is no longer complete on disk: {backup.name} is not in {backup.directory}."
    )


def outcome() -> tuple[GateOutcome, str]:
    verdict = backup_verdict()
    return verdict.outcome, verdict.sentence


def test_a_backup_that_passed_and_was_then_corrupted_on_disk_does_not_count(
    tmp_path: Path,
) -> None:
    backup = valid_backup(tmp_path)
    assert outcome()[0] is GateOutcome.PASS
    modified = backup.path.stat().st_mtime_ns
    flip(backup.path, 2_000)
    os.utime(backup.path, ns=(modified, modified))  # even with the old modification time
    assert outcome() == (
        GateOutcome.FAIL,
        _changed(backup, "its SHA-256 differs from the recorded one"),
    )


def test_a_backup_that_passed_and_failed_later_does_not_count_until_both_checks_passed_again(
    tmp_path: Path,
) -> None:
    backup = valid_backup(tmp_path)
    flip(backup.path, 2_000)
    assert verify(backup).verdict == "failed"
    flip(backup.path, 2_000)
    assert verify(backup).verdict == "passed"
    assert outcome()[1].startswith(f"{backup.name} failed verify: the bytes on disk")


def test_a_backup_that_was_touched_or_deleted(tmp_path: Path) -> None:
    backup = valid_backup(tmp_path)
    backup.path.touch()
    assert outcome()[0] is GateOutcome.PASS
    backup.path.unlink()
    assert outcome() == (GateOutcome.FAIL, _missing(backup))
    Backup.objects.update(host="another-host")
    assert outcome()[0] is GateOutcome.INCONCLUSIVE


def files_seen(*, read_files: bool) -> list[FileState | None]:
    return [each.files for each in facts.collect(0, read_files=read_files).backups]


def test_a_page_calls_a_touched_backup_touched_and_does_not_read_it(tmp_path: Path) -> None:
    backup = valid_backup(tmp_path)
    flip(backup.path, 2_000)
    assert files_seen(read_files=False) == [FileState.TOUCHED]
    assert files_seen(read_files=True) == [FileState.CHANGED]
    backup.path.write_bytes(b"other bytes")
    assert files_seen(read_files=False) == [FileState.CHANGED]  # by its size


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (3540, GateOutcome.PASS),
        (3600, GateOutcome.FAIL),
        (-60, GateOutcome.FAIL),
    ],  # test_gates.py has the limits to the second
)
def test_the_age_is_the_database_s_now_minus_the_snapshot(
    tmp_path: Path, age: int, expected: GateOutcome
) -> None:
    valid_backup(tmp_path)
    execute("UPDATE ops_backup SET snapshot_at = now() - make_interval(secs => %s)", [age])
    assert outcome()[0] is expected


def test_a_backup_of_a_recreated_database_does_not_count(tmp_path: Path) -> None:
    valid_backup(tmp_path)
    Backup.objects.update(database_oid=1)
    assert outcome() == (GateOutcome.FAIL, "This database has no backup.")


def test_an_untouched_file_is_known_by_its_stamp_without_being_read(tmp_path: Path) -> None:
    backup = valid_backup(tmp_path)
    checks = list(backup.checks.all())
    Backup.objects.update(sha256="0" * 64)
    backup.refresh_from_db()
    for check in checks:
        check.sha256 = backup.sha256
    assert history.files_on_disk(backup, checks, read=True).state is FileState.SAME
    backup.path.touch()
    assert history.files_on_disk(backup, checks, read=True).state is FileState.CHANGED
