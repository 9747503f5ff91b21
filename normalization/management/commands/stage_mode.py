"""`manage.py stage_mode`: show, change and explain the rollout, and take its next step."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError as StoreError
from django.utils import timezone

from normalization import conf, instance_registry, instances, rollout_steps, rollout_store
from normalization.management.overrides import add_override
from normalization.management.rendering import (
    instance_table,
    mode_in_words,
    plan_members,
    plan_table,
    rollout_lines,
)
from normalization.rollout import Mode, Rollout, RolloutInvalid
from normalization.rollout_plan import PlanInvalid, RolloutPlan, parse_step
from stagenorm.terminal import show

WAIT_TTLS: Final = 3
ACTIONS: Final = "show | status | next | plan | set | explain | forget"
WHAT: Final = "Name a mode, or an option to change: stage_mode set off|warn|enforce --reason TEXT"


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Show the mode of stage validation (show, status), take the next step of its plan (next), "
        "show or change the plan (plan), change anything else (set), "
        "explain the mode of one client (explain), or remove a process that ended (forget)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions; `show` is the default."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        actions = parser.add_subparsers(dest="action", title="actions", metavar=ACTIONS)
        for name, text in (
            ("show", "the mode in one line"),
            ("status", "the whole rollout and the instances"),
        ):
            _with_json(actions.add_parser(name, help=text))
        _next_arguments(_with_json(actions.add_parser("next", help="take the next step")))
        _plan_arguments(_with_json(actions.add_parser("plan", help="show or change the steps")))
        _set_arguments(_with_json(actions.add_parser("set", help="change the rollout")))
        explain = _with_json(
            actions.add_parser("explain", help="which mode applies to a client, and why")
        )
        explain.add_argument("--client", required=True, help="the name of the client's API key")
        explain.add_argument(
            "--endpoint",
            required=True,
            help=f"for example {next(iter(conf.stage_endpoints()), '')}",
        )
        text = "remove a process of another host that ended or is frozen from the register"
        forget = _with_json(actions.add_parser("forget", help=text))
        forget.add_argument("name", metavar="HOST:PID", help="as stage_mode status shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        actions = {
            "status": self._status,
            "set": self._set,
            "next": self._next,
            "plan": self._plan,
            "explain": self._explain,
            "forget": self._forget,
        }
        act = actions.get(options["action"], self._show)
        try:
            act(options)
        except (rollout_store.ChangeRefused, RolloutInvalid, PlanInvalid) as error:
            raise CommandError(str(error)) from error
        except StoreError as error:
            raise CommandError(
                f"The database does not answer, nothing was changed: {error}"
            ) from error

    def _show(self, options: dict[str, Any]) -> None:
        snapshot = rollout_store.newest()
        text = f"The mode is {snapshot.rollout.mode} (version {snapshot.version})."
        self._print(
            options,
            text,
            {"version": snapshot.version, "changed": False, **snapshot.rollout.to_wire()},
        )

    def _status(self, options: dict[str, Any]) -> None:
        snapshot = rollout_store.newest()
        change = rollout_store.since(snapshot.version)
        age = (timezone.now() - change.created_at).total_seconds() if change else float("inf")
        seen = instances.convergence(snapshot.version, age)
        if options["json"]:
            found = {
                "converged": seen.converged,
                "why": seen.why,
                "instances": [one._asdict() for one in seen.instances],
            }
            self._print(
                options, "", {"version": snapshot.version, **snapshot.rollout.to_wire(), **found}
            )
            return
        show(self.stdout, rollout_lines(snapshot, change))
        if seen.instances:
            show(self.stdout, instance_table(seen.instances, snapshot.version))
        self.stdout.write(f"{'Converged' if seen.converged else 'Not converged'}: {seen.why}.")

    def _set(self, options: dict[str, Any]) -> None:
        result = rollout_store.change(
            _target(options),
            actor=options["actor"],
            source="command",
            reason=options["reason"],
            expected_version=options["expected_version"],
            gate_overrides=dict(options["override"]),
        )
        self._changed(options, result)
        self._note_unknown(
            name for name, mode in options["endpoint_mode"] or () if mode is not None
        )

    def _next(self, options: dict[str, Any]) -> None:
        result = rollout_steps.take_next(
            actor=options["actor"],
            source="command",
            reason=options["reason"],
            expected_version=options["expected_version"],
            gate_overrides=dict(options["override"]),
        )
        self._changed(options, result)

    def _changed(self, options: Mapping[str, Any], result: rollout_store.ChangeResult) -> None:
        """Print a change; with --wait not before every instance runs it."""
        verb = "is now" if result.changed else "is"
        mode = mode_in_words(result.rollout)
        text = f"The mode {verb} {mode} (version {result.version}): {result.spread}."
        body = {
            "version": result.version,
            "changed": result.changed,
            "spread": result.spread.name.lower(),
        }
        if options["wait"] is not None:
            seconds, why = self._wait(result.version, options["wait"])
            text, body = (
                f"{text}\nAfter {seconds:.3f} s {why}.",
                {**body, "waited_seconds": round(seconds, 3)},
            )
        self._print(options, text, {**body, **result.rollout.to_wire()})

    def _plan(self, options: dict[str, Any]) -> None:
        if options["steps"]:
            rollout_steps.change_plan(
                RolloutPlan(tuple(map(parse_step, options["steps"]))),
                actor=options["actor"],
                source="command",
                reason=options["reason"],
            )
        found = rollout_steps.standing(rollout_store.newest())
        if options["json"]:
            self._print(options, "", plan_members(found))
            return
        show(self.stdout, plan_table(found))

    def _wait(self, version: int, seconds: float) -> tuple[float, str]:
        seen, waited = instances.wait_until_converged(
            version, seconds or conf.ttl_seconds() * WAIT_TTLS
        )
        if not seen.converged:
            behind = ", ".join(f"{one.name} (version {one.version})" for one in seen.behind)
            ends = f": {behind}" if behind else "."
            raise CommandError(
                f"Version {version} is recorded, but after {waited:.1f} s {seen.why}{ends}"
            )
        return waited, seen.why

    def _explain(self, options: dict[str, Any]) -> None:
        snapshot = rollout_store.newest()
        decision = snapshot.rollout.decide(options["endpoint"], options["client"])
        body = {
            "client": options["client"],
            "endpoint": options["endpoint"],
            "version": snapshot.version,
        }
        self._print(
            options,
            f"{decision.mode}: {decision.why}.",
            {**body, "mode": decision.mode, "why": decision.why},
        )
        self._note_unknown([options["endpoint"]])

    def _forget(self, options: dict[str, Any]) -> None:
        name = options["name"]
        if not instance_registry.remove([name]):
            names = ", ".join(each.name for each in instance_registry.registered())
            raise CommandError(f"No process {name} is registered. Registered: {names or 'none'}.")
        self._print(
            options, f"{name} is removed. A running process registers again.", {"removed": name}
        )

    def _note_unknown(self, endpoints: Iterable[str]) -> None:
        # Not refused: code outside the API, such as an import, may use its own endpoint names.
        for name in sorted(set(endpoints) - set(conf.stage_endpoints())):
            known = ", ".join(conf.stage_endpoints())
            self.stderr.write(
                f"No endpoint of the API is called {name}; the endpoints are {known}."
            )

    def _print(self, options: Mapping[str, Any], text: str, body: Mapping[str, Any]) -> None:
        self.stdout.write(json.dumps(body) if options["json"] else text)


def _with_json(parser: CommandParser) -> CommandParser:
    # Allows --json after the action too. Without a default: it would reset a --json before it.
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object"
    )
    return parser


def _next_arguments(parser: CommandParser) -> None:
    parser.add_argument("--reason", default="", help="why; recorded with the change")
    _change_arguments(parser)


def _plan_arguments(parser: CommandParser) -> None:
    text = (
        "the new plan: warn:TIME:REQUESTS, then SHARE:TIME:REQUESTS, up to 100; for example "
        "warn:24h:1000 10:24h:1000 50:3d 100; without it the plan is shown"
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=text)
    parser.add_argument("--reason", default="", help="why the plan changes; recorded with it")
    parser.add_argument("--actor", default=_login_name(), help="who; your login name by default")


def _set_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "mode",
        nargs="?",
        choices=[mode.value for mode in Mode],
        help="the mode to set; without it the mode stays",
    )
    parser.add_argument("--reason", default="", help="why; recorded with the change")
    _change_arguments(parser)
    parser.add_argument("--percent", type=_percent, help="share of clients enforced, 0 to 100")
    parser.add_argument(
        "--pilots",
        type=_names,
        metavar="A,B",
        help="clients enforced at any share; '' for none",
    )
    parser.add_argument(
        "--holdouts", type=_names, metavar="A,B", help="clients never enforced; '' for none"
    )
    parser.add_argument(
        "--endpoint-mode",
        action="append",
        type=_endpoint_mode,
        metavar="ENDPOINT=MODE",
        help="cap one endpoint; ENDPOINT=none lifts the cap; repeatable",
    )
    parser.add_argument(
        "--enforce-at",
        type=_moment,
        metavar="DATE",
        help="announce a date (UTC without an offset), or none",
    )


def _change_arguments(parser: CommandParser) -> None:
    add_override(parser, "enforce although this gate holds the change; recorded; repeatable")
    parser.add_argument("--actor", default=_login_name(), help="who; your login name by default")
    parser.add_argument(
        "--expected-version", type=int, help="refuse if the rollout is at another version by now"
    )
    text = "wait until every instance runs it, at most SECONDS (3 TTLs), and print the time"
    parser.add_argument("--wait", nargs="?", type=float, const=0.0, metavar="SECONDS", help=text)


def _target(options: dict[str, Any]) -> rollout_store.Target:
    names = {
        "percent": "enforce_percent",
        "pilots": "pilots",
        "holdouts": "holdouts",
        "mode": "mode",
    }
    given = {field: options[name] for name, field in names.items() if options[name] is not None}
    if "mode" in given:
        given["mode"] = Mode(given["mode"])
    if options["enforce_at"] is not None:
        given["enforce_at"] = options["enforce_at"][0]
    if not given and not options["endpoint_mode"]:
        raise CommandError(WHAT)

    def changed(rollout: Rollout) -> Rollout:
        overrides: dict[str, Mode | None] = {
            **rollout.overrides,
            **dict(options["endpoint_mode"] or ()),
        }
        kept = {name: mode for name, mode in overrides.items() if mode is not None}
        return replace(rollout, overrides=kept, **given)

    return changed


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's nameless user
        return "unknown"


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal("NaN")
    if not percent.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100, such as 12.5")
    return percent


def _endpoint_mode(text: str) -> tuple[str, Mode | None]:
    endpoint, _, mode = text.rpartition("=")
    if not endpoint or mode not in (*Mode, "none"):
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=off, =warn, =enforce or =none")
    return endpoint, None if mode == "none" else Mode(mode)


def _moment(text: str) -> tuple[datetime | None]:
    if text == "none":
        return (None,)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a date such as 2027-01-31 or 2027-01-31T08:00+01:00"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC),)
