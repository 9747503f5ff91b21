"""The runs and the log in the admin: what the pages show, offer and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import InternalError, ProgrammingError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from normalization.stages import Stage
from ops.backfill import control
from ops.backfill.models import BackfillRun, NormalizationLog
from tests.backfill_runs import begin, store, stored, work
from tests.decided import decide
from tests.pages import Page
from tests.run_pages import (
    LOG,
    RUN,
    RUNS,
    ConfirmPage,
    EntryPage,
    LogPage,
    RunPage,
    RunsPage,
    query_of,
    steer_address,
    values_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

RESUME = "manage.py normalize_stages --apply --resume"


def in_state(state: str, **given: Any) -> BackfillRun:
    """Return a run as its process left it; no process holds it."""
    run = begin()
    BackfillRun.objects.filter(pk=run.pk).update(state=state, **given)
    run.refresh_from_db()
    return run


@contextmanager
def held(run: BackfillRun) -> Iterator[None]:
    """Hold the run by this process, with a fresh heartbeat and an open connection."""
    lease = control.claim(run.pk, "tests")
    yield
    control.release(lease)


def test_the_empty_list_shows_the_commands_that_begin_a_run(operator: Client) -> None:
    page = RunsPage.open(operator)
    assert page.commands == [
        "manage.py normalize_stages",
        "manage.py backup_cycle",
        "manage.py normalize_stages --apply --plan HASH",
    ]
    assert "younger than an hour" in page.text


@pytest.mark.parametrize(
    ("state", "actions", "command"),
    [
        ("planned", {"cancel"}, RESUME),
        ("running", {"pause", "cancel"}, RESUME),
        ("paused", {"cancel"}, RESUME),
        ("failed", {"cancel"}, RESUME),
        ("completed", {"undo"}, "manage.py normalize_stages --verify"),
        ("cancelled", {"undo"}, "manage.py normalize_stages"),
        ("undone", set(), "manage.py normalize_stages"),
    ],
)
def test_pages_offer_what_the_state_allows_and_show_the_next_command(
    operator: Client, state: str, actions: set[str], command: str
) -> None:
    run = in_state(state)
    run.checkpoints.update(changed=1)
    page = RunPage.open(operator, run)
    assert page.actions_on(run) == actions
    assert RunsPage.open(operator).actions_on(run) == actions
    assert page.commands == [command]
    assert page.state.startswith(state)


def test_a_run_that_wrote_nothing_is_not_offered_for_undo(operator: Client) -> None:
    run = in_state("completed")
    assert RunPage.open(operator, run).actions_on(run) == set()


def test_resume_is_offered_while_a_process_waits(operator: Client) -> None:
    with held(run := begin()):
        control.pause(run.pk, "ann")
        assert RunPage.open(operator, run).actions_on(run) == {"resume", "cancel"}
        assert RunPage.after(operator, run, "resume").messages == [f"Run {run.pk} is running."]
        assert RunPage.open(operator, run).actions_on(run) == {"pause", "cancel"}
        assert RunPage.after(operator, run, "pause").messages == [f"Run {run.pk} is paused."]
        run.refresh_from_db()
        assert [each["actor"] for each in run.history[-2:]] == ["ann", "ann"]


@pytest.mark.parametrize(
    ("action", "before", "after"), [("cancel", "planned", "cancelled"), ("undo", "completed", "")]
)
def test_cancel_and_undo_ask_for_confirmation(
    operator: Client, action: str, before: str, after: str
) -> None:
    run = in_state(before)
    run.checkpoints.update(changed=1)
    for ask in (ConfirmPage.followed, ConfirmPage.pressed):
        assert ask(operator, run, action).button == f"{action.capitalize()} run {run.pk}"
        assert BackfillRun.objects.values_list("state", flat=True).get(pk=run.pk) == before
        assert not BackfillRun.objects.filter(undoes=run).exists()
    RunPage.after(operator, run, action, confirmed="yes")
    assert BackfillRun.objects.filter(undoes=run).exists() == (action == "undo")
    run.refresh_from_db()
    assert run.state == (after or before)


def test_following_the_address_of_an_action_changes_nothing(operator: Client) -> None:
    with held(run := begin()):
        assert ConfirmPage.followed(operator, run, "pause").button == f"Pause run {run.pk}"
        run.refresh_from_db()
        assert run.state == "running"


def test_an_impossible_action_is_refused_with_the_reason(operator: Client) -> None:
    run = in_state("completed")
    for action in ("pause", "resume", "cancel"):
        [message] = RunPage.after(operator, run, action, confirmed="yes").messages
        assert "it can become undone" in message
    assert operator.post(steer_address(run, "delete")).status_code == 404
    run.refresh_from_db()
    assert run.state == "completed"


def test_a_user_without_the_permission_is_offered_nothing_and_refused(client: Client) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    run = in_state("running")
    assert client.get(reverse(RUN, args=[run.pk])).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_backfillrun"))
    page = RunPage.open(client, run)
    assert page.actions_on(run) == set()
    assert page.decision_links == []
    assert client.post(steer_address(run, "pause")).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_backfillrun"))
    assert RunPage.after(client, run, "pause").messages == [f"Run {run.pk} is paused."]


def test_a_post_without_the_csrf_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ann"))
    run = in_state("running")
    assert client.post(steer_address(run, "pause")).status_code == 403


def test_the_admin_plans_an_undo_and_a_process_carries_it_out(operator: Client) -> None:
    store(["Series A"])
    run = work(begin()).run
    RunPage.after(operator, run, "undo", confirmed="yes")
    undo = BackfillRun.objects.get(undoes=run)
    assert RunPage.open(operator, undo).commands == [RESUME]
    work(undo)
    assert set(stored().values()) == {"Series A"}
    assert RunPage.open(operator, run).undone_by == [f"undone by run {undo.pk}"]


def test_a_run_shows_its_checkpoints_pairs_and_unknown_values(operator: Client) -> None:
    store(["Series A", "Series A", "Seires A", "Series X"])
    page = RunPage.open(operator, work(begin()).run)
    assert ["Series A", "series-a", "2", "2", "which rows"] in page.pairs
    column = "portfolio_companies.stage"
    assert ["Seires A", "1", column, "series-a", "decide"] in page.unknown
    assert "finished" in {line[0]: line[-1] for line in page.tables}[column]
    assert {"spelling": "Seires A", "stage": "series-a"} in map(query_of, page.decision_links)


def test_the_decision_form_opens_with_the_unknown_value_filled_in(operator: Client) -> None:
    store(["Seires A"])
    [address] = RunPage.open(operator, work(begin()).run).decision_links
    values = values_of(Page(operator.get(address)).one("form", id="stagedecision_form"))
    assert (values["spelling"], values["stage"]) == ("Seires A", "series-a")


def test_a_value_that_was_decided_since_is_not_offered_again(operator: Client) -> None:
    store(["Seires A"])
    run = work(begin()).run
    decide("Seires A", Stage.SERIES_A)
    page = RunPage.open(operator, run)
    assert page.unknown[0][-1] == "decided since: series-a"
    assert page.decision_links == []


def test_raw_values_are_escaped_cut_and_name_their_invisible_characters(operator: Client) -> None:
    store(["<script>alert(1)</script>", "Series\u202eA+", " seed\u200b", "x" * 95])
    run = work(begin()).run
    page = RunPage.open(operator, run)
    for each in (page, LogPage.open(operator)):
        assert "<script>alert" not in each.markup
        assert "U+200B" in each.hidden_characters
    assert {"U+202E", "space"} <= set(page.hidden_characters)
    values = [line[0] for line in page.unknown]
    assert "<script>alert(1)</script>" in values
    assert f"{'x' * 80} … 15 characters more" in values


def test_a_failed_run_shows_the_error_and_the_command_that_resumes_it(operator: Client) -> None:
    page = RunPage.open(operator, in_state("failed", error="company <7> is under legal hold"))
    assert page.failure == "company <7> is under legal hold"
    assert page.commands == [RESUME]


def test_a_waiting_run_shows_the_reason_and_no_time_left(operator: Client) -> None:
    reason = "replica b is 12.0 s behind (limit 10 s)"
    with held(run := begin()):
        BackfillRun.objects.filter(pk=run.pk).update(waiting_for=reason)
        page = RunPage.open(operator, run)
    assert reason in page.waits
    assert "left" not in page.progress


def test_the_time_left_comes_from_the_rate_of_the_time_in_state_running(operator: Client) -> None:
    with held(run := begin()):
        run.refresh_from_db()
        now = timezone.now()
        spans = [("running", 300), ("paused", 200), ("running", 100)]  # 200 s in state running
        history = [
            {"at": str(now - timedelta(seconds=ago)), "state": to, "actor": "a", "reason": ""}
            for to, ago in spans
        ]
        BackfillRun.objects.filter(pk=run.pk).update(history=history, heartbeat_at=now)
        run.checkpoints.filter(table_name="portfolio_companies").update(
            scanned=2000, total=10_000, passes=1
        )
        progress = RunPage.open(operator, run).progress
    assert "2,000 of 10,000 rows, 20 %" in progress
    assert "10 rows/s, about 13 min 20 s left" in progress


def test_pages_refresh_themselves_while_a_run_is_working_only(operator: Client) -> None:
    def pages() -> list[RunsPage | RunPage]:
        return [RunsPage.open(operator), RunPage.open(operator, run)]

    with held(run := begin()):
        assert [page.refreshes for page in pages()] == [True, True]
        control.cancel(run.pk, "ann")
    for page in pages():
        assert not page.refreshes
        assert [fault for fault in page.faults() if fault.startswith("<")] == []


def queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return len(asked)


def test_the_lists_need_as_many_queries_for_many_rows_as_for_few(operator: Client) -> None:
    counts: dict[str, list[int]] = {RUNS: [], LOG: []}
    for more in (1, 4):
        for _ in range(more):
            store(["Series A", "seed round"])
            work(begin())
        for name, asked in counts.items():
            asked.append(queries(operator, reverse(name)))
    for few, many in counts.values():
        assert few == many


def test_the_log_is_counted_to_a_limit(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    store(["Series A", "seed round", "SERIES B"])
    work(begin())
    monkeypatch.setattr("ops.admin_ui.ledgers.COUNTED_TO", 2)
    with CaptureQueriesContext(connection) as asked:
        assert LogPage.open(operator).counted == 2
    statements = [each["sql"] for each in asked if "stage_normalization_log" in each["sql"]]
    counts = [each for each in statements if "COUNT(" in each]
    assert counts
    assert all("LIMIT 2" in each for each in counts)


def test_the_log_is_filtered_by_run_batch_and_value(operator: Client) -> None:
    store(["Series A", "seed round", "SERIES B"])
    run = work(begin()).run
    found = LogPage.open(operator, run_id=f"{run.pk}", before="seed round")
    assert found.stored_values == ["seed round"]
    assert len(LogPage.open(operator, run_id=f"{run.pk}", batch="1").stored_values) == 3
    assert LogPage.open(operator, run_id="x").counted == 0


def test_a_log_entry_shows_its_first_keys_and_how_many_more(operator: Client) -> None:
    ids = store(["Series A"] * 230)
    work(begin())
    keys = EntryPage.open(operator, NormalizationLog.objects.get()).keys
    assert keys.startswith(f"{ids[0]}, {ids[1]}")
    assert keys.endswith(f"{ids[199]}, and 30 more")


@pytest.mark.parametrize("model", ["backfillrun", "normalizationlog"])
def test_the_admin_cannot_add_change_or_delete_runs_and_log_entries(
    operator: Client, model: str
) -> None:
    store(["Series A"])
    work(begin())
    assert operator.get(reverse(f"admin:ops_{model}_add")).status_code == 403
    key = (BackfillRun if model == "backfillrun" else NormalizationLog).objects.get().pk
    assert operator.post(reverse(f"admin:ops_{model}_change", args=[key]), {}).status_code == 403
    delete = reverse(f"admin:ops_{model}_delete", args=[key])
    assert operator.post(delete, {"post": "yes"}).status_code == 403


def test_a_trigger_keeps_the_log_append_only() -> None:
    store(["Series A"])
    work(begin())
    for change in (
        NormalizationLog.objects.all().delete,
        lambda: NormalizationLog.objects.update(before="x"),
    ):
        with pytest.raises((InternalError, ProgrammingError), match="append-only"):
            change()
