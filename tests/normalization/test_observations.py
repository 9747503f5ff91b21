"""What clients sent is tallied, bounded, and never hurts a request."""

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from normalization import observations
from normalization.models import ClientAgent, ObservedSpelling, OutcomeTally
from normalization.observations import AGENTS_A_MINUTE, OTHER, SPELLINGS_A_DAY

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes as it does, but from noon: no day ends while a test counts what it keeps a
    day.
    """
    noon, started = (
        timezone.now().replace(hour=12, minute=0, second=0, microsecond=0),
        timezone.now(),
    )
    now = timezone.now
    monkeypatch.setattr("django.utils.timezone.now", lambda: noon + (now() - started))


def record(spellings: dict[tuple[str, str], int], client: str = "web") -> None:
    observations.record("fund-companies", client, "warn", "unknown", spellings)


def test_requests_of_a_minute_are_one_row_per_outcome_across_flushes() -> None:
    for _ in range(3):
        record({("Seires A", ""): 2})
        observations.flush()
    minutes = OutcomeTally.objects.values_list("requests", flat=True)
    assert list(minutes) == [3]
    assert sum(ObservedSpelling.objects.values_list("count", flat=True)) == 6


def test_first_and_last_seen_span_the_flushes() -> None:
    record({("Seires A", ""): 1})
    observations.flush()
    before = ObservedSpelling.objects.get().last_seen
    record({("Seires A", ""): 1})
    observations.flush()
    row = ObservedSpelling.objects.get()
    assert row.first_seen == before
    assert row.last_seen > before


def test_a_thousand_unknown_spellings_a_day_are_kept_and_the_rest_is_one_row() -> None:
    for start in range(0, 3 * SPELLINGS_A_DAY, 500):
        record({(f"junk {n}", ""): 1 for n in range(start, start + 500)})
        observations.flush()
    unknown = ObservedSpelling.objects.filter(stage="")
    assert unknown.exclude(spelling=OTHER).count() == SPELLINGS_A_DAY
    assert unknown.get(spelling=OTHER).count == 2 * SPELLINGS_A_DAY


def test_a_flood_of_unknown_spellings_does_not_push_out_known_ones() -> None:
    record({(f"junk {n}", ""): 1 for n in range(SPELLINGS_A_DAY)})
    observations.flush()
    record({("Seed Round", "seed"): 1})
    observations.flush()
    assert ObservedSpelling.objects.get(stage="seed").spelling == "Seed Round"


def test_raw_text_is_cut_and_its_control_characters_replaced() -> None:
    record({("a\x00\n\u202eb" + "x" * 500, ""): 1})
    observations.flush()
    spelling = ObservedSpelling.objects.get().spelling
    assert spelling == "a???b" + "x" * 95


def test_flushes_of_many_processes_at_once_lose_and_double_nothing() -> None:
    def flush(number: int) -> None:
        tallies = {
            (MINUTE, "fund-companies", f"client-{each}", "warn", "unknown"): 1
            for each in random.Random(number).sample(range(50), 40)
        }
        try:
            observations._write_tallies(tallies)
        finally:
            connection.close()

    threads = [threading.Thread(target=flush, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(OutcomeTally.objects.values_list("requests", flat=True)) == 16 * 40


def test_a_database_that_fails_keeps_the_tallies_for_the_next_flush() -> None:
    record({("x", ""): 1})
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE normalization_outcometally RENAME TO gone")
    observations.flush()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gone RENAME TO normalization_outcometally")
    record({("x", ""): 1})
    observations.flush()
    assert sum(OutcomeTally.objects.values_list("requests", flat=True)) == 2
    assert ObservedSpelling.objects.get().count == 2


def test_yesterday_does_not_count_towards_todays_limit() -> None:
    yesterday = timezone.now() - timedelta(days=1)
    ObservedSpelling.objects.bulk_create(
        ObservedSpelling(
            day=yesterday.date(), spelling=f"old {n}", endpoint="e", client="c", count=1,
            first_seen=yesterday, last_seen=yesterday,
        )
        for n in range(SPELLINGS_A_DAY)
    )  # fmt: skip
    record({("new", ""): 1})
    observations.flush()
    assert ObservedSpelling.objects.filter(spelling="new").exists()


def test_the_last_three_user_agents_of_a_client_are_kept_cut_and_printable() -> None:
    for client in ("web", "batch"):
        for number in range(5):
            observations.record_agent(client, f"{number}\x1b\x9b" + "x" * 300)
            observations.flush()
    kept = ClientAgent.objects.order_by("client", "-last_seen")
    assert [(row.client, row.user_agent) for row in kept] == [
        (client, f"{number}??" + "x" * 197) for client in ("batch", "web") for number in (4, 3, 2)
    ]


def test_a_user_agent_is_written_once_a_minute_and_by_the_flush_alone(
    django_assert_num_queries: Callable[[int], AbstractContextManager[object]],
) -> None:
    with django_assert_num_queries(0):
        for _ in range(10):
            observations.record_agent("web", "desk/1")
    observations.flush()
    first = ClientAgent.objects.get()
    observations.record_agent("web", "desk/1")
    with django_assert_num_queries(0):
        observations.flush()
    observations.forget()
    observations.record_agent("web", "desk/1")
    observations.flush()
    again = ClientAgent.objects.get()
    assert again.first_seen == first.first_seen
    assert again.last_seen > first.last_seen


def test_a_process_notes_at_most_a_thousand_user_agents_a_minute() -> None:
    for number in range(AGENTS_A_MINUTE + 5):
        observations.record_agent(f"client-{number}", "x")
    observations.flush()
    assert ClientAgent.objects.count() == AGENTS_A_MINUTE
