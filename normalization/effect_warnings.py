"""What speaks against a change of decisions because of what it would do.

`decision_warnings` judges a decision by its text. This module judges a plan by its effects: the
stored rows, strategies and clients that it changes, and the other decisions of the same group. A
hard warning needs a confirmation of its own. Pure: `decision_effects` reads the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from normalization.decision_effects import WITHOUT_STAGE, DecisionEffects, RowsChange
from normalization.decision_file import DecisionRow
from normalization.decision_plan import DecisionPlan
from normalization.decision_warnings import DecisionVerdict
from normalization.spelling_groups import GROUPS, group_of

MANY_ROWS_PERCENT: Final = 1
"""A change of more rows of a fund, in percent, needs a confirmation."""
CLIENTS_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class EffectWarning:
    """One effect to look at. `hard`: the change needs a confirmation for it."""

    code: str
    hard: bool
    sentence: str


def effect_warnings(
    plan: DecisionPlan, effects: DecisionEffects, in_force: Iterable[DecisionRow]
) -> tuple[EffectWarning, ...]:
    """Return the warnings about a plan, hard ones first.

    `effects` are those of the plan; `in_force` are the decisions that it was compared with.
    """
    found = [
        *_many_rows(effects),
        *_derived_before(effects),
        *_merged(effects),
        *_newly_refused(effects),
        *_siblings(plan, in_force),
    ]
    return tuple(sorted(found, key=lambda warning: not warning.hard))


def _had_stage(effects: DecisionEffects) -> Iterator[tuple[RowsChange, int]]:
    """Yield the changes of rows that mean a stage today."""
    for change, rows in effects.rows.items():
        if change.before not in WITHOUT_STAGE:
            yield change, rows


def _many_rows(effects: DecisionEffects) -> Iterator[EffectWarning]:
    changed: Counter[tuple[str, int | None]] = Counter()
    for change, rows in _had_stage(effects):
        changed[change.table, change.fund] += rows
    for (table, fund), rows in changed.most_common():
        every = effects.fund_rows.get((table, fund), 0)
        if 100 * rows > MANY_ROWS_PERCENT * every:
            place = table if fund is None else f"{table}, fund {fund}"
            yield EffectWarning(
                "many_rows",
                True,
                f"{rows:,} of {every:,} rows of {place} lose the stage that they mean today.",
            )


def _derived_before(effects: DecisionEffects) -> Iterator[EffectWarning]:
    rows = sum(rows for _, rows in _had_stage(effects))
    if rows:
        yield _soft(
            "derived_before",
            f"{rows:,} rows mean a stage by an older decision. The next run writes them again.",
        )


def _merged(effects: DecisionEffects) -> Iterator[EffectWarning]:
    if effects.merged:
        strategies = "1 strategy" if effects.merged == 1 else f"{effects.merged:,} strategies"
        yield _soft("merged", f"Allocations of {strategies} become one stage.")


def _newly_refused(effects: DecisionEffects) -> Iterator[EffectWarning]:
    hurt = {name: each.refused for name, each in effects.clients.items() if each.refused}
    if not hurt:
        return
    worst = sorted(hurt.items(), key=lambda each: (-each[1], each[0]))
    named = ", ".join(f"{name} {count:,}" for name, count in worst[:CLIENTS_NAMED])
    more = f" and {len(worst) - CLIENTS_NAMED} more clients" if len(worst) > CLIENTS_NAMED else ""
    yield _soft(
        "newly_refused",
        f"Of the stages sent in the last 7 days, enforce would newly refuse {named}{more}.",
    )


def _siblings(plan: DecisionPlan, in_force: Iterable[DecisionRow]) -> Iterator[EffectWarning]:
    """Warn of decisions in force that differ from the new ones of the same closed group."""
    new: dict[str, set[str]] = {}
    for row in plan.written:
        _note(new, row)
    if not new:
        return
    replaced = {row.key for row in (*plan.written, *plan.retired)}
    old: dict[str, set[str]] = {}
    for row in in_force:
        if row.key not in replaced:
            _note(old, row)
    for group in GROUPS:
        before, after = old.get(group.code, set()), new.get(group.code, set())
        if before and after and before != after:
            was, becomes = " and ".join(sorted(before)), " and ".join(sorted(after))
            yield _soft(
                "siblings",
                f"Spellings of the group “{group.label}” were decided {was} before. "
                f"You chose {becomes}.",
            )


def _note(verdicts: dict[str, set[str]], row: DecisionRow) -> None:
    group = group_of(row.spelling) if row.verdict is not DecisionVerdict.OPEN else None
    if group is not None:
        verdicts.setdefault(group.code, set()).add(row.stage or row.verdict.value)


def _soft(code: str, sentence: str) -> EffectWarning:
    return EffectWarning(code, False, sentence)
