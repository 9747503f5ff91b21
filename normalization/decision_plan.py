"""What a set of decisions would change: a plan, as a pure value.

A plan compares rows (from a file, a pack or a form) with the decisions in force. It lists what is
new, changed, retired and unchanged, and every conflict that forbids the row. Its hash covers the
rows and the version of the decisions it was made against, so a person approves exactly what
`decisions.apply` then does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import BUILTIN, LONGEST, Stage

LONGEST_KIND: Final = 60
LONGEST_TEXT: Final = 500
"""The most characters of a note and of a source."""
HASH_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class DecisionChange:
    """A decision that another one replaces."""

    before: DecisionRow
    after: DecisionRow


@dataclass(frozen=True, slots=True)
class DecisionConflict:
    """A row that cannot be decided, and why."""

    row: DecisionRow
    why: str


@dataclass(frozen=True, slots=True)
class DecisionPlan:
    """What `decisions.apply` would do, each part in order of the keys.

    `version` is that of the decisions which the rows were compared with. A plan with conflicts
    cannot be applied.
    """

    version: int
    new: tuple[DecisionRow, ...]
    changed: tuple[DecisionChange, ...]
    retired: tuple[DecisionRow, ...]
    unchanged: tuple[DecisionRow, ...]
    conflicts: tuple[DecisionConflict, ...]
    hash: str

    @property
    def written(self) -> list[DecisionRow]:
        """The rows that come into force."""
        return [*self.new, *(change.after for change in self.changed)]

    @property
    def changes(self) -> int:
        """How many spellings get another meaning."""
        return len(self.new) + len(self.changed) + len(self.retired)


def make_plan(
    rows: Iterable[DecisionRow],
    in_force: Mapping[str, DecisionRow],
    version: int,
    *,
    prune: bool = False,
) -> DecisionPlan:
    """Compare `rows` with the decisions in force (folded spelling → row).

    Decisions whose spelling is absent from `rows` stay, unless `prune` retires them.
    """
    rows = sorted(rows, key=lambda row: (row.key, row.spelling))
    conflicts = tuple(_conflicts(rows))
    refused = {conflict.row.key for conflict in conflicts}
    sound = [row for row in rows if row.key not in refused]
    known = [(row, in_force.get(row.key)) for row in sound]
    given = {row.key for row in rows}
    absent = [in_force[key] for key in sorted(in_force) if key not in given] if prune else []
    return DecisionPlan(
        version=version,
        new=tuple(row for row, before in known if before is None),
        changed=tuple(
            DecisionChange(before, row)
            for row, before in known
            if before is not None and _meaning(before) != _meaning(row)
        ),
        retired=tuple(absent),
        unchanged=tuple(
            row
            for row, before in known
            if before is not None and _meaning(before) == _meaning(row)
        ),
        conflicts=conflicts,
        hash=_hash(rows, version, prune),
    )


def _meaning(row: DecisionRow) -> tuple[DecisionVerdict, Stage | None, str, str]:
    """Return what clients can notice of a decision; rows with one meaning change nothing."""
    return row.verdict, row.stage, row.kind, row.note


def _conflicts(rows: list[DecisionRow]) -> Iterator[DecisionConflict]:
    seen: set[str] = set()
    for row in rows:
        why = _fault(row)
        if row.key in seen:
            why = why or "another row has the same folded spelling"
        seen.add(row.key)
        if why:
            yield DecisionConflict(row, why)


def _fault(row: DecisionRow) -> str:
    """Return why the row cannot be decided, or ""."""
    if BUILTIN.holds(row.key):
        return "it is a built-in spelling, which cannot be decided"
    if len(row.spelling) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if (row.verdict is DecisionVerdict.STAGE) != (row.stage is not None):
        return "a stage belongs to the verdict stage, and to no other"
    if len(row.kind) > LONGEST_KIND:
        return f"its kind is longer than {LONGEST_KIND} characters"
    if max(len(row.note), len(row.source)) > LONGEST_TEXT:
        return f"its note or source is longer than {LONGEST_TEXT} characters"
    if not all(map(_storable, (row.spelling, row.kind, row.note, row.source))):
        return "it holds a character that the database cannot store (NUL or half of a pair)"
    return ""


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _hash(rows: list[DecisionRow], version: int, prune: bool) -> str:
    content = [[row.spelling, *_meaning(row), row.source] for row in rows]
    text = json.dumps([version, prune, content], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
