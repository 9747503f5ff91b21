"""Parts that several of the operator's pages show, each of which may fail without the page.

`softly` reads one part. `GatePanel` has the gates in plain words, for the rollout page and the
start page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from django.contrib.humanize.templatetags.humanize import apnumber
from django.db import connection, transaction
from django.urls import reverse

from normalization import rollout_plan
from normalization.rollout import Rollout
from normalization.rollout_plan import StepVerdict
from normalization.rollout_steps import StepStanding
from ops.alerts.way_back import WayBack, way_back_of
from ops.gates import facts, rules
from ops.gates.rules import GateOutcome, GateVerdict
from ops.gates.traffic import SentTraffic
from ops.gates.traffic_rule import EnforcedTraffic

log = structlog.get_logger(__name__)

PAGE_SECONDS: Final = 5.0  # the rollout page omits a part that takes longer
COMMAND: Final = "manage.py "

GATE_NAMES: Final = tuple(gate.__name__ for gate in rules.GATES)
GATE_TITLES: Final = {
    "backup_valid": "A fresh, tested backup",
    "stored_stages_clean": "Stored rows are clean",
    "would_refuse": "Few requests would be refused",
    "way_back_proven": "The way back works",
    "instances_converged": "All servers agree",
    "cooldown": "No recent way back",
    "consumers_known": "The consumers are known",
}
# Gate → the name of the page that helps, with a part of it, and the text of the link.
GATE_PLACES: Final = {
    "backup_valid": ("admin:ops_backup_changelist", "Backups"),
    "stored_stages_clean": ("admin:ops_backfillrun_changelist", "Backfill runs"),
    "would_refuse": ("ops-spellings", "Decide spellings"),
    "way_back_proven": ("admin:ops_heartbeat_changelist", "Heartbeats"),
    "instances_converged": ("ops-rollout#instances", "Servers"),
    "cooldown": ("admin:ops_webhookdelivery_changelist", "Webhook deliveries"),
    "consumers_known": ("admin:ops_consumerdecision_changelist", "Decisions about consumers"),
}
# The step in force holds the next one as a gate does, but no other change.
STEP_TITLE: Final = "The step has run long enough"
STEP_PLACE: Final = ("ops-rollout#plan", "The plan")

# Outcome → class, icon and word of a row.
_OUTCOMES: Final = {
    "pass": ("ok", "ok", "Passes"),
    "fail": ("hold", "no", "Holds"),
    "inconclusive": ("wait", "alert", "Not known"),
}

T = TypeVar("T")


def softly(part: str, read: Callable[[], T], seconds: float = PAGE_SECONDS) -> T | None:
    """Return what `read` returns; log and return None if it fails.

    A statement of `read` that takes longer than `seconds` fails too. Any exception is caught,
    because the operator takes enforcement back on this page: it must come up without the part.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [f"{seconds * 1000:.0f}"]
                )
            return read()
    except Exception:
        log.exception("stage_console_part_missing", part=part)
        return None


@dataclass(frozen=True, slots=True)
class StatusFact:
    """One term and value at the head of a page, with a quiet note. `css` is the class of its box.

    A `badge` is a gate's outcome, which the value is drawn with.
    """

    term: str
    value: str
    note: str = ""
    css: str = ""
    badge: str = ""


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate on a page. `command` or `advice` is its remedy; `url` shows its facts."""

    verdict: GateVerdict | StepVerdict
    title: str
    command: str
    advice: str
    url: str
    place: str

    @property
    def css(self) -> str:
        """Its class in the style sheet."""
        return _OUTCOMES[str(self.verdict.outcome)][0]

    @property
    def icon(self) -> str:
        """The name of its icon."""
        return _OUTCOMES[str(self.verdict.outcome)][1]

    @property
    def word(self) -> str:
        """Its outcome for readers who do not see the icon."""
        return _OUTCOMES[str(self.verdict.outcome)][2]

    @property
    def passes(self) -> bool:
        """Whether the gate allows more enforcement."""
        return self.verdict.outcome == GateOutcome.PASS


@dataclass(frozen=True, slots=True)
class GatePanel:
    """The step in force and every gate, with the state of the way back and the judged requests."""

    rows: list[GateRow]
    way_back: WayBack
    traffic: EnforcedTraffic

    def row(self, gate: str) -> GateRow:
        """Return the row of one gate by its name."""
        return next(row for row in self.rows if row.verdict.gate == gate)

    @property
    def ordered(self) -> list[GateRow]:
        """The rows, those that do not pass first."""
        return sorted(self.rows, key=lambda row: row.passes)

    @property
    def held(self) -> list[str]:
        """The titles of the gates that do not pass."""
        return [row.title for row in self.rows if not row.passes]

    @property
    def held_gates(self) -> list[str]:
        """The titles of the gates that hold any change; the plan holds its next step alone."""
        named = (row for row in self.rows if row.verdict.gate != rollout_plan.GATE)
        return [row.title for row in named if not row.passes]

    @property
    def summary(self) -> str:
        """How many gates pass."""
        return f"{len(self.rows) - len(self.held)} of {len(self.rows)} checks pass"

    @property
    def sentence(self) -> str:
        """The number of gates that do not pass."""
        held = len(self.held)
        if not held:
            return "Nothing holds the next step."
        count = str(apnumber(held)).capitalize()
        return f"{count} thing{'s hold' if held > 1 else ' holds'} the next step."


def ask_gates(
    version: int,
    asked: Rollout | None,
    found: StepStanding | None,
    sent: SentTraffic | None = None,
) -> GatePanel:
    """Examine every gate, as `manage.py rollout_status` does, but without reading backup files.

    `asked` is the rollout to judge; None for every client (see `facts.collect`). `found`: where
    the rollout stands in its plan. The step in force comes first where there is a next one.
    `sent`: the requests of 24 hours, if the page has read them.
    """
    known = facts.collect(version, asked, read_files=False, sent=sent)
    rows = [_row(verdict) for verdict in rules.examine(known)]
    if found is not None and found.verdict is not None and found.next is not None:
        rows.insert(0, _row(found.verdict))
    return GatePanel(rows, way_back_of(known), known.traffic)


def refusal(verdicts: Sequence[GateVerdict]) -> str:
    """Return why a change is held, one line for each of `verdicts`, in plain words."""
    lines = [f"{_title(each.gate)}: {each.sentence}" for each in verdicts]
    return "\n".join(["These checks hold the change.", *lines])


def _row(verdict: GateVerdict | StepVerdict) -> GateRow:
    is_command = verdict.remedy.startswith(COMMAND)
    address, place = GATE_PLACES.get(verdict.gate, STEP_PLACE)
    return GateRow(
        verdict=verdict,
        title=_title(verdict.gate),
        command=verdict.remedy if is_command else "",
        advice="" if is_command else verdict.remedy,
        url=_url(address),
        place=place,
    )


def _title(gate: str) -> str:
    return GATE_TITLES.get(gate, STEP_TITLE)


def _url(address: str) -> str:
    """Return the address of a page, with the part of the page after `#`."""
    name, mark, part = address.partition("#")
    return f"{reverse(name)}{mark}{part}"
