"""The command line of `normalize_stages`: its arguments, and the one request that they make."""

import argparse
from typing import Any, TextIO

from django.db import Error

from ops.backfill import columns, control, lease, plan
from ops.backfill.constraint import NotClean
from ops.backfill.gate import GateClosed
from ops.backfill.interrupts import Interrupts
from ops.backfill.models import Strategy
from ops.backfill.options import Options
from ops.backfill.states import TransitionRefused
from ops.cli import normalize_progress as progress
from ops.cli import normalize_requests as answers
from ops.cli.normalize_requests import Answer

REFUSALS = (
    GateClosed,
    control.RunRefused,
    plan.PlanChanged,
    TransitionRefused,
    NotClean,
    columns.KeyNotWhole,
    lease.LeaseLost,
    Error,
)
HERE = -1


class UsageError(ValueError):
    """The arguments do not go together."""


def declare(parser: argparse.ArgumentParser, actor: str) -> None:
    """Declare the arguments; `actor` is who it is by default."""
    ask = parser.add_mutually_exclusive_group()
    ask.add_argument(
        "--apply", action="store_true", help="carry the plan out (needs a valid backup)"
    )
    ask.add_argument(
        "--undo",
        type=int,
        metavar="RUN",
        help="give back what the run wrote, where it still stands",
    )
    ask.add_argument(
        "--verify", action="store_true", help="exit 1 unless every stored stage is canonical"
    )
    ask.add_argument(
        "--pause", type=int, metavar="RUN", help="stop the run before its next batch; it waits"
    )
    ask.add_argument("--cancel", type=int, metavar="RUN", help="end the run before its next batch")
    ask.add_argument(
        "--validate-constraint",
        action="store_true",
        help="let the tables hold canonical stages only",
    )
    ask.add_argument(
        "--drop-constraint", action="store_true", help="let the tables hold any text again"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        type=int,
        const=HERE,
        metavar="RUN",
        help="alone with RUN: let its waiting process go on; with --apply: take the unfinished run up here",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="with --apply: cancel the unfinished run, begin anew",
    )
    parser.add_argument(
        "--plan", default="", metavar="HASH", help="with --apply: only if this is still the plan"
    )
    parser.add_argument(
        "--table",
        action="append",
        default=[],
        help="only this table (or TABLE.COLUMN); repeatable",
    )
    parser.add_argument(
        "--strategy",
        choices=Strategy.values,
        default=Strategy.BATCHED.value,
        help="one transaction a batch, or one for everything (short tables, maintenance windows)",
    )
    parser.add_argument(
        "--batch-size", type=_whole(1), metavar="N", help="rows of the first batch (5000)"
    )
    parser.add_argument(
        "--max-batch-size", type=_whole(1), metavar="N", help="rows of the largest batch (50000)"
    )
    parser.add_argument(
        "--backoff-ms", type=_whole(0), metavar="N", help="rest after each batch (100)"
    )
    parser.add_argument(
        "--backoff-share",
        type=_positive,
        metavar="X",
        help="rest X times as long as the batch took",
    )
    parser.add_argument(
        "--max-lag-seconds",
        type=_positive,
        metavar="S",
        help="wait while a replica lags more (10)",
    )
    parser.add_argument(
        "--lease-seconds",
        type=_positive,
        metavar="S",
        help="another process may take over from one that shows no sign of life for so long (30)",
    )
    parser.add_argument("--actor", default=actor, help="who; your login name by default")
    parser.add_argument(
        "--json", action="store_true", help="JSON: a line for each event, the last is the result"
    )


def answer(options: dict[str, Any], stdout: Any, stderr: Any) -> Answer:
    """Make the one request. Raises UsageError, or one of REFUSALS."""
    _refuse_contradictions(options)
    try:
        if options["apply"] or options["undo"] is not None:
            return _run(options, stdout, stderr)
        return _ask(options)
    except columns.NoSuchTable as error:
        raise UsageError(str(error)) from error


def status_of(error: Exception) -> int:
    """The exit status of a refusal."""
    return answers.GATE if isinstance(error, GateClosed) else answers.FAILED


def _ask(options: dict[str, Any]) -> Answer:
    only, actor = options["table"], options["actor"]
    for wish in ("pause", "resume", "cancel"):
        if options[wish] is not None:
            return answers.steered(wish, options[wish], actor)
    if options["verify"]:
        return answers.verified(only)
    if options["validate_constraint"]:
        return answers.held_to_stages(only)
    return answers.set_free(only) if options["drop_constraint"] else answers.plan(only)


def _run(options: dict[str, Any], stdout: Any, stderr: Any) -> Answer:
    interrupts = Interrupts()
    output: TextIO = stderr._out
    try:
        with interrupts.listening(), progress.shown(output) as bar:
            shown = progress.to_json(stdout.write) if options["json"] else bar
            how = {
                "actor": options["actor"],
                "tell": progress.all_of(progress.to_log, shown),
                "interrupts": interrupts,
            }
            if options["undo"] is not None:
                return answers.undo(options["undo"], _options(options), **how)
            if options["resume"]:
                return answers.take_up(_options(options) if _paced(options) else None, **how)
            return answers.apply(
                options["table"],
                _options(options),
                approved=options["plan"],
                restart=options["restart"],
                **how,
            )
    finally:
        interrupts.close()


def _options(options: dict[str, Any]) -> Options:
    given = {name: options[name] for name in _PACE if options[name] is not None}
    return Options(strategy=Strategy(options["strategy"]), **given)


_PACE = (
    "batch_size",
    "max_batch_size",
    "backoff_ms",
    "backoff_share",
    "max_lag_seconds",
    "lease_seconds",
)


def _paced(options: dict[str, Any]) -> bool:
    return any(options[name] is not None for name in _PACE)


def _refuse_contradictions(options: dict[str, Any]) -> None:
    resume, apply = options["resume"], options["apply"]
    if resume == HERE and not apply:
        raise UsageError(
            "--resume alone needs the run to wake: --resume RUN. With --apply it takes the run up here."
        )
    if resume not in (None, HERE) and apply:
        raise UsageError("--apply --resume takes the unfinished run up: it needs no number.")
    if resume == HERE and (options["restart"] or options["plan"]):
        raise UsageError(
            "--resume goes on with the run as it was planned: it goes neither with --restart nor --plan."
        )
    if options["strategy"] == Strategy.TRANSACTIONAL and (not apply or resume == HERE):
        raise UsageError(
            "--strategy is chosen when a run begins, with --apply; an undo goes in batches."
        )
    if options["validate_constraint"] and not options["table"]:
        raise UsageError(
            "--validate-constraint needs --table: name the tables into which no unknown stage can come any more."
        )
    if (options["restart"] or options["plan"]) and not apply:
        raise UsageError("--restart and --plan go with --apply.")


def _whole(least: int) -> Any:
    def whole(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return value

    return whole


def _positive(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("a positive number")
    return value
