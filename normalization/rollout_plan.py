"""The plan of the rollout: its steps, and when a step has run long enough for the next one.

This module is pure. `rollout_steps` stores the plan, measures the step in force and takes the next
one. A step has a rank: OBSERVE and WARN, and from 0 on the share of the clients that are enforced,
in percent. A plan begins with `warn` and ends with 100 %.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

from normalization.rollout import Mode, Rollout

OBSERVE: Final = Decimal(-2)
WARN: Final = Decimal(-1)
EVERY_CLIENT: Final = Decimal(100)
GATE: Final = "step_proven"
"""The name under which a step that has not run long enough holds the next one."""

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
LONGEST_SECONDS: Final = 365 * DAY
MOST_REQUESTS: Final = 1_000_000_000
MOST_STEPS: Final = 20
_UNITS: Final = {"m": MINUTE, "h": HOUR, "d": DAY}
_DURATION: Final = re.compile(r"(\d{1,6})([mhd])", re.ASCII)
_STEP_FORM: Final = "STEP[:TIME[:REQUESTS]], such as warn:24h:1000 or 10:7d"


class PlanInvalid(ValueError):
    """The plan is not valid; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step: `warn`, or enforcement for a share of the clients.

    The next step may follow after `least_seconds` and `least_requests`.
    """

    rank: Decimal
    least_seconds: int = 0
    least_requests: int = 0

    def __post_init__(self) -> None:
        if self.rank != WARN and not (0 < self.rank <= 100 and self.rank == round(self.rank, 2)):
            raise PlanInvalid("A step is warn, or a share above 0 and up to 100 %.")
        if not 0 <= self.least_seconds <= LONGEST_SECONDS:
            raise PlanInvalid("The least time of a step is between 0 and 365 days.")
        if not 0 <= self.least_requests <= MOST_REQUESTS:
            raise PlanInvalid("The least requests of a step are between 0 and 1,000,000,000.")

    @property
    def name(self) -> str:
        """The step as commands and pages name it: `warn`, `10 %`."""
        return rank_name(self.rank)

    def applied_to(self, rollout: Rollout) -> Rollout:
        """Return `rollout` at this step. Pilots, holdouts, caps and the date stay."""
        if self.rank == WARN:
            return replace(rollout, mode=Mode.WARN)
        return replace(rollout, mode=Mode.ENFORCE, enforce_percent=self.rank)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        name = "warn" if self.rank == WARN else f"{self.rank.normalize():f}"
        return {
            "step": name,
            "least_seconds": self.least_seconds,
            "least_requests": self.least_requests,
        }


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The steps in their order: `warn` first, then rising shares, 100 % last."""

    steps: tuple[PlanStep, ...]

    def __post_init__(self) -> None:
        ranks = [step.rank for step in self.steps]
        if not ranks or ranks[0] != WARN:
            raise PlanInvalid("The first step of a plan is warn.")
        if ranks[-1] != EVERY_CLIENT:
            raise PlanInvalid("The last step of a plan is 100 %.")
        if any(before >= after for before, after in pairwise(ranks)):
            raise PlanInvalid("Each step of a plan enforces more than the one before.")
        if len(ranks) > MOST_STEPS:
            raise PlanInvalid(f"A plan has at most {MOST_STEPS} steps.")

    @property
    def shares(self) -> tuple[Decimal, ...]:
        """The shares of the steps that enforce, in percent."""
        return tuple(step.rank for step in self.steps if step.rank > WARN)

    def current(self, rollout: Rollout) -> PlanStep | None:
        """Return the step that a rollout has reached, None before the first.

        A share between two steps counts as the lower one.
        """
        reached = [step for step in self.steps if step.rank <= rank_of(rollout)]
        return reached[-1] if reached else None

    def next(self, rollout: Rollout) -> PlanStep | None:
        """Return the step after the one in force, None at the end.

        After a way back the mode is `warn`, so the first share follows, whatever was enforced.
        """
        ahead = (step for step in self.steps if step.rank > rank_of(rollout))
        return next(ahead, None)

    def next_enforcing(self, rollout: Rollout) -> PlanStep | None:
        """Return the next step that needs the gates, None at the end."""
        here = max(rank_of(rollout), WARN)
        return next((step for step in self.steps if step.rank > here), None)

    def to_wire(self) -> list[dict[str, Any]]:
        """Return the JSON form."""
        return [step.to_wire() for step in self.steps]

    @classmethod
    def from_wire(cls, wire: Sequence[Mapping[str, Any]]) -> RolloutPlan:
        """Parse the JSON form; raise `PlanInvalid` on any difference."""
        try:
            return cls(tuple(_step_from(**each) for each in wire))
        except (TypeError, ValueError, InvalidOperation) as error:
            raise PlanInvalid(f"Not a plan: {error}") from error


DEFAULT_PLAN: Final = RolloutPlan(
    (
        PlanStep(WARN, DAY, 1_000),
        PlanStep(Decimal(10), DAY, 1_000),
        PlanStep(Decimal(25), DAY, 1_000),
        PlanStep(Decimal(50), DAY, 1_000),
        PlanStep(EVERY_CLIENT),
    )
)
"""A day and 1,000 requests for each step: what the gate `would_refuse` judges."""


@dataclass(frozen=True, slots=True)
class StepRun:
    """How long the step in force has run, and for how many requests.

    `since` is None if that is not known. `requests` is exact up to the least requests of the step,
    and at least as many beyond.
    """

    since: datetime | None
    seconds: float
    requests: int


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """Whether the step in force has run long enough, in the shape of a gate's verdict."""

    outcome: str
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    gate: str = GATE
    overridable: bool = True

    @property
    def passes(self) -> bool:
        """Whether the next step may follow."""
        return self.outcome == "pass"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form that is recorded with a change."""
        return {
            "gate": self.gate,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
        }


def judge_step(step: PlanStep, run: StepRun) -> StepVerdict:
    """Return whether `step` has run for its least time and its least requests."""
    evidence = {
        "step": step.name,
        "since": run.since.isoformat() if run.since else None,
        "seconds": round(run.seconds, 1),
        "least_seconds": step.least_seconds,
        "requests": run.requests,
        "least_requests": step.least_requests,
    }
    missing = list(_missing(step, run))
    if missing:
        facts, waits = zip(*missing, strict=True)
        name = step.name if step.rank > WARN else step.name.capitalize()
        sentence = f"{name} has {' and '.join(facts)}."
        return StepVerdict("fail", sentence, evidence, f"wait {' and '.join(waits)}")
    ran = f"{step.name} has run for {spoken(run.seconds)}"
    sentence = f"{ran[:1].upper()}{ran[1:]}; at least {_least(step)}."
    return StepVerdict("pass", sentence, evidence)


def parse_step(text: str) -> PlanStep:
    """Parse STEP[:TIME[:REQUESTS]], such as `warn:24h:1000`; raise `PlanInvalid`."""
    name, _, rest = text.strip().partition(":")
    time, _, requests = rest.partition(":")
    if requests and not (requests.isascii() and requests.isdigit()):
        raise PlanInvalid(f"{requests!r} is not a number of requests: {_STEP_FORM}.")
    try:
        rank = WARN if name == "warn" else Decimal(name.removesuffix("%").strip())
    except InvalidOperation:
        raise PlanInvalid(f"{name!r} is not a step: {_STEP_FORM}.") from None
    if not rank.is_finite():
        raise PlanInvalid(f"{name!r} is not a step: {_STEP_FORM}.")
    return PlanStep(rank, parse_duration(time) if time else 0, int(requests or 0))


def parse_duration(text: str) -> int:
    """Return seconds from `0`, `30m`, `24h` or `7d`; raise `PlanInvalid`."""
    if text.strip() == "0":
        return 0
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise PlanInvalid(f"{text!r} is not a time such as 30m, 24h or 7d.")
    return int(found[1]) * _UNITS[found[2]]


def duration_text(seconds: int) -> str:
    """Return a least time as `parse_duration` reads it."""
    for letter in ("d", "h", "m"):
        if seconds and seconds % _UNITS[letter] == 0 and (letter != "d" or seconds > DAY):
            return f"{seconds // _UNITS[letter]}{letter}"
    return "0" if not seconds else f"{max(1, seconds // MINUTE)}m"


def rank_of(rollout: Rollout) -> Decimal:
    """Return the rank of the step that a rollout stands at."""
    if rollout.mode is Mode.OFF:
        return OBSERVE
    return WARN if rollout.mode is Mode.WARN else rollout.enforce_percent


def rank_name(rank: Decimal) -> str:
    """Return the name of a step: `observe`, `warn`, `10 %`."""
    names = {OBSERVE: "observe", WARN: "warn"}
    return names.get(rank) or f"{rank.normalize():f} %"


def spoken(seconds: float) -> str:
    """Return a duration in its largest whole unit: `45 s`, `12 min`, `3 h`, `9 days`."""
    whole = int(max(seconds, 0))
    if whole < 2 * MINUTE and whole != MINUTE:
        return f"{whole} s"
    if whole < 2 * HOUR and whole != HOUR:
        return f"{whole // MINUTE} min"
    if whole < 2 * DAY:
        return f"{whole // HOUR} h"
    return f"{whole // DAY} days"


def _missing(step: PlanStep, run: StepRun) -> Iterator[tuple[str, str]]:
    """Yield what the step lacks, with what remains."""
    if run.seconds < step.least_seconds:
        left = spoken(step.least_seconds - run.seconds)
        yield f"run for {spoken(run.seconds)} of {spoken(step.least_seconds)}", f"{left} more"
    if run.requests < step.least_requests:
        rest = f"for {step.least_requests - run.requests:,} more requests"
        yield f"served {run.requests:,} of {step.least_requests:,} requests", rest


def _least(step: PlanStep) -> str:
    return f"{spoken(step.least_seconds)} and {step.least_requests:,} requests are needed"


def _step_from(step: str, least_seconds: int, least_requests: int) -> PlanStep:
    rank = WARN if step == "warn" else Decimal(step)
    return PlanStep(rank, int(least_seconds), int(least_requests))
