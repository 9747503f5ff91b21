"""The speed of decisions: groups, warnings, ten thousand applied, and their snapshot."""

from time import perf_counter

import pytest
from django.db import connection

from normalization import decision_store, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict, warnings
from normalization.models import DecisionBatch
from normalization.spelling_groups import group_of
from normalization.stages import Stage, fold
from normalization.suggestions import suggest
from tests.benchmarks.harness import Ratio, compare, hold, median_ns
from tests.data.classified_spellings import classified_spellings

SPELLINGS = [spelling.raw for spelling in classified_spellings()]


def suggested() -> None:
    """The baseline: what `normalize` does once for every spelling that it does not know."""
    for raw in SPELLINGS:
        suggest(fold(raw))


def test_the_group_of_a_spelling() -> None:
    def subject() -> None:
        for raw in SPELLINGS:
            group_of(raw)

    both = compare(subject, suggested, rounds=11)
    note = f"{both.subject_ns / len(SPELLINGS) / 1000:.0f} us a spelling"
    hold(Ratio("group_of / fold + suggest", 15, both.ratio, note=note))


def test_the_warnings_of_a_decision() -> None:
    def subject() -> None:
        for raw in SPELLINGS:
            warnings(raw, DecisionVerdict.STAGE, Stage.SERIES_A)

    both = compare(subject, suggested, rounds=11)
    note = f"{both.subject_ns / len(SPELLINGS) / 1000:.0f} us a spelling"
    hold(Ratio("warnings / fold + suggest", 30, both.ratio, note=note))


@pytest.mark.django_db(transaction=True)
def test_ten_thousand_decisions() -> None:
    rows = [
        DecisionRow(
            f"Fund Round No. {number}", DecisionVerdict.OUTSIDE, None, "round", "a round of a fund"
        )
        for number in range(10_000)
    ]
    _make_statistics_stale()
    start = perf_counter()
    plan = decisions.plan(rows)
    planned = perf_counter() - start
    done = decisions.apply(
        plan, author="x", source=DecisionBatch.Source.FILE, reason="a benchmark"
    )
    applied = perf_counter() - start
    note = f"plan with warnings {planned:.2f} s"
    bare = _seconds_to_copy_the_rows()
    name = "10,000 decisions, planned and applied / copying their rows"
    hold(Ratio(name, 80, applied / bare, note=f"{applied:.2f} s, {note}"))
    decision_store.forget()
    loaded = compare(decision_store.store.newest, _read_the_rows, 11, decision_store.forget)
    name = "snapshot of 10,000 decisions from the database / reading their rows"
    hold(Ratio(name, 5, loaded.ratio, note=f"{loaded.subject_ns / 1e6:.1f} ms"))
    decision_store.current()
    same = median_ns(decision_store.store.newest, rounds=21)
    hold(Ratio("the same again, unchanged", None, same / 1e6, unit="ms"))
    start = perf_counter()
    decisions.undo(done.version, author="x", source=DecisionBatch.Source.COMMAND)
    undone = perf_counter() - start
    name = "10,000 decisions, undone / copying their rows"
    hold(Ratio(name, 80, undone / bare, note=f"{undone:.2f} s"))


def _seconds_to_copy_the_rows() -> float:
    """Return the time of one INSERT of as many equal rows, with the same indexes."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE copied (LIKE normalization_stagedecision INCLUDING ALL)")
        start = perf_counter()
        cursor.execute("INSERT INTO copied SELECT * FROM normalization_stagedecision")
        return perf_counter() - start


def _read_the_rows() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT key, verdict, stage, kind, note FROM normalization_stagedecision"
            " WHERE superseded_at IS NULL"
        )
        cursor.fetchall()


def _make_statistics_stale() -> None:
    # As after a large file: the planner takes the tables of decisions for nearly empty.
    first = DecisionRow("Fund Round Zero", DecisionVerdict.OUTSIDE, None, "round", "")
    decisions.apply(
        decisions.plan([first]), author="x", source=DecisionBatch.Source.FILE, reason="a benchmark"
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE normalization_stagedecision")
        cursor.execute("VACUUM ANALYZE normalization_decisionbatch")
