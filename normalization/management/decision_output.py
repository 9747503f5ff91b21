"""What `stage_decisions` prints: plans, decisions and packs as tables, sentences and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.table import Table

from normalization.decision_effects import DecisionEffects, PackOffer, UndecidedText
from normalization.decision_file import DecisionRow, escape
from normalization.decision_plan import DecisionPlan, WarnedRow
from normalization.decisions import DecisionResult
from normalization.effect_warnings import EffectWarning
from normalization.stages import Unknown, normalize
from stagenorm.terminal import add_row, table

LISTED: Final = 40
BACKFILL: Final = "manage.py normalize_stages"


def decisions_json(rows: Sequence[DecisionRow]) -> dict[str, Any]:
    """Return the decisions as data."""
    return {"decisions": [_row_json(row) for row in rows]}


def decisions_table(rows: Sequence[DecisionRow]) -> Table:
    """Return the decisions as a table."""
    drawn = table("spelling", "verdict", "stage", "kind", "note", "source")
    for row in rows:
        add_row(
            drawn,
            _shown(row.spelling),
            row.verdict,
            row.stage or "",
            row.kind,
            row.note,
            row.source,
        )
    return drawn


def undecided_json(found: Sequence[UndecidedText]) -> dict[str, Any]:
    """Return the undecided spellings as data."""
    return {
        "undecided": [
            {
                "spelling": each.text,
                "rows": each.rows,
                "requests": each.times,
                "clients": list(each.clients),
                "suggestions": _suggestions(each.text),
            }
            for each in found
        ]
    }


def undecided_table(found: Sequence[UndecidedText]) -> Table:
    """Return the undecided spellings as a table."""
    numbers = ("rows", "requests")
    drawn = table("spelling", *numbers, "clients", "perhaps", numbers=numbers)
    for each in found:
        clients = ", ".join(each.clients)
        perhaps = " or ".join(_suggestions(each.text))
        add_row(drawn, _shown(each.text), each.rows, each.times, clients, perhaps)
    return drawn


def plan_json(
    plan: DecisionPlan,
    unconfirmed: Sequence[WarnedRow],
    effects: DecisionEffects,
    to_choose: Sequence[DecisionRow],
) -> dict[str, Any]:
    """Return a plan as data: all rows, warnings and effects."""
    return {
        "hash": plan.hash,
        "version": plan.version,
        "new": [_row_json(row) for row in plan.new],
        "changed": [
            {"before": _row_json(each.before), "after": _row_json(each.after)}
            for each in plan.changed
        ],
        "retired": [_row_json(row) for row in plan.retired],
        "unchanged": len(plan.unchanged),
        "to_choose": [_row_json(row) for row in to_choose],
        "conflicts": [{"spelling": each.row.spelling, "why": each.why} for each in plan.conflicts],
        "warnings": plan.warning_counts,
        "warned": [_warned_json(each) for each in plan.warned],
        "unconfirmed": [each.row.spelling for each in unconfirmed],
        **effects_json(effects),
    }


def effects_json(effects: DecisionEffects) -> dict[str, Any]:
    """Return what changes for stored rows and clients as data."""
    return {
        "rows": [
            {
                "table": each.table,
                "fund": each.fund,
                "before": each.before,
                "after": each.after,
                "rows": rows,
            }
            for each, rows in effects.rows.items()
        ],
        "rows_to_derive": effects.rows_to_derive,
        "newly_accepted": effects.accepted,
        "newly_refused": effects.refused,
        "clients": {
            client: {
                "newly_accepted": each.accepted,
                "newly_refused": each.refused,
                "changed_otherwise": each.otherwise,
                "refused_spellings": each.refused_texts,
            }
            for client, each in effects.clients.items()
        },
    }


def plan_tables(
    plan: DecisionPlan, unconfirmed: Sequence[WarnedRow], effects: DecisionEffects
) -> list[Table]:
    """Return a plan as tables: decisions, warnings, stored rows and clients."""
    found = [_changes_table(plan), _conflicts_table(plan), _warnings_table(plan, unconfirmed)]
    found += [_rows_table(effects), _clients_table(effects)]
    return [each for each in found if each.row_count]


def plan_sentences(
    plan: DecisionPlan,
    unconfirmed: Sequence[WarnedRow],
    effects: DecisionEffects,
    to_choose: Sequence[DecisionRow],
) -> str:
    """Return the sums of a plan in sentences; the last one has the hash."""
    return "\n".join(_plan_lines(plan, unconfirmed, effects, to_choose))


def effect_warnings_json(found: Sequence[EffectWarning]) -> dict[str, Any]:
    """Return what speaks against the effects of a plan as data."""
    return {
        "effect_warnings": [
            {"code": each.code, "hard": each.hard, "sentence": each.sentence} for each in found
        ]
    }


def effect_warnings_tables(found: Sequence[EffectWarning]) -> list[Table]:
    """Return what speaks against the effects of a plan as a table, or nothing."""
    drawn = table("code", "warning", "", title="Effects")
    for each in found:
        add_row(drawn, each.code, each.sentence, "--confirm-effects" if each.hard else "")
    return [drawn] if found else []


def result_json(result: DecisionResult, effects: DecisionEffects) -> dict[str, Any]:
    """Return what a change did as data."""
    return {
        "version": result.version,
        "batch": result.batch.pk if result.batch else None,
        "decided": result.decided,
        "superseded": result.superseded,
        **effects_json(effects),
    }


def result_sentences(result: DecisionResult, effects: DecisionEffects) -> str:
    """Return what a change did in sentences."""
    if result.batch is None:
        return f"Nothing had to change; the decisions are at version {result.version}."
    text = (
        f"Batch {result.version}: {result.decided:,} decisions came into force, "
        f"{result.superseded:,} went out of force."
    )
    if effects.rows_to_derive:
        text += f"\n{effects.rows_to_derive:,} stored rows need a backfill: {BACKFILL}."
    return text


def packs_json(offers: Sequence[PackOffer]) -> dict[str, Any]:
    """Return the packs as data; shares are fractions."""
    return {
        "packs": [
            {
                "name": offer.pack.name,
                "decides": len(offer.pack.decided),
                "to_choose": len(offer.pack.to_choose),
                "only_for": offer.pack.only_for,
                "rows": offer.rows,
                "undecided_rows": offer.undecided_rows,
                "all_rows": offer.all_rows,
                "clients": dict(offer.clients),
            }
            for offer in offers
        ]
    }


def packs_table(offers: Sequence[PackOffer]) -> Table:
    """Return the packs as a table."""
    numbers = ("decides", "to choose", "stored rows", "of all rows")
    drawn = table("pack", *numbers, "clients' spellings", "only for", numbers=numbers)
    for offer in offers:
        clients = [f"{client} {share:.0%}" for client, share in offer.clients.items()]
        add_row(
            drawn,
            f"pack:{offer.pack.name}",
            len(offer.pack.decided),
            len(offer.pack.to_choose),
            offer.rows,
            _percent(offer.rows, offer.all_rows),
            clients,
            offer.pack.only_for,
        )
    return drawn


def _plan_lines(
    plan: DecisionPlan,
    unconfirmed: Sequence[WarnedRow],
    effects: DecisionEffects,
    to_choose: Sequence[DecisionRow],
) -> Iterator[str]:
    yield (
        f"{len(plan.new):,} new, {len(plan.changed):,} changed, {len(plan.retired):,} retired, "
        f"{len(plan.unchanged):,} unchanged decisions."
    )
    rows = sum(effects.rows.values())
    yield f"{rows:,} stored rows get another meaning; {effects.rows_to_derive:,} need a backfill."
    yield (
        f"Of the stages sent in the last 7 days, {effects.accepted:,} would newly be accepted "
        f"and {effects.refused:,} newly refused in enforce."
    )
    if to_choose:
        yield f"{len(to_choose):,} rows leave the choice to you; they are not applied."
    if unconfirmed:
        yield f"{len(unconfirmed):,} decisions need a confirmation: --confirm SPELLING."
    if plan.conflicts:
        yield f"{len(plan.conflicts):,} rows cannot be decided: this plan cannot be applied."
    yield f"Plan {plan.hash}"


def _changes_table(plan: DecisionPlan) -> Table:
    drawn = table("spelling", "was", "becomes", "note", title="Decisions")
    changes = [(row, "undecided", _verdict(row)) for row in plan.new]
    changes += [(each.after, _verdict(each.before), _verdict(each.after)) for each in plan.changed]
    changes += [(row, _verdict(row), "undecided") for row in plan.retired]
    for row, was, becomes in changes[:LISTED]:
        add_row(drawn, _shown(row.spelling), was, becomes, row.note)
    if len(changes) > LISTED:
        add_row(drawn, "…", "", f"and {len(changes) - LISTED:,} more (--json lists them)", "")
    return drawn


def _conflicts_table(plan: DecisionPlan) -> Table:
    drawn = table("spelling", "why not", title="Cannot be decided")
    for each in plan.conflicts[:LISTED]:
        add_row(drawn, _shown(each.row.spelling), each.why)
    return drawn


def _warnings_table(plan: DecisionPlan, unconfirmed: Sequence[WarnedRow]) -> Table:
    drawn = table("spelling", "verdict", "code", "warning", "confirmed", title="Warnings")
    missing = {each.row.key for each in unconfirmed}
    for each in sorted(plan.warned, key=lambda warned: not warned.is_hard)[:LISTED]:
        confirmed = "" if not each.is_hard else "no" if each.row.key in missing else "yes"
        codes = [warning.code for warning in each.warnings]
        sentences = [warning.sentence for warning in each.warnings]
        add_row(drawn, _shown(each.row.spelling), _verdict(each.row), codes, sentences, confirmed)
    for code, count in plan.warning_counts.items():
        add_row(drawn, "", "", code, f"{count:,} in all", "")
    return drawn


def _rows_table(effects: DecisionEffects) -> Table:
    drawn = table(
        "table", "fund", "was", "becomes", "rows", title="Stored rows", numbers=("rows",)
    )
    for each, rows in list(effects.rows.items())[:LISTED]:
        fund = "" if each.fund is None else str(each.fund)
        add_row(drawn, each.table, fund, each.before, each.after, rows)
    if len(effects.rows) > LISTED:
        more = f"and {len(effects.rows) - LISTED:,} more (--json lists them)"
        add_row(drawn, "…", "", "", more, "")
    return drawn


def _clients_table(effects: DecisionEffects) -> Table:
    numbers = ("newly accepted", "newly refused", "otherwise")
    drawn = table("client", *numbers, "refused", title="Stages of 7 days", numbers=numbers)
    for client, each in list(effects.clients.items())[:LISTED]:
        refused = ", ".join(map(_shown, each.refused_texts[:3]))
        add_row(drawn, client, each.accepted, each.refused, each.otherwise, refused)
    return drawn


def _row_json(row: DecisionRow) -> dict[str, Any]:
    return {
        "spelling": row.spelling,
        "verdict": row.verdict.value,
        "stage": row.stage.value if row.stage else None,
        "kind": row.kind,
        "note": row.note,
        "source": row.source,
    }


def _warned_json(each: WarnedRow) -> dict[str, Any]:
    return {
        **_row_json(each.row),
        "warnings": [
            {"code": warning.code, "hard": warning.hard, "sentence": warning.sentence}
            for warning in each.warnings
        ],
    }


def _verdict(row: DecisionRow) -> str:
    return row.stage.value if row.stage else row.verdict.value


def _suggestions(text: str) -> list[str]:
    found = normalize(text)
    return [stage.value for stage in found.suggestions] if isinstance(found, Unknown) else []


def _shown(text: str) -> str:
    return escape(text) or "(blank)"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
