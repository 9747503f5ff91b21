"""The draft: what an operator chose in the inbox and has not saved yet.

It is kept in the database, so it survives a reload, another browser and an expired session. Every
form and every key press adds to it; only the preview turns it into decisions. A signed token in
the page lets a form that is sent after the session has ended still reach the draft of its
operator. It gives no other access.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core import signing
from django.db import connection
from django.http import HttpRequest

from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage
from ops.pages.spellings.models import DecisionDraft

CHOICES: Final = (*(stage.value for stage in Stage), "outside", "open")
"""What can be chosen: a stage, or one of the two verdicts without one."""

EXPLICIT: Final = "row:"
"""Begins the name of a choice about one spelling that stands in no unit of the inbox."""

PACK: Final = "pack:"
"""Begins the name of a starter pack in a draft. Its rows have verdicts of their own."""

AS_LISTED: Final = "as listed"
"""What is chosen for a pack."""

_STAGES: Final = frozenset(stage.value for stage in Stage)

TOKEN_SALT: Final = "stagenorm.decision-draft"  # noqa: S105 (names the purpose, no secret)
TOKEN_AGE: Final = timedelta(days=1)

# One statement: two tabs of one operator add to the same draft.
CHANGE: Final = """
INSERT INTO ops_decisiondraft (operator_id, choices, reason, updated_at)
VALUES (%(operator)s, jsonb_strip_nulls(%(choices)s::jsonb), coalesce(%(reason)s, ''), now())
ON CONFLICT (operator_id) DO UPDATE
SET choices = jsonb_strip_nulls(ops_decisiondraft.choices || %(choices)s::jsonb),
    reason = coalesce(%(reason)s, ops_decisiondraft.reason), updated_at = now()
"""


@dataclass(frozen=True, slots=True)
class DraftChoice:
    """What was chosen for a unit. `without` are the members that were unticked.

    A choice about a single spelling that is decided already, or that came in a file, has a `row`
    instead of a unit. The choice of a pack is AS_LISTED, which has no single verdict.
    """

    choice: str
    without: frozenset[str] = frozenset()
    row: DecisionRow | None = None

    @property
    def verdict(self) -> DecisionVerdict:
        """The verdict that is chosen."""
        return verdict_and_stage(self.choice)[0]

    @property
    def stage(self) -> Stage | None:
        """The stage that is chosen, None with any other verdict."""
        return verdict_and_stage(self.choice)[1]


@dataclass(frozen=True, slots=True)
class Draft:
    """All choices of an operator by unit, and the reason typed so far."""

    choices: Mapping[str, DraftChoice] = field(default_factory=dict)
    reason: str = ""

    @property
    def units(self) -> list[str]:
        """The units of the inbox that something is chosen for."""
        return [
            unit
            for unit, choice in self.choices.items()
            if choice.row is None and choice.choice != AS_LISTED
        ]

    @property
    def packs(self) -> list[str]:
        """The names of the starter packs that are chosen."""
        return [
            unit.removeprefix(PACK)
            for unit, choice in self.choices.items()
            if choice.choice == AS_LISTED
        ]

    @property
    def sentence(self) -> str:
        """How many choices are a pack, a stage, outside and left open."""
        chosen = [each.choice for each in self.choices.values()]
        counts = {
            "starter packs" if len(self.packs) > 1 else "starter pack": len(self.packs),
            "to a stage": sum(choice in _STAGES for choice in chosen),
            "outside": chosen.count("outside"),
            "left open": chosen.count("open"),
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def verdict_and_stage(choice: str) -> tuple[DecisionVerdict, Stage | None]:
    """Return what a choice means. Raises ValueError for any text that is not in CHOICES."""
    if choice in ("outside", "open"):
        return DecisionVerdict(choice), None
    return DecisionVerdict.STAGE, Stage(choice)


def read_draft(operator: int) -> Draft:
    """Return the draft of the operator with this id; an empty one if there is none."""
    draft = DecisionDraft.objects.filter(operator=operator).first()
    if draft is None:
        return Draft()
    choices = {unit: _choice(value) for unit, value in draft.choices.items()}
    return Draft(choices, draft.reason)


def change_draft(
    operator: int, choices: Mapping[str, DraftChoice | None], reason: str | None = None
) -> None:
    """Add choices to the draft; None takes a choice out. `reason` None keeps the old one."""
    values = {unit: choice and _to_json(choice) for unit, choice in choices.items()}
    with connection.cursor() as cursor:
        cursor.execute(
            CHANGE, {"operator": operator, "choices": json.dumps(values), "reason": reason}
        )


def clear_draft(operator: int) -> None:
    """Forget the draft."""
    DecisionDraft.objects.filter(operator=operator).delete()


def draft_token(user: AbstractBaseUser | AnonymousUser) -> str:
    """Return the token with which a form may reach the draft of `user` for a day."""
    return signing.dumps(user.pk, salt=TOKEN_SALT)


def signed_in(request: HttpRequest) -> int:
    """Return the id of the user of a page that only members of staff reach."""
    return int(request.user.pk or 0)


def operator_of(request: HttpRequest) -> int | None:
    """Return the id of the operator whose draft the request may change, None without any.

    That is the member of staff who is signed in, or else the one whom the token names.
    """
    user = request.user
    if user.is_authenticated:
        return int(user.pk) if user.is_staff else None
    try:
        token = request.POST.get("token", "")
        return int(signing.loads(token, salt=TOKEN_SALT, max_age=TOKEN_AGE))
    except signing.BadSignature:
        return None


def explicit(row: DecisionRow) -> tuple[str, DraftChoice]:
    """Return the name and the choice for one row of a file, or for a decision to change."""
    choice = row.stage.value if row.stage else row.verdict.value
    return f"{EXPLICIT}{row.key}", DraftChoice(choice, row=row)


def _choice(value: dict[str, Any]) -> DraftChoice:
    without = frozenset(value.get("without", ()))
    row = value.get("row")
    if row is None:
        return DraftChoice(value["choice"], without)
    verdict, stage = verdict_and_stage(value["choice"])
    decided = DecisionRow(row["spelling"], verdict, stage, row["kind"], row["note"], row["source"])
    return DraftChoice(value["choice"], without, decided)


def _to_json(choice: DraftChoice) -> dict[str, Any]:
    value: dict[str, Any] = {"choice": choice.choice}
    if choice.without:
        value["without"] = sorted(choice.without)
    if choice.row is not None:
        value["row"] = {
            name: getattr(choice.row, name) for name in ("spelling", "kind", "note", "source")
        }
    return value
