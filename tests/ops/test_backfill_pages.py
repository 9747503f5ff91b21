"""What the web process shows of runs: metrics read from the database, and the admin that steers through `control`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest

from normalization.stages import Stage
from ops.backfill import control
from ops.backfill.metrics import BackfillCollector
from ops.backfill.models import BackfillRun, NormalizationLog
from tests.backfill_runs import QUICK, begin, store, stored, work
from tests.decided import decide

pytestmark = pytest.mark.django_db(transaction=True)


def scraped() -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(BackfillCollector())
    lines = re.findall(
        r"^(stage_backfill\S+) (\S+)$", generate_latest(registry).decode(), re.MULTILINE
    )
    return {name: float(value) for name, value in lines}


def test_rows_and_state_are_exported_by_whoever_can_read_the_database() -> None:
    assert scraped()['stage_backfill_run_state{state="running"}'] == 0
    store(["Series A", "seed", "Series A"])
    work(begin())
    found = scraped()
    assert (
        found['stage_backfill_rows_total{outcome="normalized",table="portfolio_companies"}'] == 2
    )
    assert found['stage_backfill_rows_total{outcome="unchanged",table="portfolio_companies"}'] == 1
    assert found['stage_backfill_run_state{state="completed"}'] == 1
    assert found["stage_backfill_heartbeat_timestamp_seconds"] > 0


def page_of(run: BackfillRun, client: Client) -> str:
    return client.get(reverse("admin:ops_backfillrun_change", args=[run.pk])).content.decode()


def steer(client: Client, run: BackfillRun, wish: str, **given: str) -> str:
    address = reverse("admin:ops_backfillrun_steer", args=[run.pk, wish])
    return client.post(address, given, follow=True).content.decode()


def offered(page: str, run: BackfillRun) -> set[str]:
    return set(re.findall(rf'action="/admin/ops/backfillrun/{run.pk}/steer/(\w+)/"', page))


def in_state(state: str, **given: Any) -> BackfillRun:
    """A run as its process left it. There is none that holds it."""
    run = begin()
    BackfillRun.objects.filter(pk=run.pk).update(state=state, **given)
    run.refresh_from_db()
    return run


@contextmanager
def held(run: BackfillRun) -> Iterator[None]:
    """A process has the run: one that shows signs of life and whose connection is open."""
    lease = control.claim(run.pk, "tests")
    yield
    control.release(lease)


def test_the_empty_list_says_how_to_see_the_plan_and_what_must_hold_first(
    operator: Client,
) -> None:
    page = operator.get(reverse("admin:ops_backfillrun_changelist")).content.decode()
    for shown in (
        "manage.py normalize_stages<",
        "manage.py backup_cycle",
        "--apply --plan HASH",
        "younger than an hour",
    ):
        assert shown in page


@pytest.mark.parametrize(
    ("state", "wishes", "command"),
    [
        ("planned", {"cancel"}, "manage.py normalize_stages --apply --resume"),
        ("running", {"pause", "cancel"}, "manage.py normalize_stages --apply --resume"),
        ("paused", {"cancel"}, "manage.py normalize_stages --apply --resume"),
        ("failed", {"cancel"}, "manage.py normalize_stages --apply --resume"),
        ("completed", {"undo"}, "manage.py normalize_stages --verify"),
        ("cancelled", {"undo"}, "manage.py normalize_stages"),
        ("undone", set(), "manage.py normalize_stages"),
    ],
)
def test_only_what_the_state_allows_is_offered_and_the_rest_is_told_as_a_command(
    operator: Client, state: str, wishes: set[str], command: str
) -> None:
    run = in_state(state)
    run.checkpoints.update(changed=1)
    page = page_of(run, operator)
    assert offered(page, run) == wishes
    assert (
        offered(operator.get(reverse("admin:ops_backfillrun_changelist")).content.decode(), run)
        == wishes
    )
    assert f'<code class="command">{command}</code>' in page
    assert f"</span>{state}" in page


def test_a_run_that_wrote_nothing_is_not_offered_for_undo(operator: Client) -> None:
    assert offered(page_of(run := in_state("completed"), operator), run) == set()


def test_resume_is_offered_where_a_process_waits(operator: Client) -> None:
    with held(run := begin()):
        control.pause(run.pk, "ann")
        assert offered(page_of(run, operator), run) == {"resume", "cancel"}
        assert "is running" in steer(operator, run, "resume")
        assert offered(page_of(run, operator), run) == {"pause", "cancel"}
        assert "is paused" in steer(operator, run, "pause")
        run.refresh_from_db()
        assert [each["actor"] for each in run.history[-2:]] == ["ann", "ann"]


def test_a_running_run_whose_process_is_gone_says_so(operator: Client) -> None:
    run = in_state("running")
    page = page_of(run, operator)
    assert "running, but its process is gone" in page
    assert "Its process is gone" in page


@pytest.mark.parametrize(
    ("wish", "before", "after"), [("cancel", "planned", "cancelled"), ("undo", "completed", "")]
)
def test_cancel_and_undo_ask_for_confirmation(
    operator: Client, wish: str, before: str, after: str
) -> None:
    run = in_state(before)
    run.checkpoints.update(changed=1)
    for ask in (operator.get, operator.post):
        page = ask(reverse("admin:ops_backfillrun_steer", args=[run.pk, wish])).content.decode()
        assert f"{wish.capitalize()} run {run.pk}</button>" in page
        assert BackfillRun.objects.values_list("state", flat=True).get(pk=run.pk) == before
        assert not BackfillRun.objects.filter(undoes=run).exists()
    steer(operator, run, wish, confirmed="yes")
    assert BackfillRun.objects.filter(undoes=run).exists() == (wish == "undo")
    run.refresh_from_db()
    assert run.state == (after or before)


def test_following_an_address_changes_nothing(operator: Client) -> None:
    with held(run := begin()):
        assert (
            operator.get(
                reverse("admin:ops_backfillrun_steer", args=[run.pk, "pause"])
            ).status_code
            == 200
        )
        run.refresh_from_db()
        assert run.state == "running"


def test_what_the_state_does_not_allow_is_refused_with_its_reason(operator: Client) -> None:
    run = in_state("completed")
    for wish in ("pause", "resume", "cancel"):
        assert "it can become undone" in steer(operator, run, wish, confirmed="yes")
    assert (
        operator.post(reverse("admin:ops_backfillrun_steer", args=[run.pk, "delete"])).status_code
        == 404
    )
    run.refresh_from_db()
    assert run.state == "completed"


def test_who_may_only_look_is_offered_nothing_and_can_do_nothing(client: Client) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    run = in_state("running")
    assert client.get(reverse("admin:ops_backfillrun_change", args=[run.pk])).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_backfillrun"))
    page = page_of(run, client)
    assert offered(page, run) == set()
    assert "make alias" not in page
    assert (
        client.post(reverse("admin:ops_backfillrun_steer", args=[run.pk, "pause"])).status_code
        == 403
    )
    user.user_permissions.add(Permission.objects.get(codename="change_backfillrun"))
    assert "is paused" in steer(client, run, "pause")


def test_a_post_without_the_csrf_token_steers_nothing() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ann"))
    run = in_state("running")
    assert (
        client.post(reverse("admin:ops_backfillrun_steer", args=[run.pk, "pause"])).status_code
        == 403
    )


def test_an_undo_is_planned_in_the_admin_and_carried_out_by_a_process(operator: Client) -> None:
    store(["Series A"])
    run = work(begin()).run
    steer(operator, run, "undo", confirmed="yes")
    undo = BackfillRun.objects.get(undoes=run)
    assert "normalize_stages --apply --resume" in page_of(undo, operator)
    work(undo)
    assert set(stored().values()) == {"Series A"}
    assert f"undone by run {undo.pk}" in page_of(run, operator)


def test_a_run_shows_its_checkpoints_pairs_and_unknown_values(operator: Client) -> None:
    store(["Series A", "Series A", "Seires A", "Series D"])
    run = work(begin(replace(QUICK))).run
    page = page_of(run, operator)
    rows = [
        re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    ]
    rows = [" ".join(row.split()) for row in rows]
    assert "Series A series-a 2 2 which rows" in rows
    assert "Seires A 1 portfolio_companies.stage series-a make alias" in rows
    assert any(row.startswith("portfolio_companies.stage") and "finished" in row for row in rows)
    assert "?spelling=Seires%20A&amp;stage=series-a" in page


def test_the_form_of_aliases_opens_with_the_unknown_value_in_it(operator: Client) -> None:
    store(["Seires A"])
    page = page_of(work(begin()).run, operator)
    address = unescape(re.findall(r'href="([^"]+/stagedecision/add/[^"]+)"', page)[0])
    form = operator.get(address).content.decode()
    assert 'value="Seires A"' in form
    assert '<option value="series-a" selected>' in form


def test_a_value_that_was_decided_meanwhile_is_not_offered_again(operator: Client) -> None:
    store(["Seires A"])
    run = work(begin()).run
    decide("Seires A", Stage.SERIES_A)
    page = page_of(run, operator)
    assert "the next run takes it" in page
    assert "make alias" not in page


def test_a_raw_value_is_shown_as_text_with_what_cannot_be_seen_and_cut(operator: Client) -> None:
    store(["<script>alert(1)</script>", "Series\u202eA+", " seed\u200b", "x" * 95])
    run = work(begin()).run
    for page in (
        page_of(run, operator),
        operator.get(reverse("admin:ops_normalizationlog_changelist")).content.decode(),
    ):
        assert "<script>alert" not in page
        assert '<span class="unseen">U+200B</span>' in page
    page = page_of(run, operator)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'Series<span class="unseen">U+202E</span>A+' in page
    assert '<span class="unseen">space</span>seed' in page
    assert "x" * 80 in page
    assert "x" * 81 not in page.replace("spelling=" + "x" * 95, "")
    assert "15 characters more" in page


def test_a_failed_run_shows_why_and_the_command_that_resumes(operator: Client) -> None:
    run = in_state("failed", error="company <7> is under legal hold")
    page = page_of(run, operator)
    assert "company &lt;7&gt; is under legal hold" in page
    assert "manage.py normalize_stages --apply --resume" in page


def test_a_run_that_waits_for_others_says_for_what_and_tells_no_time_left(
    operator: Client,
) -> None:
    with held(run := begin()):
        BackfillRun.objects.filter(pk=run.pk).update(
            waiting_for="replica b is 12.0 s behind (limit 10 s)"
        )
        page = page_of(run, operator)
    assert "replica b is 12.0 s behind (limit 10 s)" in page
    assert " left</span>" not in page


def test_the_time_left_comes_from_the_rows_of_the_time_at_work_waits_included(
    operator: Client,
) -> None:
    with held(run := begin()):
        run.refresh_from_db()
        now = timezone.now()
        spans = [("running", 300), ("paused", 200), ("running", 100)]  # 200 s at work
        history = [
            {"at": str(now - timedelta(seconds=ago)), "state": to, "actor": "a", "reason": ""}
            for to, ago in spans
        ]
        BackfillRun.objects.filter(pk=run.pk).update(history=history, heartbeat_at=now)
        run.checkpoints.filter(table_name="portfolio_companies").update(
            scanned=2000, total=10_000, passes=1
        )
        page = page_of(run, operator)
        assert "2,000 of 10,000 rows, 20 %" in page
        assert "10 rows/s, about 13 min 20 s left" in page


def test_a_page_refreshes_itself_while_its_run_is_at_work_only(operator: Client) -> None:
    addresses = [reverse("admin:ops_backfillrun_changelist")]
    with held(run := begin()):
        addresses.append(reverse("admin:ops_backfillrun_change", args=[run.pk]))
        for address in addresses:
            assert "data-refresh" in operator.get(address).content.decode()
        control.cancel(run.pk, "ann")
    for address in addresses:
        page = operator.get(address).content.decode()
        assert "data-refresh" not in page
        assert not re.search(r"<script(?![^>]*src=)[^>]*>|\sstyle=|\son\w+=|<style", page)


def queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return len(asked)


def test_the_lists_ask_as_often_for_many_rows_as_for_few(operator: Client) -> None:
    counts: dict[str, list[int]] = {"backfillrun": [], "normalizationlog": []}
    for more in (1, 4):
        for _ in range(more):
            store(["Series A", "seed round"])
            work(begin())
        for model, asked in counts.items():
            asked.append(queries(operator, reverse(f"admin:ops_{model}_changelist")))
    for few, many in counts.values():
        assert few == many


def test_the_log_is_counted_to_a_limit_and_found_by_run_batch_and_value(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(["Series A", "seed round", "SERIES B"])
    run = work(begin()).run
    address = reverse("admin:ops_normalizationlog_changelist")
    monkeypatch.setattr("ops.admin_ui.ledgers.COUNTED_TO", 2)
    with CaptureQueriesContext(connection) as asked:
        assert operator.get(address).context["cl"].result_count == 2
    counts = [
        each["sql"]
        for each in asked
        if "stage_normalization_log" in each["sql"] and "COUNT(" in each["sql"]
    ]
    assert counts
    assert all("LIMIT 2" in each for each in counts)
    monkeypatch.undo()
    found = operator.get(address, {"run_id": str(run.pk), "before": "seed round"}).content.decode()
    assert "seed round" in found
    assert "SERIES B" not in found
    assert operator.get(address, {"run_id": "x"}).context["cl"].result_count == 0


def test_an_entry_of_the_log_shows_its_first_keys_and_how_many_more(operator: Client) -> None:
    ids = store(["Series A"] * 230)
    work(begin())
    entry = NormalizationLog.objects.get()
    page = operator.get(
        reverse("admin:ops_normalizationlog_change", args=[entry.pk])
    ).content.decode()
    assert f"{ids[0]}, {ids[1]}" in page
    assert f"{ids[199]}, and 30 more" in page


@pytest.mark.parametrize("model", ["backfillrun", "normalizationlog"])
def test_ledgers_are_read_only(operator: Client, model: str) -> None:
    store(["Series A"])
    work(begin())
    assert operator.get(reverse(f"admin:ops_{model}_add")).status_code == 403
    key = (BackfillRun if model == "backfillrun" else NormalizationLog).objects.get().pk
    assert operator.post(reverse(f"admin:ops_{model}_change", args=[key]), {}).status_code == 403
    assert (
        operator.post(
            reverse(f"admin:ops_{model}_delete", args=[key]), {"post": "yes"}
        ).status_code
        == 403
    )


def test_the_log_is_append_only_against_sql_too() -> None:
    from django.db import InternalError, ProgrammingError

    store(["Series A"])
    work(begin())
    for change in (
        NormalizationLog.objects.all().delete,
        lambda: NormalizationLog.objects.update(before="x"),
    ):
        with pytest.raises((InternalError, ProgrammingError), match="append-only"):
            change()
