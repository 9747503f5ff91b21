"""The inbox of spellings with 100,000 distinct texts: its first page, and the count behind it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from normalization import decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, ObservedSpelling
from ops.pages.spellings import inbox, weights
from ops.pages.spellings.inbox import InboxQuery
from ops.pages.spellings.models import SpellingCount
from tests.benchmarks.harness import Ratio, hold, median_ns
from tests.data.classified_spellings import classified_spellings

pytestmark = pytest.mark.django_db(transaction=True)

SPELLINGS = 100_000
DECIDED = 10_000

STORED = """
INSERT INTO portfolio_companies (fund_id, name, stage, status, sector, created_at, updated_at)
SELECT %s, 'company ' || place, CASE WHEN place %% 3 = 0 THEN 'seed' ELSE spelling END,
       'active', '', now(), now()
FROM unnest(%s::text[]) WITH ORDINALITY AS given (spelling, place),
     generate_series(1, 3) AS copies
"""


@pytest.fixture
def spellings() -> list[str]:
    """300,000 rows of 100,000 spellings, 10,000 decisions, and seven days of requests."""
    from stagenorm.portfolio.models import Fund

    public = [each.raw for each in classified_spellings()]
    made = [f"{raw} {number}" for number in range(100) for raw in public]
    texts = (public + made)[:SPELLINGS]
    fund = Fund.objects.create(name="Benchmark")
    with connection.cursor() as cursor:
        cursor.execute(STORED, [fund.pk, texts])
    rows = [
        DecisionRow(f"decided {number}", DecisionVerdict.OUTSIDE, source="made")
        for number in range(DECIDED)
    ]
    decisions.apply(decisions.plan(rows), author="ann", source=DecisionBatch.Source.COMMAND)
    now = timezone.now()
    ObservedSpelling.objects.bulk_create(
        ObservedSpelling(
            day=(now - timedelta(days=day)).date(),
            spelling=texts[(number + 31 * day) % 5_000],
            endpoint="fund-companies",
            client=f"client {number % 10}",
            count=number,
            first_seen=now,
            last_seen=now,
        )
        for day in range(7)
        for number in range(1_000)
    )
    return texts


def test_the_first_page_and_the_count(spellings: list[str], client: Client) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    first = median_ns(weights.count, rounds=1) / 1e9
    again = median_ns(weights.count, rounds=3) / 1e9
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    hold(Ratio("count stored rows again, 300,000 rows", 5, again, unit="s", note=f"{first:.1f} s"))
    counted = SpellingCount.objects.get()
    assert counted.shares[""][0] > 60_000
    assert len(inbox.read_page(InboxQuery()).listed) == inbox.UNITS_LISTED
    for name, work in {
        "nothing new to catch up with": weights.catch_up,
        "first page of the inbox": lambda: inbox.read_page(InboxQuery()),
        "the whole first page, as a browser gets it": lambda: client.get("/admin/ops/spellings/"),
        "search in the inbox": lambda: inbox.read_page(InboxQuery(named="client 3")),
        "page 500 of the inbox": lambda: inbox.read_page(InboxQuery(page=500)),
        "shares by verdict": lambda: inbox.read_shares(counted),
    }.items():
        seconds = median_ns(work, rounds=7) / 1e9
        goal = None if name.startswith(("search", "page 500")) else 0.3
        hold(Ratio(f"{name}, 100,000 spellings", goal, seconds, unit="s"))
