"""The other tabs: what was decided, and the new spellings of decided groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Count, Q

from normalization.decision_warnings import DecisionVerdict
from normalization.models import StageDecision
from normalization.spelling_groups import GROUPS
from ops.admin_ui.characters import Visible, visible
from ops.pages.spellings.drafts import CHOICES
from ops.pages.spellings.effects import KeyWeight, weights_of
from ops.pages.spellings.inbox import SENT
from ops.pages.spellings.links import InboxAddress
from ops.pages.spellings.models import SpellingCount

PERMISSION: Final = "normalization.add_stagedecision"
LISTED: Final = 50
MEMBERS_LISTED: Final = 60

# Spellings of a group that came after the group was decided in bulk, with one verdict.
COVERED: Final = f"""{SENT}, bulk AS (
    SELECT labels.unit, min(verdict) AS verdict, min(stage) AS stage,
           max(created_at) AS decided_at
    FROM unnest(%(units)s::text[], %(labels)s::text[]) AS labels (unit, label)
    JOIN normalization_stagedecision AS decision ON decision.kind = labels.label
    WHERE superseded_at IS NULL AND verdict <> 'open'
    GROUP BY labels.unit HAVING count(DISTINCT (verdict, stage)) = 1
)
SELECT held.unit, bulk.verdict, bulk.stage, bulk.decided_at, held.spelling, held.rows,
       coalesce(sent.requests, 0)
FROM bulk
JOIN ops_spellingunit AS left_over
     ON left_over.unit = bulk.unit COLLATE "C" AND NOT opened
JOIN ops_spellingweight AS held ON held.unit = left_over.unit
LEFT JOIN sent USING (spelling)
WHERE held.verdict = '' AND held.seen_at > bulk.decided_at
  AND (held.rows > 0 OR sent.requests IS NOT NULL)
ORDER BY held.unit, held.rows + coalesce(sent.requests, 0) DESC, held.spelling
"""  # noqa: S608 (constants of this module)


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A decision in force, with what it decides about."""

    decision: StageDecision
    shown: Visible
    weight: KeyWeight

    @property
    def choice(self) -> str:
        """Its stage, or the verdict without one."""
        return self.decision.stage or self.decision.verdict


@dataclass(frozen=True, slots=True)
class CoveredMember:
    """A new spelling of a decided group."""

    spelling: str
    shown: Visible
    rows: int
    requests: int


@dataclass(slots=True)
class CoveredUnit:
    """A decided group with its new spellings. `choice` is the group's stage, or `outside`."""

    code: str
    label: str
    choice: str
    decided_at: Any
    members: list[CoveredMember]

    @property
    def rows(self) -> int:
        """The stored rows of all new members."""
        return sum(member.rows for member in self.members)

    @property
    def requests(self) -> int:
        """The requests of seven days of all new members."""
        return sum(member.requests for member in self.members)


def tab_counts(counted: SpellingCount | None) -> dict[str, int]:
    """Return how many spellings each tab has."""
    shares: Mapping[str, list[int]] = counted.shares if counted else {}
    in_force = StageDecision.objects.filter(superseded_at__isnull=True).aggregate(
        stage=Count("pk", filter=Q(verdict=DecisionVerdict.STAGE)),
        outside=Count("pk", filter=Q(verdict=DecisionVerdict.OUTSIDE)),
    )
    return {
        "": shares.get("", [0])[0],
        "open": shares.get("open", [0])[0],
        "covered": sum(len(unit.members) for unit in covered_units()),
        **in_force,
    }


def read_tab(address: InboxAddress) -> dict[str, Any]:
    """Return the content of the tab of decisions or of newly covered spellings."""
    if address.tab == "covered":
        return {"covered": covered_units()}
    skipped = (address.page - 1) * LISTED
    found = StageDecision.objects.filter(superseded_at__isnull=True, verdict=address.tab)
    if address.named:
        found = found.filter(
            Q(spelling__icontains=address.named)
            | Q(stage__icontains=address.named)
            | Q(kind__icontains=address.named)
            | Q(decided_by__icontains=address.named)
        )
    page = list(found.order_by("-created_at", "key")[skipped : skipped + LISTED + 1])
    weights = weights_of(decision.key for decision in page[:LISTED])
    return {
        "rows": [
            DecidedRow(each, visible(each.spelling), weights.get(each.key, KeyWeight()))
            for each in page[:LISTED]
        ],
        "choices": CHOICES,
        "previous_url": address.url(page=address.page - 1) if address.page > 1 else "",
        "next_url": address.url(page=address.page + 1) if len(page) > LISTED else "",
    }


def covered_units() -> list[CoveredUnit]:
    """Return the decided groups that have new spellings, each with them, the heaviest first."""
    labels = {group.code: group.label for group in GROUPS}
    with connection.cursor() as cursor:
        cursor.execute(COVERED, {"units": list(labels), "labels": list(labels.values())})
        rows = cursor.fetchall()
    found: dict[str, CoveredUnit] = {}
    for code, verdict, stage, decided_at, spelling, stored, requests in rows:
        unit = found.setdefault(
            code, CoveredUnit(code, labels[code], stage or verdict, decided_at, [])
        )
        unit.members.append(CoveredMember(spelling, visible(spelling), stored, requests))
    return list(found.values())
