"""Decisions about spellings: what may be decided, when it holds, and what remains of it."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.db.utils import IntegrityError, InternalError, ProgrammingError

from normalization import decision_store, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.decisions import (
    ConfirmationNeeded,
    DecisionRefused,
    DecisionResult,
    StalePlan,
)
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import (
    BUILTIN,
    LONGEST,
    Known,
    Meaning,
    Outside,
    Stage,
    Unknown,
    normalize,
)
from tests.decided import active, decide, decide_all, retire, row

pytestmark = pytest.mark.django_db(transaction=True)
COMMAND = DecisionBatch.Source.COMMAND


def meaning(raw: str) -> Meaning:
    return normalize(raw, decision_store.current())


def undo(result: DecisionResult) -> DecisionResult:
    return decisions.undo(result.version, author="bob", source=COMMAND)


def test_without_decisions_the_built_in_table_holds_at_version_0() -> None:
    table = decision_store.current()
    assert table.version == 0
    assert dict(table.spellings()) == dict(BUILTIN.spellings())


def test_a_decision_holds_at_once_for_every_variant_of_its_spelling() -> None:
    assert isinstance(meaning("Angel (individual)"), Unknown)
    decide("Angel (individual)", Stage.SEED)
    for raw in ["Angel (individual)", "ANGEL_(INDIVIDUAL)", " angel (individual)\n"]:
        assert meaning(raw) == Known(raw, Stage.SEED, canonical=False)


def test_an_outside_spelling_has_its_kind_and_note_and_no_stage() -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, "money that buys no share", kind="grant")
    assert meaning("GRANT") == Outside("GRANT", "grant", "money that buys no share")


def test_an_open_decision_changes_nothing_for_the_normalizer() -> None:
    before = meaning("Seires A")
    decide("Seires A", DecisionVerdict.OPEN)
    assert meaning("Seires A") == before == Unknown("Seires A", (Stage.SERIES_A,))


@pytest.mark.parametrize("spelling", ["", "  ", "\u200b", "x" * LONGEST, "\ufdfa" * LONGEST])
def test_blank_text_and_the_longest_text_can_be_decided(spelling: str) -> None:
    decide(spelling, DecisionVerdict.OUTSIDE, "nothing was written")
    assert meaning(spelling) == Outside(spelling, "", "nothing was written")


def test_a_retired_decision_no_longer_holds_and_stays_as_history() -> None:
    decide("angel", Stage.SEED)
    retire("Angel")
    assert isinstance(meaning("angel"), Unknown)
    kept = StageDecision.objects.get()
    assert kept.superseded_at is not None
    assert kept.superseded_by is not None
    assert (kept.superseded_by.author, kept.superseded_by.action) == ("bob", "retire")


def test_changing_a_decision_is_one_step_and_keeps_the_old_one_as_history() -> None:
    decide("angel", Stage.SEED)
    changed = decide("ANGEL", Stage.PRE_SEED)
    assert (changed.decided, changed.superseded) == (1, 1)
    assert meaning("angel") == Known("angel", Stage.PRE_SEED, canonical=False)
    assert StageDecision.objects.count() == 2


def test_every_change_gives_a_higher_version() -> None:
    versions = [decision_store.current().version]
    changes: list[Callable[[], DecisionResult]] = [
        lambda: decide("angel", Stage.SEED),
        lambda: retire("angel"),
        lambda: decide("angel", Stage.PRE_SEED),
        lambda: undo(DecisionResult(decision_store.current().version, None)),
    ]
    for change in changes:
        result = change()
        assert result.version == decision_store.current().version
        versions.append(result.version)
    assert versions == sorted(set(versions))


def test_a_plan_that_changes_nothing_writes_nothing() -> None:
    version = decide("angel", Stage.SEED).version
    again = decide("ANGEL", Stage.SEED)
    assert (again.version, again.batch) == (version, None)
    assert DecisionBatch.objects.count() == 1


@pytest.mark.parametrize(
    ("spelling", "why"),
    [
        ("seed", "built-in"),
        ("SEED_ROUND", "built-in"),
        ("Series A", "built-in"),
        (" series-c+ ", "built-in"),
        ("x" * (LONGEST + 1), "longer than 255"),
        ("a\0b", "cannot store"),
        ("a\ud800b", "cannot store"),
    ],
)
@pytest.mark.parametrize("verdict", [Stage.SEED, DecisionVerdict.OUTSIDE, DecisionVerdict.OPEN])
def test_a_spelling_that_cannot_be_decided_is_refused(
    spelling: str, why: str, verdict: Stage | DecisionVerdict
) -> None:
    with pytest.raises(DecisionRefused, match=why):
        decide(spelling, verdict)
    assert not StageDecision.objects.exists()


def test_two_rows_about_one_spelling_are_refused_also_by_the_database() -> None:
    with pytest.raises(DecisionRefused, match="another row has the same folded spelling"):
        decide_all([row("angel", Stage.SEED), row("ANGEL", Stage.SEED)])
    batch = decide("angel", Stage.SEED).batch
    assert batch is not None
    with pytest.raises(IntegrityError):
        StageDecision.objects.create(
            spelling="Angel", key="angel", verdict="stage", stage="seed", decided_by="x",
            reason="x", batch=batch, created_at=batch.created_at,
        )  # fmt: skip


@pytest.mark.parametrize(("verdict", "stage"), [("stage", ""), ("outside", "seed"), ("open", "b")])
def test_the_database_refuses_a_stage_with_the_wrong_verdict(verdict: str, stage: str) -> None:
    batch = DecisionBatch.objects.create(action="apply", source="admin", author="x")
    with pytest.raises(IntegrityError):
        StageDecision.objects.create(
            spelling="Angel", key="angel", verdict=verdict, stage=stage, decided_by="x",
            reason="x", batch=batch, created_at=batch.created_at,
        )  # fmt: skip


def test_a_decision_without_a_reason_is_refused() -> None:
    with pytest.raises(DecisionRefused, match="reason"):
        decide("angel", Stage.SEED, reason=" ")
    decide("angel", Stage.SEED)
    with pytest.raises(DecisionRefused, match="reason"):
        decisions.retire(["angel"], author="ann", source=COMMAND, reason=" ")


def test_a_spelling_without_a_decision_cannot_be_retired_and_none_is() -> None:
    decide("angel", Stage.SEED)
    with pytest.raises(DecisionRefused, match="no decision about 'grant'"):
        decisions.retire(["angel", "grant"], author="ann", source=COMMAND, reason="x")
    assert active() == {"angel": "seed"}


def test_a_key_that_a_later_release_made_built_in_is_ignored_and_the_others_hold() -> None:
    batch = decide("angel", Stage.SEED).batch
    assert batch is not None
    StageDecision.objects.create(
        spelling="Seed Round", key="seed round", verdict="stage", stage="series-a",
        decided_by="x", reason="x", batch=batch, created_at=batch.created_at,
    )  # fmt: skip
    decision_store.forget()
    assert meaning("Seed Round") == Known("Seed Round", Stage.SEED, canonical=False)
    assert meaning("angel") == Known("angel", Stage.SEED, canonical=False)


# -- Append-only ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM normalization_stagedecision",
        "UPDATE normalization_stagedecision SET stage = 'series-b'",
        "UPDATE normalization_stagedecision SET note = 'x', superseded_at = now(), "
        "superseded_by_id = batch_id",
        "UPDATE normalization_stagedecision SET superseded_at = now()",
        "DELETE FROM normalization_decisionbatch",
        "UPDATE normalization_decisionbatch SET author = 'x'",
        "UPDATE normalization_decisionbatch SET author = 'x', undone_by_id = id",
    ],
)
def test_history_cannot_be_changed_by_sql(statement: str) -> None:
    decide("angel", Stage.SEED)
    with (
        pytest.raises((InternalError, ProgrammingError, IntegrityError)),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert active() == {"angel": "seed"}


def test_what_was_superseded_or_undone_stays_so() -> None:
    result = decide("angel", Stage.SEED)
    undo(result)
    for statement in (
        "UPDATE normalization_stagedecision SET superseded_at = NULL, superseded_by_id = NULL",
        "UPDATE normalization_stagedecision SET superseded_at = now()",
        "UPDATE normalization_decisionbatch SET undone_by_id = NULL WHERE undone_by_id > 0",
    ):
        with (
            pytest.raises((InternalError, ProgrammingError), match="append-only"),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


# -- Undo -----------------------------------------------------------------------------------------


def standing() -> list[DecisionRow]:
    return decisions.in_force()


def test_undoing_a_batch_restores_what_it_replaced_with_its_author_and_time() -> None:
    decide("angel", Stage.SEED, author="eve")
    before, since = standing(), StageDecision.objects.get().created_at
    changed = decide_all([row("angel", Stage.PRE_SEED), row("grant", DecisionVerdict.OUTSIDE)])
    undone = undo(changed)
    assert standing() == before
    restored = StageDecision.objects.get(superseded_at__isnull=True)
    assert (restored.decided_by, restored.created_at) == ("eve", since)
    assert (undone.decided, undone.superseded) == (1, 2)
    assert DecisionBatch.objects.get(pk=changed.version).undone_by == undone.batch


def test_undoing_a_retirement_brings_the_decision_back() -> None:
    decide("angel", Stage.SEED)
    before = standing()
    undo(retire("angel"))
    assert standing() == before


def test_an_undo_can_be_undone() -> None:
    decide("angel", Stage.SEED)
    changed = decide("angel", Stage.PRE_SEED)
    after = standing()
    undo(undo(changed))
    assert standing() == after


def test_batches_undone_one_after_the_other_leave_what_was_before_the_first() -> None:
    decide("angel", Stage.SEED)
    before = standing()
    batches = [
        decide_all([row("angel", Stage.PRE_SEED), row("grant", DecisionVerdict.OUTSIDE)]),
        retire("grant"),
        decide("angel", DecisionVerdict.OPEN),
        decide("grant", DecisionVerdict.OPEN),
        retire("angel"),
    ]
    for batch in reversed(batches):
        undo(batch)
    assert standing() == before


@pytest.mark.parametrize("later", ["changed", "retired", "retired and decided again"])
def test_an_undo_leaves_alone_what_a_later_batch_decided(later: str) -> None:
    decide_all([row("angel", Stage.SEED), row("idea", Stage.SEED)])
    first = decide_all([row("angel", Stage.PRE_SEED), row("idea", Stage.PRE_SEED)])
    if later != "changed":
        retire("angel")
    if later != "retired":
        decide("angel", DecisionVerdict.OUTSIDE)
    undo(first)
    expected = {"angel": "outside"} if later != "retired" else {}
    assert active() == {**expected, "idea": "seed"}


def test_a_batch_is_undone_once() -> None:
    result = decide("angel", Stage.SEED)
    undo(result)
    with pytest.raises(DecisionRefused, match="was undone already, by batch"):
        undo(result)


def test_a_batch_of_which_nothing_stands_cannot_be_undone() -> None:
    result = decide("angel", Stage.SEED)
    decide("angel", Stage.PRE_SEED)
    with pytest.raises(DecisionRefused, match="is still in force"):
        undo(result)


def test_a_batch_that_does_not_exist_cannot_be_undone() -> None:
    with pytest.raises(DecisionRefused, match="There is no batch"):
        decisions.undo(2**40, author="x", source=COMMAND)


# -- Plans ----------------------------------------------------------------------------------------


def test_a_plan_names_what_is_new_changed_retired_and_unchanged() -> None:
    decide_all([row(each, Stage.SEED) for each in ("angel", "idea", "kept", "other")])
    rows = [
        row("new", Stage.SEED),
        row("angel", Stage.PRE_SEED),
        row("idea", Stage.SEED, "a note"),
        row("Kept", Stage.SEED),
        row("seed", Stage.SEED),
    ]
    plan = decisions.plan(rows, prune=True)
    assert [each.key for each in plan.new] == ["new"]
    assert [each.after.key for each in plan.changed] == ["angel", "idea"]
    assert [each.key for each in plan.unchanged] == ["kept"]
    assert [each.key for each in plan.retired] == ["other"]
    assert [each.row.key for each in plan.conflicts] == ["seed"]
    assert decisions.plan(rows).retired == ()


def test_a_plan_changes_nothing() -> None:
    decisions.plan([row("angel", Stage.SEED)])
    assert not DecisionBatch.objects.exists()


def test_the_hash_of_a_plan_is_that_of_its_rows_and_of_the_version() -> None:
    rows = [row("angel", Stage.SEED), row("idea", Stage.SEED)]
    first = decisions.plan(rows).hash
    assert decisions.plan(rows[::-1]).hash == first
    others = [
        [row("angel", Stage.SEED, "note"), rows[1]],
        [row("ANGEL", Stage.SEED), rows[1]],
        rows[:1],
    ]
    assert first not in {decisions.plan(each).hash for each in others}
    assert decisions.plan(rows, prune=True).hash != first
    decide("grant", DecisionVerdict.OUTSIDE)
    assert decisions.plan(rows).hash != first


@pytest.mark.parametrize(
    ("confirmed", "note", "source"),
    [
        (["seires a"], "", ""),
        ([], "Confirmed: our fund counts it", ""),
        ([], "", "confirmed by ann"),
    ],
)
def test_a_hard_warning_is_confirmed_in_the_row_or_beside_it(
    confirmed: list[str], note: str, source: str
) -> None:
    plan = decisions.plan(
        [DecisionRow("Seires A", DecisionVerdict.STAGE, Stage.SERIES_B, "", note, source)]
    )
    assert plan.warning_counts["against_suggestion"] == 1
    decisions.apply(plan, author="ann", source=COMMAND, reason="our feed", confirmed=confirmed)
    assert active() == {"seires a": "series-b"}


@pytest.mark.parametrize("confirmed", [[], ["Seires B"]])
def test_a_hard_warning_without_a_confirmation_is_refused_and_nothing_is_written(
    confirmed: list[str],
) -> None:
    rows = [row("Seires A", Stage.SERIES_B, "unconfirmed"), row("Fund Round One", Stage.SEED)]
    plan = decisions.plan([*rows, row("Growth", DecisionVerdict.OUTSIDE)])
    with pytest.raises(ConfirmationNeeded, match="looks like series-a") as needed:
        decisions.apply(plan, author="ann", source=COMMAND, reason="x", confirmed=confirmed)
    assert "Seires A" in [each.row.spelling for each in needed.value.rows]
    assert active() == {}


def test_a_soft_warning_needs_no_confirmation() -> None:
    plan = decisions.plan([row("$6M · Seed", Stage.SEED)])
    assert list(plan.warning_counts) == ["one_off"]
    decisions.apply(plan, author="ann", source=COMMAND, reason="x")
    assert active() == {"$6m · seed": "seed"}


def test_a_confirmation_is_recorded_so_that_an_export_carries_it() -> None:
    decide("Seires A", Stage.SERIES_B, reason="our feed")
    [recorded] = decisions.in_force()
    assert recorded.source == "confirmed: our feed"
    assert recorded.is_confirmed


def test_a_stale_plan_is_refused_and_nothing_is_written() -> None:
    plan = decisions.plan([row("angel", Stage.SEED)])
    decide("grant", DecisionVerdict.OUTSIDE)
    with pytest.raises(StalePlan, match="Nothing was written"):
        decisions.apply(plan, author="ann", source=COMMAND, reason="x", confirmed=["angel"])
    assert active() == {"grant": "outside"}


def test_of_two_applies_at_once_one_wins() -> None:
    plans = [decisions.plan([row("angel", stage)]) for stage in (Stage.SEED, Stage.PRE_SEED)]
    start, outcomes = threading.Barrier(2), []

    def work(number: int) -> None:
        start.wait()
        try:
            decisions.apply(
                plans[number], author="ann", source=COMMAND, reason="x", confirmed=["angel"]
            )
            outcomes.append("applied")
        except StalePlan:
            outcomes.append("stale")
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["applied", "stale"]
    assert DecisionBatch.objects.count() == 1
    assert len(active()) == 1
