"""How far the undecided share has to fall, now and with what the operator chose so far.

Two checks hold a rollout for undecided spellings, and both have the limit of 0.5 %: one counts
stored rows, the other requests. The head of the inbox shows both shares and what would reach the
limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ops.admin_ui.characters import Visible
from ops.pages.spellings.drafts import Draft
from ops.pages.spellings.effects import requests_of_the_week, share_of
from ops.pages.spellings.inbox import InboxQuery, InboxUnit, VerdictShare, read_page, read_shares
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.packs import keys_of

LIMIT_PERCENT: Final = 0.5


@dataclass(frozen=True, slots=True)
class GoalBar:
    """A share of undecided rows or requests: `undecided` and `chosen` of `every`."""

    what: str
    undecided: int
    chosen: int
    every: int

    @property
    def now(self) -> float:
        """The undecided share in percent."""
        # A request may give several spellings, so their number may exceed the requests.
        return min(100 * self.undecided / self.every, 100) if self.every else 0

    @property
    def after(self) -> float:
        """The undecided share in percent once the choices are saved."""
        return self.now * self.left / self.undecided if self.undecided else 0

    @property
    def left(self) -> int:
        """How many stay undecided."""
        return max(self.undecided - self.chosen, 0)

    @property
    def settled(self) -> float:
        """How much of the undecided the choices settle, in percent."""
        return 100 * self.chosen / self.undecided if self.undecided else 0

    @property
    def after_width(self) -> float:
        """The share afterwards, in thousandths of the one now."""
        return 1000 * self.after / self.now if self.now else 0

    @property
    def limit_at(self) -> float:
        """The limit, in thousandths of the share now."""
        return min(1000 * LIMIT_PERCENT / self.now, 1000) if self.now else 1000

    @property
    def reached(self) -> bool:
        """Whether the check passes with the choices."""
        return self.after < LIMIT_PERCENT

    def reached_without(self, settled: int) -> bool:
        """Return whether the check passes if `settled` more are decided."""
        return 100 * (self.left - settled) < LIMIT_PERCENT * self.every


@dataclass(frozen=True, slots=True)
class InboxGoal:
    """The bars, and the heaviest units that would reach the limit in both.

    `missing` is empty if the limit is reached already, or if no page of units reaches it.
    """

    bars: Sequence[GoalBar]
    missing: Sequence[Visible]

    @property
    def reached(self) -> bool:
        """Whether both checks pass with the choices."""
        return all(bar.reached for bar in self.bars)

    @property
    def settled(self) -> float:
        """How much of the undecided rows the choices settle, in percent."""
        return self.bars[0].settled


def read_goal(
    counted: SpellingCount, draft: Draft, heaviest: Sequence[InboxUnit] | None = None
) -> InboxGoal:
    """Return how far the limit is with the choices of `draft`.

    `heaviest` is the first page of the inbox where the caller has read it already.
    """
    shares = read_shares(counted)
    undecided = _added(shares.get("", VerdictShare()), shares.get("open", VerdictShare()))
    rows, requests = sum(share.rows for share in shares.values()), requests_of_the_week()
    chosen = _chosen(draft)
    bars = (
        GoalBar("Stored rows", undecided.rows, chosen.rows, rows),
        GoalBar("Requests of 7 days", undecided.requests, chosen.requests, requests),
    )
    return InboxGoal(bars, _missing(bars, draft, heaviest))


def _chosen(draft: Draft) -> VerdictShare:
    """Return what the choices settle. To leave open settles nothing."""
    units = [unit for unit in draft.units if draft.choices[unit].choice != "open"]
    without = [spelling for choice in draft.choices.values() for spelling in choice.without]
    keys = [
        choice.row.key
        for choice in draft.choices.values()
        if choice.row is not None and choice.choice != "open"
    ]
    keys += keys_of(draft.packs)
    return share_of(units, keys, without) if units or keys else VerdictShare()


def _missing(
    bars: Sequence[GoalBar], draft: Draft, heaviest: Sequence[InboxUnit] | None
) -> list[Visible]:
    """Return the heaviest units without a choice that reach the limit, of the first page."""
    if all(bar.reached for bar in bars):
        return []
    found: list[Visible] = []
    rows = requests = 0
    for unit in read_page(InboxQuery()).listed if heaviest is None else heaviest:
        if unit.code in draft.choices or not unit.members:
            continue
        found.append(unit.members[0].shown)
        rows += unit.rows
        requests += unit.requests
        if bars[0].reached_without(rows) and bars[1].reached_without(requests):
            return found
    return []


def _added(one: VerdictShare, other: VerdictShare) -> VerdictShare:
    return VerdictShare(
        one.spellings + other.spellings, one.rows + other.rows, one.requests + other.requests
    )
