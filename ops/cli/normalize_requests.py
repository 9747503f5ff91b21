"""What `normalize_stages` can be asked for: one function a request, each with text for people, data and exit status."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, OperationalError

from ops.backfill import columns, constraint, control, gate, verify
from ops.backfill.events import Tell
from ops.backfill.guards import refuse_if_moved
from ops.backfill.interrupts import Interrupts
from ops.backfill.lease import Lease
from ops.backfill.ledger import RunRefused
from ops.backfill.models import BackfillRun, Kind
from ops.backfill.options import Options
from ops.backfill.plan import ColumnPlan, Plan, make_plan, refuse_if_changed
from ops.backfill.runner import carry_out
from ops.backfill.states import State

DONE, FAILED, USAGE, GATE, UNKNOWN_LEFT = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` says it to a person, `data` to a program, `status` to a shell. `columns`: tables of values to show."""

    text: str
    data: dict[str, Any]
    status: int = DONE
    columns: tuple[ColumnPlan, ...] = ()


def plan(only: Iterable[str]) -> Answer:
    """What `--apply` would do; changes nothing."""
    made = make_plan(columns.find(only))
    rows = sum(each.to_change for each in made.columns)
    unknown = sum(each.unknown_rows for each in made.columns)
    text = (
        f"{rows:,} rows to change, {unknown:,} rows with unknown values, which stay. {_duration(made)}\n"
        f"Plan {made.hash}: carry it out with --apply --plan {made.hash}"
    )
    return Answer(text, made.to_json(), columns=tuple(made.columns))


def apply(
    only: Iterable[str],
    options: Options,
    *,
    actor: str,
    tell: Tell,
    interrupts: Interrupts,
    approved: str = "",
    restart: bool = False,
) -> Answer:
    """A new run, when the gate lets it. `restart`: cancel the unfinished run first, if nobody holds it."""
    gate.ask()
    found = columns.find(only)
    planned = make_plan(found, sample=False)
    if approved:
        refuse_if_changed(planned, approved)
    if restart and (left := control.unfinished()):
        lease = control.claim(left.pk, actor)  # refused while somebody holds it
        control.cancel(left.pk, actor, "restarted")
        control.release(lease)
    run = control.begin(planned, found, options, actor)
    return _carried_out(control.claim(run.pk, actor), actor, tell, interrupts)


def take_up(options: Options | None, *, actor: str, tell: Tell, interrupts: Interrupts) -> Answer:
    """The unfinished run, from its checkpoint on; through the gate unless it is an undo."""
    left = control.unfinished()
    if left is None:
        raise RunRefused("There is no unfinished run: begin one with --apply.")
    refuse_if_moved(left)
    if left.kind == Kind.APPLY:
        gate.ask()
    return _carried_out(control.claim(left.pk, actor, options), actor, tell, interrupts)


def undo(
    run_id: int, options: Options, *, actor: str, tell: Tell, interrupts: Interrupts
) -> Answer:
    """Give back what `run_id` wrote. No gate: the way back is always open."""
    run = control.begin_undo(run_id, options, actor)
    return _carried_out(control.claim(run.pk, actor), actor, tell, interrupts)


def verified(only: Iterable[str]) -> Answer:
    """Whether every stored stage is canonical, with the distinct values."""
    found = verify.verify(only)
    unclean = [each for each in found if not verify.clean(each)]
    text = "; ".join(
        f"{each.column}: {each.to_change:,} rows in other spellings, {each.unknown_rows:,} unknown"
        for each in unclean
    )
    data = {"clean": not unclean, "columns": [each.to_json() for each in found]}
    return Answer(
        text or "Every stored stage is canonical.", data, FAILED if unclean else DONE, tuple(found)
    )


def steered(wish: str, run_id: int, actor: str) -> Answer:
    """`pause`, `resume` or `cancel` a run."""
    run = {"pause": control.pause, "resume": control.resume, "cancel": control.cancel}[wish](
        run_id, actor
    )
    return Answer(f"Run {run.pk} is {run.state}.", {"run": run.pk, "state": run.state})


def held_to_stages(only: Iterable[str]) -> Answer:
    """Add and validate the constraint on each column, if all of them are clean."""
    found = verify.verify(only)
    for each in found:
        if not verify.clean(each):
            raise constraint.NotClean(
                f"{each.column} has {each.to_change:,} rows in other spellings and {each.unknown_rows:,} unknown: "
                "normalize them first. Name the tables to hold with --table."
            )
    try:
        for each in found:
            constraint.validate(each.column)
    except (IntegrityError, OperationalError) as error:
        raise constraint.NotClean(f"The constraint was not added: {error}") from error
    names = ", ".join(str(each.column) for each in found)
    return Answer(
        f"Only canonical stages can be stored now in {names}.", {"constrained": names.split(", ")}
    )


def set_free(only: Iterable[str]) -> Answer:
    """Drop the constraint of each column."""
    found = columns.find(only)
    for column in found:
        constraint.drop(column)
    names = [str(column) for column in found]
    return Answer(f"Any text can be stored now in {', '.join(names)}.", {"dropped": names})


def _carried_out(lease: Lease, actor: str, tell: Tell, interrupts: Interrupts) -> Answer:
    finish = carry_out(lease, actor=actor, tell=tell, interrupts=interrupts)
    data = _report(finish.run)
    if finish.trouble:
        return Answer(finish.trouble, {**data, "error": finish.trouble}, FAILED)
    if finish.run.kind == Kind.UNDO:
        return Answer(_undo_text(finish.run, data), data)
    unknown = data["unknown_rows"]
    text = f"Run {finish.run.pk} is completed: {data['changed']:,} rows changed, {data['scanned']:,} looked at."
    if unknown:
        text += f" {unknown:,} rows with {len(finish.run.unknown):,} unknown values were left as they are."
    return Answer(text, data, UNKNOWN_LEFT if unknown else DONE)


def _report(run: BackfillRun) -> dict[str, Any]:
    if run.state == State.RUNNING:  # the database is away: nothing can be read
        return {"run": run.pk, "state": run.state}
    done = list(run.checkpoints.order_by("id"))
    return {
        "run": run.pk,
        "kind": run.kind,
        "state": run.state,
        "undoes": run.undoes_id,
        "batches": run.batch,
        "working_seconds": round(run.working_seconds, 3),
        "scanned": sum(each.scanned for each in done),
        "changed": sum(each.changed for each in done),
        "unknown_rows": sum(each.unknown for each in done),
        "unknown": run.unknown,
        "columns": [
            {
                "table": each.table_name,
                "column": each.column_name,
                "scanned": each.scanned,
                "changed": each.changed,
                "unknown_rows": each.unknown,
                "left_alone": each.left_alone,
            }
            for each in done
        ],
    }


def _undo_text(run: BackfillRun, data: dict[str, Any]) -> str:
    left = [
        f"{found['rows']:,} rows of {each['table']} were {reason} and stay (such as {found['ids'][:5]})"
        for each in data["columns"]
        for reason, found in each["left_alone"].items()
    ]
    texts = columns.unknown_to(
        columns.named, [(each["table"], each["column"]) for each in data["columns"]]
    )
    left += [
        f"{name} holds no stages in this release, its text was given back and no stage changed"
        for name in texts
    ]
    return (
        "; ".join([f"Run {run.undoes_id} is undone: {data['changed']:,} rows given back", *left])
        + "."
    )


def _duration(made: Plan) -> str:
    if made.seconds is None:
        return "How long it takes cannot be estimated here: no sample could be taken."
    return f"About {made.seconds:,.0f} s of work, going by a sample, plus the back-off."
