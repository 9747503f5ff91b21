"""The upgrade to `stage_raw`: no table is rewritten, and the client's words come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command

from normalization.stages import Stage
from ops.backfill import control
from ops.backfill.columns import StageColumn
from tests.backfill_runs import (
    COMPANIES,
    QUICK,
    begin,
    earlier_run,
    earlier_undo,
    execute,
    not_derived,
    store,
    stored,
    work,
    written,
)
from tests.decided import decide, retire

pytestmark = pytest.mark.django_db(transaction=True)

ALLOCATIONS = "portfolio_strategystageallocation"
# The columns as the release before had them.
BEFORE = [
    StageColumn("public", COMPANIES, "stage", "id"),
    StageColumn("public", ALLOCATIONS, "stage", "id"),
]
STRATEGY = """
INSERT INTO portfolio_portfoliostrategy (fund_id, name, description, model_type,
    target_portfolio_size, max_portfolio_size, deployment_months, sector_allocation,
    reserve_ratio, risk_tolerance, tags, client, created_at, updated_at)
SELECT min(id), 's', '', 'balanced', 25, 30, 36, '{}', 0.5, 'moderate', '[]', 'c', now(), now()
FROM portfolio_fund RETURNING id
"""
ALLOCATION = f"""
INSERT INTO {ALLOCATIONS} (strategy_id, spelling, stage, weight, position)
SELECT %s, spelling, stage, 0.25, n
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS given (spelling, stage, n)
"""
ALLOCATED = f"SELECT spelling, stage FROM {ALLOCATIONS} ORDER BY position"
FILES = """
SELECT relname, pg_relation_filenode(oid) FROM pg_class
WHERE relname IN ('portfolio_companies', 'portfolio_strategystageallocation')
"""


def migrate(*to: str) -> None:
    call_command("migrate", "portfolio", *to, verbosity=0, skip_checks=True)


@pytest.fixture
def before() -> Iterator[None]:
    """The tables as the release before had them."""
    migrate("0006")
    try:
        yield
    finally:
        execute(f"TRUNCATE {ALLOCATIONS}, {COMPANIES}")
        migrate()


def change(company: int, stage: str) -> None:
    """A client of the release before changes a stage."""
    execute(f"UPDATE {COMPANIES} SET stage = %s WHERE id = %s", [stage, company])


def previous_release() -> list[int]:
    """Companies and strategies after three runs, one of them undone, with clients in between."""
    texts = ["Series A", "Foo", "SEED", "Foo", "seed", "Grant", "Bar", "Series B"]
    ids = store(texts)
    strategy = execute(STRATEGY)[0][0]
    spellings, stages = ["Foo", "Baz", "Bar", "seed"], ["Foo", "Baz", "Bar", "seed"]
    execute(ALLOCATION, [strategy, spellings, stages])
    decide("Foo", Stage.SERIES_A)
    earlier_run(BEFORE)
    change(ids[2], "SERIES_C")
    change(ids[3], "seed")
    decide("Bar", Stage.SEED)
    earlier_run(BEFORE)
    decide("Grant", Stage.SERIES_B)
    earlier_undo(earlier_run(BEFORE), BEFORE)
    retire("Foo", "Grant")
    assert [stored()[key] for key in ids] == [
        "series-a", "series-a", "series-c", "seed", "seed", "Grant", "seed", "series-b",
    ]  # fmt: skip
    return ids


def test_words_that_the_log_still_has_are_restored_and_all_rows_follow_today_s_decisions(
    before: None,
) -> None:
    ids = previous_release()
    files = execute(FILES)
    held = stored()
    migrate()
    assert sorted(execute(FILES)) == sorted(files)
    assert written() == {key: (None, stage) for key, stage in held.items()}
    run = work(begin()).run
    after = dict(
        zip(
            ids,
            [
                ("Series A", "series-a"),
                ("Foo", None),  # its decision is retired
                ("SERIES_C", "series-c"),  # what the client wrote after the first run
                ("seed", "seed"),  # the log has other words, but the client changed the row since
                ("seed", "seed"),
                ("Grant", None),  # its run is undone
                ("Bar", "seed"),
                ("Series B", "series-b"),
            ],
            strict=True,
        )
    )
    assert written() == after
    assert execute(ALLOCATED) == [("Foo", None), ("Baz", None), ("Bar", "seed"), ("seed", "seed")]
    assert not_derived() == {}
    work(control.begin_undo(run.pk, QUICK, "tests"))
    assert written() == {key: (None, stage) for key, stage in held.items()}
    assert execute(ALLOCATED)[:2] == [("Foo", "series-a"), ("Baz", "Baz")]
    work(begin())
    assert written() == after
    decide("Foo", Stage.SERIES_B)
    work(begin())
    assert written()[ids[1]] == ("Foo", "series-b")
    assert execute(ALLOCATED)[0] == ("Foo", "series-b")


def test_backwards_a_text_without_a_stage_is_in_the_stage_again(before: None) -> None:
    ids = previous_release()
    migrate()
    work(begin())
    migrate("0006")
    assert [stored()[key] for key in ids] == [
        "series-a", "Foo", "series-c", "seed", "seed", "Grant", "seed", "series-b",
    ]  # fmt: skip
    assert execute(ALLOCATED)[:2] == [("Foo", "Foo"), ("Baz", "Baz")]
    migrate()
    work(begin())
    assert not_derived() == {}


def test_an_index_that_an_interrupted_migration_left_is_made_again(before: None) -> None:
    migrate("0007")
    execute(f"CREATE INDEX companies_raw_stage ON {COMPANIES} (sector)")
    migrate()
    [(definition,)] = execute(
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'companies_raw_stage'"
    )
    assert definition.endswith('(stage_raw COLLATE "C", stage COLLATE "C")')
