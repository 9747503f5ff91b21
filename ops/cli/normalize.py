"""The command line of `normalize_stages`: its arguments, and one function for each request.

`answer` makes the one request that the arguments ask for. A `NormalizeAnswer` has the text for
people, the data for programs and the exit status for shells.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.db import Error, IntegrityError, OperationalError

from ops.backfill import columns, constraint, control, guards
from ops.backfill.lease import Lease, LeaseLost, backend, is_alive
from ops.backfill.models import BackfillRun, RunKind, RunOptions, RunStrategy
from ops.backfill.plan import (
    BackfillPlan,
    ColumnPlan,
    PlanChanged,
    make_plan,
    refuse_if_changed,
)
from ops.backfill.runner import carry_out
from ops.backfill.session import EventListener, Interrupts
from ops.backfill.states import TransitionRefused, state_in_words
from ops.cli import normalize_output as output
from stagenorm.sessions import PooledSession
from stagenorm.terminal import positive_number, whole_number

DONE, FAILED, USAGE, GATE, UNKNOWN_LEFT = 0, 1, 2, 3, 4

REFUSALS: Final = (
    guards.GateClosed,
    guards.RunRefused,
    PlanChanged,
    TransitionRefused,
    constraint.NotClean,
    columns.UnsupportedKey,
    LeaseLost,
    PooledSession,
    Error,
)
# The value of --resume without a run number.
THIS_PROCESS: Final = -1
PACE: Final = (
    "batch_size",
    "max_batch_size",
    "backoff_ms",
    "backoff_share",
    "max_lag_seconds",
    "lease_seconds",
)


class UsageError(ValueError):
    """The arguments contradict each other."""


@dataclass(frozen=True, slots=True)
class NormalizeAnswer:
    """The result of a request; `columns` are printed as tables of values before `text`."""

    text: str
    data: dict[str, Any]
    status: int = DONE
    columns: tuple[ColumnPlan, ...] = ()


# -- The arguments


def declare(parser: argparse.ArgumentParser, actor: str) -> None:
    """Declare the arguments; `actor` is the default of --actor."""
    _declare_requests(parser.add_mutually_exclusive_group())
    add = parser.add_argument
    add(
        "--resume",
        nargs="?",
        type=int,
        const=THIS_PROCESS,
        metavar="RUN",
        help="with RUN: let its waiting process continue; "
        "with --apply: resume the unfinished run in this process",
    )
    add("--restart", action="store_true", help="with --apply: cancel the unfinished run first")
    add("--plan", default="", metavar="HASH", help="with --apply: only if the plan is unchanged")
    add("--table", action="append", default=[], help="only this TABLE or TABLE.COLUMN; repeatable")
    add(
        "--strategy",
        choices=RunStrategy.values,
        default=RunStrategy.BATCHED.value,
        help="one transaction a batch, or one for the whole run (for short tables)",
    )
    _declare_pace(parser)
    add("--actor", default=actor, help="who runs this (default: your login name)")
    add("--json", action="store_true", help="print one JSON object a line; the last is the result")


def _declare_requests(group: Any) -> None:
    add = group.add_argument
    add("--apply", action="store_true", help="carry out the plan (needs a valid backup)")
    add("--undo", type=int, metavar="RUN", help="restore the rows that the run wrote")
    verify = "exit 1 unless every stored stage is what today's decisions give"
    add("--verify", action="store_true", help=verify)
    add("--pause", type=int, metavar="RUN", help="stop the run before its next batch; it waits")
    add("--cancel", type=int, metavar="RUN", help="end the run before its next batch")
    restrict = "restrict the tables to canonical stages"
    add("--validate-constraint", action="store_true", help=restrict)
    add("--drop-constraint", action="store_true", help="let the tables hold any text again")


def _declare_pace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch-size", type=whole_number(1), metavar="N", help="rows of the first batch (5000)")
    add(
        "--max-batch-size",
        type=whole_number(1),
        metavar="N",
        help="rows of the largest batch (50000)",
    )
    add("--backoff-ms", type=whole_number(0), metavar="N", help="rest after each batch (100)")
    share = "rest X times as long as the batch took"
    add("--backoff-share", type=positive_number, metavar="X", help=share)
    lag = "wait while a replica lags more (10)"
    add("--max-lag-seconds", type=positive_number, metavar="S", help=lag)
    lease = "another process may take over after this time without a heartbeat (30)"
    add("--lease-seconds", type=positive_number, metavar="S", help=lease)


def answer(options: dict[str, Any], stdout: Any, stderr: Any) -> NormalizeAnswer:
    """Make the one request. Raises UsageError, or one of REFUSALS."""
    _refuse_contradictions(options)
    try:
        if options["apply"] or options["undo"] is not None:
            return _run(options, stdout, stderr)
        return _ask(options)
    except columns.NoSuchTable as error:
        raise UsageError(str(error)) from error


def status_of(error: Exception) -> int:
    """Return the exit status of a refusal."""
    return GATE if isinstance(error, guards.GateClosed) else FAILED


def _refuse_contradictions(options: dict[str, Any]) -> None:
    resume, apply = options["resume"], options["apply"]
    here = resume == THIS_PROCESS
    begins = apply and not here
    rules = (
        (
            here and not apply,
            "--resume needs the number of a run (--resume RUN), or --apply to resume it here.",
        ),
        (
            resume not in (None, THIS_PROCESS) and apply,
            "--apply --resume resumes the unfinished run: it needs no number.",
        ),
        (
            here and bool(options["restart"] or options["plan"]),
            "--resume continues the run as planned: it excludes --restart and --plan.",
        ),
        (
            options["strategy"] == RunStrategy.TRANSACTIONAL and not begins,
            "--strategy is chosen when a run begins, with --apply; an undo always uses batches.",
        ),
        (
            options["validate_constraint"] and not options["table"],
            "--validate-constraint needs --table: name the tables that will refuse other text.",
        ),
        (
            bool(options["restart"] or options["plan"]) and not apply,
            "--restart and --plan need --apply.",
        ),
    )
    for broken, message in rules:
        if broken:
            raise UsageError(message)


def _ask(options: dict[str, Any]) -> NormalizeAnswer:
    only, actor = options["table"], options["actor"]
    for name, function in STEERING.items():
        if options[name] is not None:
            run = function(options[name], actor)
            return NormalizeAnswer(
                f"Run {run.pk} is {run.state}.", {"run": run.pk, "state": run.state}
            )
    if options["verify"]:
        return verify(only)
    if options["validate_constraint"]:
        return validate_constraint(only)
    return drop_constraint(only) if options["drop_constraint"] else plan(only)


STEERING: Final = {"pause": control.pause, "resume": control.resume, "cancel": control.cancel}


def _run(options: dict[str, Any], stdout: Any, stderr: Any) -> NormalizeAnswer:
    interrupts, actor = Interrupts(), options["actor"]
    try:
        with interrupts.listening(), output.progress(stderr._out) as shown:
            if options["json"]:
                shown = output.to_json(stdout.write)
            lease = _lease(options)
            return _carried_out(lease, actor, output.to_all(output.to_log, shown), interrupts)
    finally:
        interrupts.close()


def _lease(options: dict[str, Any]) -> Lease:
    """Begin or resume the run that the arguments ask for. Raises `PooledSession` before both."""
    backend()
    actor = options["actor"]
    chosen = {name: options[name] for name in PACE if options[name] is not None}
    how = RunOptions(strategy=RunStrategy(options["strategy"]), **chosen)
    if options["undo"] is not None:
        return control.claim(control.begin_undo(options["undo"], how, actor).pk, actor)
    if options["resume"]:
        return control.claim_unfinished(actor, how if chosen else None)
    return apply(
        options["table"], how, actor, approved=options["plan"], restart=options["restart"]
    )


# -- The requests


def plan(only: Iterable[str]) -> NormalizeAnswer:
    """Show what `--apply` would do; changes nothing."""
    made = make_plan(columns.find_for_run(only))
    left = guards.unfinished()
    lines = [
        f"{_changes(made.columns)}. {_duration(made)}",
        f"By verdict: {_verdicts(made.columns)}.",
        *_left_out(only),
        *([_unfinished(left)] if left else []),
        f"Plan {made.hash}: carry it out with --apply --plan {made.hash}",
    ]
    data = {**made.to_json(), "unfinished_run": _run_json(left) if left else None}
    return NormalizeAnswer("\n".join(lines), data, columns=tuple(made.columns))


def apply(
    only: Iterable[str], options: RunOptions, actor: str, *, approved: str, restart: bool
) -> Lease:
    """Begin a run over what the plan has now. `restart`: cancel the unfinished run first.

    Raises GateClosed, RunRefused, or PlanChanged unless the plan is the `approved` one.
    """
    guards.refuse_without_backup()  # before the survey, which may take minutes
    found = columns.find_for_run(only)
    planned = make_plan(found, sample=False)
    if approved:
        refuse_if_changed(planned, approved)
    if restart:
        control.discard_unfinished(actor)
    return control.start(planned, found, options, actor)


def verify(only: Iterable[str]) -> NormalizeAnswer:
    """Return whether every stored stage is what today's decisions give, with the distinct values.

    A derived stage is compared with its source. A stage without a source is to be canonical.
    """
    found = make_plan(columns.find(only), sample=False).columns
    unclean = [each for each in found if not each.clean]
    text = "; ".join(f"{each.column}: {_unclean(each)}" for each in unclean)
    text = text or "Every stored stage is what today's decisions give"
    data = {"clean": not unclean, "columns": [each.to_json() for each in found]}
    status = FAILED if unclean else DONE
    lines = f"{text}.\nBy verdict: {_verdicts(found)}."
    return NormalizeAnswer(lines, data, status, tuple(found))


def validate_constraint(only: Iterable[str]) -> NormalizeAnswer:
    """Add and validate the constraints of each column, if all of them are clean.

    A source of the client's words becomes NOT NULL. Raises NotClean.
    """
    found = make_plan(columns.find(only), sample=False).columns
    for each in found:
        if not each.clean:
            raise constraint.NotClean(
                f"{each.column} has {_unclean(each)}: run --apply first. "
                "--table selects the tables to restrict."
            )
    try:
        for each in found:
            constraint.validate(each.column)
    except (IntegrityError, OperationalError) as error:
        raise constraint.NotClean(f"The constraint was not added: {error}") from error
    names = [str(each.column) for each in found]
    text = f"{', '.join(names)} can hold canonical stages only."
    if derived := [str(each.column) for each in found if each.column.derived]:
        text += f" A text without a stage is NULL in {', '.join(derived)}."
    return NormalizeAnswer(text, {"constrained": names})


def drop_constraint(only: Iterable[str]) -> NormalizeAnswer:
    """Drop the constraint of each column."""
    found = columns.find(only)
    for column in found:
        constraint.drop(column)
    names = [str(column) for column in found]
    return NormalizeAnswer(f"{', '.join(names)} can hold any text.", {"dropped": names})


def _carried_out(
    lease: Lease, actor: str, tell: EventListener, interrupts: Interrupts
) -> NormalizeAnswer:
    result = carry_out(lease, actor=actor, tell=tell, interrupts=interrupts)
    data = output.report(result.run)
    if result.trouble:
        return NormalizeAnswer(result.trouble, {**data, "error": result.trouble}, FAILED)
    if result.run.kind == RunKind.UNDO:
        return NormalizeAnswer(_undone(result.run, data), data)
    unknown = data["unknown_rows"]
    text = (
        f"Run {result.run.pk} is completed: "
        f"{data['changed']:,} rows changed, {data['scanned']:,} scanned."
    )
    if unknown:
        values = len(result.run.unknown)
        text += f" {unknown:,} rows with {values:,} values stay undecided."
    return NormalizeAnswer(text, data, UNKNOWN_LEFT if unknown else DONE)


def _undone(run: BackfillRun, data: dict[str, Any]) -> str:
    parts = [f"Run {run.undoes_id} is undone: {data['changed']:,} rows restored"]
    for column in data["columns"]:
        for reason, found in column["left_alone"].items():
            first = found["ids"][:5]
            rows = f"{found['rows']:,} rows of {column['table']}"
            parts.append(f"{rows} were {reason} and stay (first ids {first})")
    places = [(each["table"], each["column"]) for each in data["columns"]]
    for name in columns.missing(columns.named, places):
        parts.append(f"{name} holds no stages in this release: its text is restored")
    return "; ".join(parts) + "."


def _changes(found: Iterable[ColumnPlan]) -> str:
    found = list(found)
    text = f"{sum(each.to_change for each in found):,} rows to change"
    if filled := sum(each.to_fill for each in found):
        text += f", {filled:,} of them to keep their text beside the stage"
    return text


def _verdicts(found: Iterable[ColumnPlan]) -> str:
    found = list(found)
    known, outside, unknown = (
        sum(getattr(each, f"{verdict}_rows") for each in found)
        for verdict in ("known", "outside", "unknown")
    )
    return f"{known:,} rows known, {outside:,} outside, {unknown:,} undecided"


def _unclean(found: ColumnPlan) -> str:
    if found.column.derived:
        return f"{found.to_change:,} rows are not what today's decisions give"
    return f"{found.to_change:,} rows in other spellings, {found.unknown_rows:,} unknown"


def _left_out(only: Iterable[str]) -> list[str]:
    left_out = [column for column in columns.find(only) if not column.integer_key]
    return [columns.unsupported_key(left_out)] if left_out else []


def _unfinished(run: BackfillRun) -> str:
    words = state_in_words(run.state, alive=is_alive(run))
    return f"Run {run.pk} is not finished: {words}."


def _run_json(run: BackfillRun) -> dict[str, Any]:
    return {"run": run.pk, "state": run.state, "alive": is_alive(run)}


def _duration(made: BackfillPlan) -> str:
    if made.seconds is None:
        return "The duration cannot be estimated here: no sample could be taken."
    return f"About {made.seconds:,.0f} s of work, estimated from a sample, plus the back-off."
