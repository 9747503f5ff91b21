"""With 100,000 companies in 50 funds, no page reads the table from end to end."""

import itertools
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from ops.backfill import columns
from ops.backfill import sql as statements
from stagenorm.portfolio.companies_query import (
    FUND_SPELLINGS,
    SORTS,
    WALKED,
    PagePosition,
    Search,
    page_statement,
    walk_statement,
)
from tests.portfolio.fund_data import MIXED_SPELLINGS, fill

SEEDS = frozenset(["seed", "Seed", "Seed Round", "SEED"])
LAST = {
    "id": None,
    "name": "Company 5",
    "invested_at": "2019-01-01",
    "created_at": "2026-01-01T00:00:00Z",
}


def plan(sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the statement and return every node of its plan."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, parameters)
        [answer] = cursor.fetchone()
    nodes, todo = [], [(json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]]
    while todo:
        nodes.append(node := todo.pop())
        todo += node.get("Plans", [])
    return nodes


def rows_read(node: dict[str, Any]) -> int:
    """Return how many rows the node went through, those included that a filter dropped."""
    return int(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    )


def assert_within_fund(node: dict[str, Any], case: object) -> None:
    assert node["Node Type"] != "Seq Scan", case
    condition = node.get("Index Cond", node.get("Recheck Cond", str(node)))
    assert re.search(r"fund_id (=|>=) ", condition), (case, condition)


def scans(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes that read the table: itself or, for a bitmap, its index."""
    return [
        n for n in nodes if "Scan" in n["Node Type"] and {"Relation Name", "Index Name"} & set(n)
    ]


@pytest.fixture
def fund(db: None) -> int:
    """One of 50 funds, among 100,000 companies."""
    return fill(companies=100_000, funds=50)[7]


def test_a_page_is_read_through_an_index_of_its_fund(fund: int) -> None:
    cases = itertools.product(SORTS, (None, SEEDS), (False, True))
    for sort, spellings, further in cases:
        after = PagePosition(LAST[SORTS[sort].column], 500) if further else None
        read = scans(plan(*page_statement(Search(fund, sort), after, spellings)))
        assert read
        for node in read:
            assert_within_fund(node, (sort, spellings, further))
            # At the most the fund's own companies, 2,000 of the 100,000.
            assert rows_read(node) <= 2_000


def test_a_page_of_a_common_stage_reads_little_more_than_itself(fund: int) -> None:
    for sort, further in itertools.product(
        (name for name in SORTS if SORTS[name].indexed), (False, True)
    ):
        after = PagePosition(LAST[SORTS[sort].column], 500) if further else None
        read = scans(
            plan(*walk_statement(Search(fund, sort), after, set(MIXED_SPELLINGS) - SEEDS))
        )
        assert len(read) == 1
        assert_within_fund(read[0], (sort, further))
        assert rows_read(read[0]) <= 200


def test_what_changed_lately_is_read_without_the_rest_of_the_fund(fund: int) -> None:
    since = datetime(2100, 1, 1, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE portfolio_companies SET updated_at = %s"
            " WHERE fund_id = %s AND id / 50 %% 50 = 0",
            [since, fund],
        )
        changed = cursor.rowcount
        cursor.execute("ANALYZE portfolio_companies")
    assert changed >= 20
    for sort, spellings, further in itertools.product(SORTS, (None, SEEDS), (False, True)):
        after = PagePosition(LAST[SORTS[sort].column], 500) if further else None
        search = Search(fund, sort, updated_since=since)
        read = scans(plan(*page_statement(search, after, spellings)))
        tables = [node for node in read if node.get("Index Name") != "companies_fund_raw_id"]
        for node in tables:
            assert_within_fund(node, (sort, spellings, further))
            assert rows_read(node) <= changed, (sort, spellings, further, node)


def test_a_walk_for_a_stage_that_is_not_there_ends(fund: int) -> None:
    # For a fund of twice WALKED rows both plans cost about the same.
    [large] = fill(companies=20_000, funds=1, first=100_000)
    read = scans(plan(*walk_statement(Search(large), None, MIXED_SPELLINGS)))
    assert sum(map(rows_read, read)) <= WALKED


def test_a_fund_that_was_loaded_last_is_not_searched_from_the_table_s_beginning(fund: int) -> None:
    [last] = fill(companies=5_000, funds=1, first=100_000)
    for sql, parameters in (
        page_statement(Search(last), None),
        page_statement(Search(last), None, SEEDS),
        walk_statement(Search(last), None, set(MIXED_SPELLINGS) - SEEDS),
    ):
        assert sum(map(rows_read, scans(plan(sql, parameters)))) <= 5_100


def test_the_spellings_of_a_fund_cost_one_descent_each(fund: int) -> None:
    nodes = plan(f"WITH RECURSIVE {FUND_SPELLINGS} SELECT raw FROM spelling", {"fund": fund})
    read = scans(nodes)
    assert {node["Index Name"] for node in read} == {"companies_fund_raw_id"}
    assert sum(map(rows_read, read)) <= len(MIXED_SPELLINGS) + 1
    for node in read:
        assert_within_fund(node, "spellings")


def test_the_facts_of_the_gate_cost_a_few_index_entries_for_each_text(fund: int) -> None:
    [column] = columns.find(["portfolio_companies"])
    parameters = {"raws": list(MIXED_SPELLINGS), "stages": ["seed"] * len(MIXED_SPELLINGS)}
    filled = {"text": "stage_raw", "condition": "true"}
    unfilled = {"text": "stage", "condition": "t.stage_raw IS NULL"}
    for place in (filled, unfilled):
        read = scans(plan(column.sql(statements.DISTINCT_TEXTS, **place), {"limit": 100}))
        assert {node["Index Name"] for node in read} == {"companies_raw_stage"}
        assert sum(map(rows_read, read)) <= len(MIXED_SPELLINGS) + 1
    nodes = plan(column.sql(statements.COUNTS), {**parameters, "limit": 10})
    every, *read = sorted(scans(nodes), key=rows_read, reverse=True)
    assert rows_read(every) == 100_000  # the rows themselves are counted
    assert sum(map(rows_read, read)) <= 200, read
    # With many rows unfilled the planner may read the table until the first of them.
    read = scans(plan(column.sql(statements.UNFILLED), {}))
    assert sum(map(rows_read, read)) <= 200, read
