"""A run normalizes every stored stage, logs each changed row once, and touches nothing else."""

from __future__ import annotations

import csv
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from normalization import decision_store
from normalization.stages import Stage
from ops.backfill.models import BackfillCheckpoint, BackfillRun, RunStrategy
from tests.backfill_runs import (
    CANONICAL,
    MESSY,
    QUICK,
    UNKNOWN,
    Heard,
    another_connection,
    begin,
    execute,
    logged,
    normalized,
    rewrite,
    store,
    store_many,
    stored,
    texts,
    work,
    written,
)
from tests.decided import decide
from tests.servers import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


def vocabulary() -> list[str]:
    with (ROOT / "tests/data/stage_vocabulary.csv").open(encoding="utf-8", newline="") as file:
        return [row["raw"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("strategy", ["batched", "transactional"])
def test_every_spelling_of_the_vocabulary_becomes_what_normalize_returns(strategy: str) -> None:
    raws = [raw[:255] for raw in vocabulary() if "\0" not in raw]
    store([*raws, *CANONICAL, *MESSY, *UNKNOWN])
    before = stored()
    finish = work(begin(replace(QUICK, batch_size=97, strategy=RunStrategy(strategy))))
    assert (finish.run.state, finish.trouble) == ("completed", "")
    assert stored() == normalized(before)
    assert texts() == before
    assert {key for key, _, _ in logged(finish.run)} == set(before)


def test_each_changed_row_is_logged_once_with_what_it_held_before_and_after() -> None:
    store_many(5000)
    before = stored()
    finish = work(begin())
    after = stored()
    entries = logged(finish.run)
    assert Counter(key for key, _, _ in entries).most_common(1)[0][1] == 1
    assert {key: was for key, was, _ in entries} == before
    assert texts() == before
    assert {key: now for key, _, now in entries} == {key: after[key] for key, _, _ in entries}
    checkpoint = finish.run.checkpoints.get(table_name="portfolio_companies")
    assert (checkpoint.changed, checkpoint.unknown, checkpoint.finished) == (
        len(entries),
        50,
        True,
    )


def test_nothing_but_the_stage_of_changed_rows_is_touched() -> None:
    store([*MESSY, *CANONICAL, *UNKNOWN] * 20)
    rows = """
    SELECT id, to_jsonb(c) - 'stage' - 'stage_raw', xmin::text, stage
    FROM portfolio_companies c ORDER BY id
    """
    before = execute(rows)
    work(begin())
    filled = execute(rows)
    assert [row[:2] for row in before] == [row[:2] for row in filled]
    decide("angel", Stage.SEED)
    work(begin())
    after = execute(rows)
    assert [row[:2] for row in before] == [row[:2] for row in after]
    changed = [old[2] != new[2] for old, new in zip(filled, after, strict=True)]
    assert changed == [old[3] != new[3] for old, new in zip(filled, after, strict=True)]
    assert changed.count(True) == 20


def test_triggers_fire_for_changed_rows_only() -> None:
    ids = store([*MESSY, *CANONICAL, *UNKNOWN])
    work(begin())
    decide("angel", Stage.SEED)
    execute("CREATE TABLE fired (id bigint)")
    execute(
        "CREATE FUNCTION note_fired() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO fired VALUES (new.id); RETURN new; END $$;"
        "CREATE TRIGGER note_fired BEFORE UPDATE ON portfolio_companies "
        "FOR EACH ROW EXECUTE FUNCTION note_fired()"
    )
    try:
        work(begin())
        angel = ids[len(MESSY) + len(CANONICAL) + UNKNOWN.index("angel")]
        assert execute("SELECT id FROM fired") == [(angel,)]
    finally:
        execute(
            "DROP TRIGGER note_fired ON portfolio_companies; "
            "DROP FUNCTION note_fired; DROP TABLE fired"
        )


def test_strategy_rows_are_derived_too_and_table_limits_the_run() -> None:
    store(["Series A"])
    fund = execute("SELECT id FROM portfolio_fund LIMIT 1")[0][0]
    strategy = execute(
        "INSERT INTO portfolio_portfoliostrategy "
        "(fund_id, name, description, model_type, target_portfolio_size, max_portfolio_size, "
        "deployment_months, sector_allocation, reserve_ratio, risk_tolerance, tags, client, "
        "created_at, updated_at) VALUES (%s, 's', '', 'balanced', 25, 30, "
        "36, '{}', 0.5, 'moderate', '[]', 'c', now(), now()) RETURNING id",
        [fund],
    )[0][0]
    execute(
        "INSERT INTO portfolio_strategystageallocation "
        "(strategy_id, spelling, stage, weight, position) "
        "VALUES (%s, 'A ROUND', 'A ROUND', 0.5, 0), (%s, 'Serie Z', 'Serie Z', 0.5, 1)",
        [strategy, strategy],
    )
    work(begin(only=["portfolio_companies"]))
    rows = "SELECT spelling, stage FROM portfolio_strategystageallocation ORDER BY position"
    assert execute(rows) == [("A ROUND", "A ROUND"), ("Serie Z", "Serie Z")]
    decide("a round", Stage.SERIES_A)
    finish = work(begin())
    assert execute(rows) == [("A ROUND", "series-a"), ("Serie Z", None)]
    assert [each["raw"] for each in finish.run.unknown] == ["Serie Z"]


def test_a_spelling_that_appears_during_the_run_is_normalized() -> None:
    ids = store(["Series A"] * 30)
    new = Heard(after_1=lambda: rewrite("SEED   ROUND", ids[::2]))
    finish = work(begin(replace(QUICK, batch_size=10)), new)
    assert set(stored().values()) == {"series-a", "seed"}
    assert finish.run.state == "completed"


def test_rows_written_behind_and_ahead_of_the_cursor_are_normalized_before_the_run_ends() -> None:
    ids = store(["Series A"] * 50)

    def meanwhile() -> None:
        rewrite("SEED", [ids[0]])
        store(["Series B Round"] * 3)

    work(begin(replace(QUICK, batch_size=10)), Heard(after_1=meanwhile))
    assert Counter(stored().values()) == {"series-a": 49, "seed": 1, "series-b": 3}


def test_undecided_texts_have_no_stage_and_are_listed_until_a_later_run_after_a_decision() -> None:
    store([*UNKNOWN, "Fund Round One", "seed"])
    first = work(begin())
    assert first.run.state == "completed"
    assert {each["raw"] for each in first.run.unknown} == {*UNKNOWN, "Fund Round One"}
    assert {each["raw"]: each["suggestions"] for each in first.run.unknown}["Seires A"] == [
        "series-a"
    ]
    decided = decide("Fund Round One", Stage.SEED).version
    second = work(begin())
    assert [(was, now) for _, was, now in logged(second.run)] == [(None, "seed")]
    assert [entry.raw for entry in second.run.log.all()] == ["Fund Round One"]
    assert second.run.alias_version == decision_store.current().version == decided


def test_a_second_run_writes_nothing_and_needs_no_batch() -> None:
    store_many(2000)
    work(begin())
    heard = Heard()
    finish = work(begin(), heard)
    assert (heard.all("batch"), logged(finish.run)) == ([], [])


@pytest.mark.parametrize("size", [1, 7, 50_000])
def test_a_run_resumes_from_its_checkpoint_with_another_batch_size(size: int) -> None:
    store(MESSY * 30)
    before = stored()
    run = begin(replace(QUICK, batch_size=40))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(run, Heard(after_2=stop))
    abandoned(run)
    finish = work(run, options=replace(QUICK, batch_size=size))
    assert finish.run.state == "completed"
    assert stored() == normalized(before)
    assert len(logged(run)) == len({key for key, _, _ in logged(run)}) == len(before)


def abandoned(run: BackfillRun) -> None:
    """The holder's connection is gone: as after a kill."""
    BackfillRun.objects.filter(pk=run.pk).update(lease_backend=0)


def test_a_batch_is_bounded_by_rows_looked_at() -> None:
    store(["seed"] * 100 + ["Seed"] + ["seed"] * 899 + ["Seed"])
    heard = Heard()
    work(begin(replace(QUICK, batch_size=100)), heard)
    assert all(each["scanned"] <= each["size"] for each in heard.all("batch"))
    assert set(stored().values()) == {"seed"}


def test_batches_grow_towards_half_a_second_and_never_beyond_their_bounds() -> None:
    store_many(3000)
    heard = Heard()
    work(begin(replace(QUICK, batch_size=100)), heard)
    sizes = [each["size"] for each in heard.all("batch")]
    # At most doubled each time; a busy machine may allow less.
    assert sizes[0] == 100
    assert all(after <= 2 * before for before, after in pairwise(sizes))
    assert max(sizes) > 200


def test_a_failing_batch_names_its_rows_keeps_the_checkpoint_and_resumes_after_a_fix() -> None:
    ids = store(["Series A"] * 100)
    execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF new.id = {ids[57]} THEN RAISE EXCEPTION 'not this row'; END IF; "
        "RETURN new; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON portfolio_companies "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    run = begin(replace(QUICK, batch_size=10))
    try:
        finish = work(run)
    finally:
        execute("DROP TRIGGER refuse ON portfolio_companies; DROP FUNCTION refuse")
    assert finish.run.state == "failed"
    assert f"portfolio_companies.stage, rows {ids[57]} to {ids[57]}" in finish.run.error
    assert "not this row" in finish.trouble
    kept = list(stored().values()).count("series-a")
    assert 0 < kept <= 57
    assert (
        BackfillCheckpoint.objects.get(run=run, table_name="portfolio_companies").changed == kept
    )
    assert work(run).run.state == "completed"
    assert set(stored().values()) == {"series-a"}
    assert len(logged(run)) == 100


def test_a_plan_in_the_middle_of_a_run_changes_nothing() -> None:
    from django.core.management import call_command

    store(MESSY * 10)
    before = stored()
    run = begin(replace(QUICK, batch_size=20))
    with pytest.raises(KeyboardInterrupt):
        work(run, Heard(after_1=_interrupt))
    half = stored()
    call_command("normalize_stages", "--json")
    assert stored() == half
    abandoned(run)
    assert work(run).run.state == "completed"
    assert stored() == normalized(before)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_rows_that_a_client_holds_are_skipped_and_taken_later() -> None:
    ids = store(["Series A"] * 20)
    with another_connection("client") as client, client.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(
            "UPDATE portfolio_companies SET stage_raw = 'Seed', stage = NULL WHERE id = %s",
            [ids[3]],
        )
        heard = Heard(after_2=lambda: cursor.execute("COMMIT"))
        finish = work(begin(replace(QUICK, batch_size=10)), heard)
    assert heard.all("batch")[0]["skipped"] == 1
    assert finish.run.state == "completed"
    assert written()[ids[3]] == ("Seed", "seed")


def test_many_new_spellings_of_one_stage_are_all_normalized() -> None:
    spaces = [(a, b) for a in range(90) for b in range(90 - a)]
    spellings = [f"Series{' ' * a}{dash}{' ' * b}A" for a, b in spaces for dash in "-\u2013"]
    random.Random(7).shuffle(spellings)
    store(spellings)
    assert len(spellings) > 5000
    work(begin(replace(QUICK, batch_size=5000)))
    assert set(stored().values()) == {"series-a"}
