"""Starter packs decide what their source certainly means, and never contradict each other."""

import csv
from collections import defaultdict
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from normalization import packs
from normalization.decision_file import COLUMNS, DecisionRow, write
from normalization.decision_warnings import DecisionVerdict, DecisionWarning, warnings
from normalization.packs import ONLY_FOR, Pack, load_packs
from normalization.stages import Known, fold, normalize

PACKS = list(load_packs().values())
VOCABULARY = Path(__file__).parent.parent / "data" / "stage_vocabulary.csv"


def is_decided(row: DecisionRow) -> bool:
    return row.verdict is not DecisionVerdict.CHOOSE


def public_rows() -> dict[str, int]:
    """How many public rows hold each spelling."""
    with VOCABULARY.open(newline="", encoding="utf-8") as file:
        return {row["raw"]: int(row["count"]) for row in csv.DictReader(file)}


def test_every_file_of_the_package_is_a_pack() -> None:
    found = {entry.name for entry in files(packs).iterdir() if entry.name.endswith(".csv")}
    assert found == {f"{pack.name}.csv" for pack in PACKS}
    assert len(PACKS) == 11
    assert set(ONLY_FOR) <= set(load_packs())


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_every_row_has_a_kind_a_note_and_a_source(pack: Pack) -> None:
    assert [row.spelling for row in pack.rows if not (row.kind and row.note and row.source)] == []


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_a_pack_holds_no_built_in_spelling_and_each_key_once(pack: Pack) -> None:
    # `read` refuses both; the packs were read through it.
    assert [row for row in pack.rows if isinstance(normalize(row.spelling), Known)] == []
    assert len({row.key for row in pack.rows}) == len(pack.rows)


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_a_pack_is_a_file_that_an_operator_could_have_exported(pack: Pack) -> None:
    text = (files(packs) / f"{pack.name}.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert sorted(text.splitlines()) == sorted(write(pack.rows).splitlines())


def test_a_stage_is_given_only_where_the_text_names_exactly_one() -> None:
    hard = {
        row.spelling: [warning.code for warning in _hard(row)]
        for pack in PACKS
        for row in pack.decided
        if _hard(row)
    }
    # Only for clients of one source, as ONLY_FOR says, and confirmed one by one when applied.
    assert hard == {"a": ["short"], "b": ["short"], "c": ["short"], "SeriesC": ["lost_plus"]}


def _hard(row: DecisionRow) -> list[DecisionWarning]:
    return [each for each in warnings(row.spelling, row.verdict, row.stage) if each.hard]


def test_no_two_packs_decide_a_spelling_differently() -> None:
    decisions: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for pack in PACKS:
        for row in pack.rows:
            decisions[row.key].add((row.verdict, row.stage))
    assert {key: found for key, found in decisions.items() if len(found) > 1} == {}


def test_the_packs_cover_nearly_all_public_rows() -> None:
    rows = public_rows()
    known = {raw for raw in rows if isinstance(normalize(raw), Known)}
    unknown = {raw: count for raw, count in rows.items() if raw not in known}
    listed = {row.key: row for pack in PACKS for row in pack.rows}

    def share(rule: Callable[[DecisionRow], bool]) -> float:
        keys = {key for key, row in listed.items() if rule(row)}
        covered = sum(count for raw, count in unknown.items() if fold(raw) in keys)
        return round(covered / sum(unknown.values()), 3)

    decided = share(is_decided)
    chosen = share(lambda row: is_decided(row) or row.kind == "later series")
    covered = share(lambda row: True)
    print(
        f"of unknown rows: decided {decided:.1%}, with D and later {chosen:.1%}, all {covered:.1%}"
    )
    assert (decided, chosen, covered) == (0.938, 0.988, 1.0)


def test_packs_are_read_once() -> None:
    assert load_packs() is load_packs()
