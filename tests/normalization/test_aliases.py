"""Operator's aliases: what may be one, when it holds, and what stays of it."""

import pytest
from django.db.utils import IntegrityError

from normalization import aliases
from normalization.aliases import AliasRefused
from normalization.models import StageAlias
from normalization.stages import BUILTIN, Known, Stage, Unknown, normalize

pytestmark = pytest.mark.django_db(transaction=True)


def add(spelling: str, stage: Stage = Stage.SEED) -> StageAlias:
    return aliases.add(spelling, stage, decided_by="ann", reason="seen in the deal feed")


def test_without_rows_the_built_in_table_holds_at_version_0() -> None:
    table = aliases.current()
    assert table.version == 0
    assert dict(table.spellings()) == dict(BUILTIN.spellings())


def test_an_alias_holds_at_once_for_every_variant_of_its_spelling() -> None:
    assert isinstance(normalize("Angel (individual)", aliases.current()), Unknown)
    add("Angel (individual)")
    for raw in ["Angel (individual)", "ANGEL_(INDIVIDUAL)", " angel (individual)\n"]:
        assert normalize(raw, aliases.current()) == Known(raw, Stage.SEED, canonical=False)


def test_a_retired_alias_no_longer_holds_and_stays_as_history() -> None:
    alias = add("angel")
    aliases.retire(alias, by="bob")
    assert isinstance(normalize("angel", aliases.current()), Unknown)
    row = StageAlias.objects.get()
    assert row.retired_by == "bob"
    assert row.retired_at is not None


def test_every_change_gives_a_higher_version() -> None:
    versions = [aliases.current().version]
    first = add("angel")
    versions.append(aliases.current().version)
    aliases.retire(first, by="ann")
    versions.append(aliases.current().version)
    add("angel", Stage.PRE_SEED)
    versions.append(aliases.current().version)
    assert versions == sorted(set(versions))
    assert normalize("angel", aliases.current()) == Known("angel", Stage.PRE_SEED, canonical=False)


@pytest.mark.parametrize(
    "spelling", ["seed", "SEED_ROUND", "Series A", " series-c+ ", "", "  ", "x" * 101]
)
def test_a_built_in_empty_or_over_long_spelling_is_refused(spelling: str) -> None:
    with pytest.raises(AliasRefused):
        add(spelling)
    assert not StageAlias.objects.exists()


def test_a_second_alias_for_one_spelling_is_refused_also_by_the_database() -> None:
    add("angel")
    with pytest.raises(AliasRefused, match="retire it first"):
        add("ANGEL")
    with pytest.raises(IntegrityError):
        StageAlias.objects.create(
            spelling="Angel", key="angel", stage="seed", decided_by="x", reason="x"
        )


def test_an_alias_without_a_reason_is_refused() -> None:
    with pytest.raises(AliasRefused, match="reason"):
        aliases.add("angel", Stage.SEED, decided_by="ann", reason=" ")


def test_a_row_that_a_later_release_made_built_in_is_ignored_and_the_others_hold() -> None:
    add("angel")
    StageAlias.objects.create(
        spelling="Seed Round", key="seed round", stage="series-a", decided_by="x", reason="x"
    )
    table = aliases.current()
    assert normalize("Seed Round", table) == Known("Seed Round", Stage.SEED, canonical=False)
    assert normalize("angel", table) == Known("angel", Stage.SEED, canonical=False)
