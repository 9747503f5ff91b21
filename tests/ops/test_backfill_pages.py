"""What the web process shows of runs: metrics read from the database, and the admin that steers through `control`."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from prometheus_client import CollectorRegistry, generate_latest

from ops.backfill.collector import BackfillCollector
from ops.backfill.models import BackfillRun, NormalizationLog
from tests.backfill_runs import QUICK, begin, store, stored, work

pytestmark = pytest.mark.django_db(transaction=True)


def scraped() -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(BackfillCollector())
    lines = re.findall(r"^(stage_backfill\S+) (\S+)$", generate_latest(registry).decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_rows_and_state_are_exported_by_whoever_can_read_the_database() -> None:
    assert scraped()['stage_backfill_run_state{state="running"}'] == 0
    store(["Series A", "seed", "Series A"])
    work(begin())
    found = scraped()
    assert found['stage_backfill_rows_total{outcome="normalized",table="portfolio_companies"}'] == 2
    assert found['stage_backfill_rows_total{outcome="unchanged",table="portfolio_companies"}'] == 1
    assert found['stage_backfill_run_state{state="completed"}'] == 1
    assert found["stage_backfill_heartbeat_timestamp_seconds"] > 0


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("ann"))
    return client


def chosen(operator: Client, action: str, run: BackfillRun) -> str:
    answer = operator.post(
        reverse("admin:ops_backfillrun_changelist"), {"action": action, "_selected_action": [run.pk]}, follow=True
    )
    return answer.content.decode()


def test_runs_are_paused_and_cancelled_from_the_admin(operator: Client) -> None:
    run = begin()
    assert "cannot become paused" in chosen(operator, "pause", run)
    assert f"Run {run.pk} is cancelled" in chosen(operator, "cancel", run)
    run.refresh_from_db()
    assert (run.state, run.history[-1]["actor"]) == ("cancelled", "ann")


def test_an_undo_is_planned_in_the_admin_and_carried_out_by_a_process(operator: Client) -> None:
    store(["Series A"])
    run = work(begin()).run
    assert "normalize_stages --apply --resume" in chosen(operator, "undo", run)
    work(BackfillRun.objects.get(undoes=run))
    assert set(stored().values()) == {"Series A"}


def test_a_run_shows_its_checkpoints_pairs_and_unknown_values(operator: Client) -> None:
    store(["Series A", "Series D"])
    run = work(begin(replace(QUICK))).run
    page = operator.get(reverse("admin:ops_backfillrun_change", args=[run.pk])).content.decode()
    for shown in ("portfolio_companies", "&#x27;Series A&#x27; → series-a: 1", "Series D"):
        assert shown in page


@pytest.mark.parametrize("model", ["backfillrun", "normalizationlog"])
def test_ledgers_are_read_only(operator: Client, model: str) -> None:
    store(["Series A"])
    work(begin())
    assert operator.get(reverse(f"admin:ops_{model}_add")).status_code == 403
    key = (BackfillRun if model == "backfillrun" else NormalizationLog).objects.get().pk
    assert operator.post(reverse(f"admin:ops_{model}_change", args=[key]), {}).status_code == 403
    assert operator.post(reverse(f"admin:ops_{model}_delete", args=[key]), {"post": "yes"}).status_code == 403


def test_the_log_is_append_only_against_sql_too() -> None:
    from django.db import InternalError, ProgrammingError

    store(["Series A"])
    work(begin())
    for change in (NormalizationLog.objects.all().delete, lambda: NormalizationLog.objects.update(before="x")):
        with pytest.raises((InternalError, ProgrammingError), match="append-only"):
            change()
