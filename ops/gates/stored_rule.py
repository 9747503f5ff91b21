"""When the stored stages are clean: the rule of the gate `stored_stages_clean`.

Pure functions over counted rows. `ops.backfill.stored` counts them. Two things are asked, each
with its own remedy: every row holds what today's decisions give to its text, and few rows are
undecided. Real data always has texts that occur once, so a share of them is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

UNDECIDED_PER_MILLE: Final = 5  # 0.5 %
# In each column. Counting stops there, because more rows give the same verdict.
NOT_DERIVED_COUNTED_TO: Final = 10_000

DERIVE: Final = "derive them: manage.py normalize_stages --apply"
DECIDE: Final = "decide these spellings: /admin/ops/spellings/ or manage.py stage_decisions"


@dataclass(frozen=True, slots=True)
class StoredStages:
    """Stored rows with a stage, judged by today's decisions.

    `not_derived` of the `rows` do not hold what their text gives (at least so many, from
    NOT_DERIVED_COUNTED_TO on). The text of `undecided` rows is undecided; `spellings` are the most
    frequent of these texts.
    """

    rows: int
    not_derived: int
    undecided: int
    spellings: tuple[str, ...] = ()

    @property
    def share_undecided(self) -> str:
        """The undecided rows, of how many, in words."""
        percent = 100 * self.undecided / max(self.rows, 1)
        return f"{self.undecided:,} of {self.rows:,} ({percent:.2f} %)"

    def evidence(self) -> dict[str, Any]:
        """Return the figures as they are recorded with a verdict."""
        return {
            "rows": self.rows,
            "not_derived_rows": self.not_derived,
            "undecided_rows": self.undecided,
            "spellings": list(self.spellings),
        }


def stored_faults(stored: StoredStages) -> list[tuple[str, str]]:
    """Return what holds the gate: each fault as a sentence, with its remedy."""
    faults = []
    if stored.not_derived:
        faults.append((_not_derived(stored), DERIVE))
    # Whole numbers: exactly 0.5 % must not depend on rounding.
    if stored.undecided and 1000 * stored.undecided >= UNDECIDED_PER_MILLE * stored.rows:
        faults.append((_too_many_undecided(stored), DECIDE))
    return faults


def _not_derived(stored: StoredStages) -> str:
    least = "at least " if stored.not_derived >= NOT_DERIVED_COUNTED_TO else ""
    return (
        "Stored rows do not hold what today's decisions give: "
        f"{least}{stored.not_derived:,} of {stored.rows:,}."
    )


def _too_many_undecided(stored: StoredStages) -> str:
    most = ", ".join(repr(raw) for raw in stored.spellings)
    return (
        f"Too many stored rows are undecided: {stored.share_undecided}. "
        f"The limit is 0.5 %. Most frequent: {most}."
    )
