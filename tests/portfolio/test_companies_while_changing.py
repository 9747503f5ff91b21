"""Paging finds each company once while others add companies and migrate stored stages."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from rest_framework.test import APIClient

from stagenorm.portfolio import companies_query
from stagenorm.portfolio.models import Fund, PortfolioCompany

pytestmark = pytest.mark.django_db(transaction=True)

OF_SERIES_A = ["series-a", "Series A", "SERIES_A", "series a round", "Series-A Funding"]
# Not there at first: what an undo writes while somebody pages.
LATER = ["seriesa", "Series A Financing", "  SERIES   A"]
OTHERS = ["seed", "Seed Round", "Series B", "Seires A", "Series A1"]
# Stands for a backfill's batch: some rows to canonical, or back as an undo would.
MIGRATE = (
    "UPDATE portfolio_companies SET stage = 'series-a' WHERE stage = ANY(%s) AND id %% %s = %s"
)
UNDO = "UPDATE portfolio_companies SET stage = %s WHERE stage = 'series-a' AND id %% %s = %s"


def make(fund: Fund, number: int, chance: random.Random) -> None:
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(
            fund=fund, name=f"{chance.random():.9f}", stage=chance.choice(OF_SERIES_A + OTHERS)
        )
        for _ in range(number)
    )


def of_series_a(fund: Fund) -> set[int]:
    return set(fund.companies.filter(stage__in=OF_SERIES_A + LATER).values_list("pk", flat=True))


def walk(
    api: APIClient, fund: Fund, between: Callable[[list[int]], None], **query: object
) -> list[int]:
    """Page to the end; call `between` with the ids so far after each page."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        asked = {"stage": "Series A", "limit": 7, **query}
        if cursor:
            asked["cursor"] = cursor
        answer = api.get(f"/api/funds/{fund.pk}/companies", asked)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.content
        found += [company["id"] for company in answer.json()["companies"]]
        assert {company["stage"] for company in answer.json()["companies"]} <= {"series-a"}
        if (cursor := answer.json()["next_cursor"]) is None:
            return found
        between(found)


@contextmanager
def another_connection(work: Callable[[], None]) -> Iterator[threading.Thread]:
    """Run `work` in a thread, which has a connection of its own; raise here what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
    assert not errors, errors


def elsewhere(work: Callable[[], None]) -> None:
    with another_connection(work):
        pass


@pytest.mark.parametrize("sort", ["id", "-id", "name", "-name", "invested_at"])
def test_each_company_is_found_once_while_rows_are_added_and_migrated_between_pages(
    api: APIClient, fund: Fund, sort: str
) -> None:
    chance = random.Random(f"between {sort}")
    make(fund, 150, chance)
    before = of_series_a(fund)
    step = 0

    def change(found: list[int]) -> None:
        nonlocal step
        step += 1
        with connection.cursor() as cursor:
            cursor.execute(MIGRATE, [OF_SERIES_A + LATER, 5, step % 5])
            if step % 2:
                cursor.execute(UNDO, [LATER[step % 3], 7, step % 7])
        make(
            fund, 2, chance
        )  # higher ids: ahead when sorting by id, behind when by -id, anywhere by name

    found = walk(api, fund, lambda found: elsewhere(lambda: change(found)), sort=sort)
    assert len(found) == len(set(found))
    assert before & of_series_a(fund) <= set(found)
    if sort == "id":
        assert set(found) == of_series_a(fund)


def test_a_company_added_ahead_with_a_new_spelling_is_found_and_one_behind_is_not(
    api: APIClient, fund: Fund
) -> None:
    make(fund, 60, random.Random(1))
    before = of_series_a(fund)
    added: list[int] = []

    def add(found: list[int]) -> None:
        if not added:
            ahead = PortfolioCompany.objects.create(
                fund=fund, name="ahead", stage="SeRiEs__a  FUNDING round"
            )
            behind = PortfolioCompany.objects.create(
                pk=-1, fund=fund, name="behind", stage="seriesa"
            )
            added.extend([ahead.pk, behind.pk])

    found = walk(api, fund, lambda found: elsewhere(lambda: add(found)))
    assert sorted(found) == sorted(before | {added[0]})


def test_a_migration_that_commits_between_two_pages_of_a_remembered_fund_is_seen(
    api: APIClient, fund: Fund
) -> None:
    """The first guess is the spellings of the last page: an undo to others must not hide rows."""
    make(fund, 40, random.Random(2))
    PortfolioCompany.objects.filter(stage__in=OF_SERIES_A).update(stage="series-a")
    before = of_series_a(fund)
    assert sorted(walk(api, fund, lambda found: None)) == sorted(before)
    PortfolioCompany.objects.filter(stage="series-a").update(stage="Series_A")
    assert sorted(walk(api, fund, lambda found: None)) == sorted(before)


def test_a_guess_that_misses_a_spelling_is_mended_before_the_answer(
    fund: Fund, api: APIClient
) -> None:
    make(fund, 40, random.Random(3))
    companies_query._spellings_of[fund.pk] = ("seed", "gone long ago")
    assert sorted(walk(api, fund, lambda found: None)) == sorted(of_series_a(fund))


def test_each_company_is_found_once_while_a_thread_adds_and_migrates_without_pause(
    api: APIClient, fund: Fund
) -> None:
    chance = random.Random(4)
    make(fund, 400, chance)
    before, stop = of_series_a(fund), threading.Event()
    turns = 0

    def churn() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            with connection.cursor() as cursor:
                cursor.execute(MIGRATE, [OF_SERIES_A + LATER, 3, turns % 3])
                cursor.execute(UNDO, [(OF_SERIES_A + LATER)[turns % 8], 3, (turns + 1) % 3])
            make(fund, 1, chance)

    walks: list[list[int]] = []
    with another_connection(churn) as changing:
        try:
            # Until both threads have run for long enough, however rarely each is scheduled.
            while len(walks) < 6 or turns <= 20:
                sort = ("id", "-id", "name")[len(walks) % 3]
                walks.append(walk(api, fund, lambda found: None, sort=sort, limit=5))
                assert changing.is_alive()
        finally:
            stop.set()
    for found in walks:
        assert len(found) == len(set(found))
        assert before <= set(found)
