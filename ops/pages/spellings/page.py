"""`/admin/ops/spellings/`: the undecided spellings, heaviest first, with a verdict for each.

The page only reads. Its form goes to `draft_view`, which adds what was chosen to the operator's
draft; `preview` shows what the draft would change and saves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from normalization.decision_warnings import DecisionWarning, warnings
from normalization.stages import Stage
from ops.pages.panels import softly
from ops.pages.rollout.page import unavailable
from ops.pages.spellings import tabs
from ops.pages.spellings.drafts import Draft, DraftChoice, draft_token, read_draft, signed_in
from ops.pages.spellings.effects import requests_of_the_week, senders_of, share_of
from ops.pages.spellings.inbox import (
    InboxPage,
    InboxUnit,
    UnitMember,
    VerdictShare,
    members_of,
    read_page,
    read_shares,
)
from ops.pages.spellings.links import ORDER_NAMES, TABS, InboxAddress
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.weights import ensure_fresh

EXPANDED: Final = 200
"""How many members of the unit in the panel are listed, to be unticked."""

LIMIT_PERCENT: Final = 0.5
VERDICT_BUTTONS: Final = (
    *((stage.value, stage.removeprefix("series-").capitalize()) for stage in Stage),
    ("outside", "Outside"),
    ("open", "Open"),
)


@dataclass(frozen=True, slots=True)
class VerdictButton:
    """One of the radio buttons of a unit."""

    value: str
    word: str
    checked: bool

    @property
    def title(self) -> str:
        """The full name, for a pointer and a screen reader."""
        more = {"outside": "outside: none of the six", "open": "leave open"}
        return more.get(self.value, self.value)


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit on the page, with what the draft holds for it. `number` tells its fields apart."""

    number: int
    unit: InboxUnit
    choice: DraftChoice | None
    members: Sequence[UnitMember]
    focused: bool
    flag: str

    @property
    def buttons(self) -> list[VerdictButton]:
        """The verdicts, the chosen one checked."""
        chosen = self.choice.choice if self.choice else ""
        return [VerdictButton(value, word, value == chosen) for value, word in VERDICT_BUTTONS]

    @property
    def first(self) -> UnitMember:
        """The heaviest member, after which the unit is named."""
        return self.members[0]

    @property
    def unlisted(self) -> int:
        """How many members are not listed."""
        return self.unit.size - len(self.members)

    @property
    def left_out(self) -> int:
        """How many members were unticked."""
        return len(self.choice.without) if self.choice else 0

    @property
    def kept(self) -> list[tuple[UnitMember, bool]]:
        """Each listed member, and whether it is ticked."""
        without = self.choice.without if self.choice else frozenset()
        return [(member, member.spelling not in without) for member in self.members]

    @property
    def hint(self) -> str:
        """What the unit probably is, where nothing is chosen yet."""
        if self.choice or not self.unit.looks_like:
            return ""
        return f"Looks like {self.unit.looks_like}."


@dataclass(frozen=True, slots=True)
class GoalBar:
    """How far a share has to fall, in percent: now, with the draft, and the limit of its check."""

    what: str
    now: float
    after: float

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
        """Whether the check passes with the draft."""
        return self.after < LIMIT_PERCENT


def flag_of(choice: DraftChoice | None, members: Sequence[UnitMember], size: int) -> str:
    """Return why a choice needs a second look, "" if nothing speaks against it.

    Only the listed members of the unit's `size` are judged; the preview judges all of them.
    """
    found = list(_warned(choice, members)) if choice else []
    if not found:
        return ""
    more = f" This holds for {len(found)} of {size} spellings." if len(found) > 1 else ""
    return f"{found[0].sentence}{more}"


def _warned(choice: DraftChoice, members: Sequence[UnitMember]) -> Iterator[DecisionWarning]:
    """Yield the first hard warning of each listed member that is ticked."""
    for member in members:
        found = warnings(member.spelling, choice.verdict, choice.stage)
        if member.spelling not in choice.without and found and found[0].hard:
            yield found[0]


@require_safe
def spellings_page(request: HttpRequest) -> HttpResponse:
    """Show a tab of the inbox."""
    address = InboxAddress.of(request.GET)
    try:
        counted = ensure_fresh(timezone.now())
        draft = read_draft(signed_in(request))
        context = _context(request, address, counted, draft)
        if address.tab in ("", "open"):
            context |= _inbox(address, draft, counted)
        else:
            context |= tabs.read_tab(address)
    except StoreError:
        return unavailable(request)
    return TemplateResponse(request, f"admin/ops/spellings/{_template(address.tab)}.html", context)


def _template(tab: str) -> str:
    return {"": "inbox", "open": "inbox", "covered": "covered"}.get(tab, "decided")


def _context(
    request: HttpRequest, address: InboxAddress, counted: SpellingCount | None, draft: Draft
) -> dict[str, Any]:
    counts = tabs.tab_counts(counted)
    return {
        **admin.site.each_context(request),
        "title": "Spellings",
        "address": address,
        "counted": counted,
        "draft": draft,
        "token": draft_token(request.user),
        "may_decide": request.user.has_perm(tabs.PERMISSION),
        "tabs": [
            (word, address.__class__(tab=tab).url(), tab == address.tab, counts.get(tab, 0))
            for tab, word in TABS.items()
        ],
    }


def _inbox(address: InboxAddress, draft: Draft, counted: SpellingCount | None) -> dict[str, Any]:
    page = read_page(address.query)
    rows = _rows(page, address, draft)
    focused = next((row for row in rows if row.focused), None)
    return {
        "rows": rows,
        "focused": focused,
        "senders": softly("senders", lambda: _senders(focused)) if focused else None,
        "orders": [(name, word, name == address.order) for name, word in ORDER_NAMES.items()],
        "goal": softly("goal", lambda: _goal(counted, draft)) if counted else None,
        "previous_url": address.url(page=address.page - 1, at="") if address.page > 1 else "",
        "has_next": page.has_next,
    }


def _rows(page: InboxPage, address: InboxAddress, draft: Draft) -> list[UnitRow]:
    expanded: Mapping[str, Sequence[UnitMember]] = {}
    if address.at:
        expanded = members_of([address.at], verdict=address.query.verdict, listed=EXPANDED)
    return [
        _row(number, unit, draft, expanded.get(unit.code, unit.members), unit.code == address.at)
        for number, unit in enumerate(page.listed)
        if unit.members
    ]


def _row(
    number: int, unit: InboxUnit, draft: Draft, members: Sequence[UnitMember], focused: bool
) -> UnitRow:
    choice = draft.choices.get(unit.code)
    return UnitRow(number, unit, choice, members, focused, flag_of(choice, members, unit.size))


def _senders(row: UnitRow) -> list[tuple[str, int, float]]:
    """Return (client, requests, percent of the unit's requests), most first."""
    every = max(row.unit.requests, 1)
    return [
        (name, count, 100 * count / every) for name, count in senders_of(row.unit.code).items()
    ]


def _goal(counted: SpellingCount, draft: Draft) -> dict[str, Any]:
    """Return the bars of stored rows and of requests, and how much the draft settles."""
    shares = read_shares(counted)
    undecided = _added(shares.get("", VerdictShare()), shares.get("open", VerdictShare()))
    without = [spelling for choice in draft.choices.values() for spelling in choice.without]
    decided = [unit for unit in draft.units if draft.choices[unit].choice != "open"]
    chosen = share_of(decided, without) if decided else VerdictShare()
    rows, requests = sum(share.rows for share in shares.values()), requests_of_the_week()
    return {
        "settles": _percent(chosen.rows, undecided.rows),
        "bars": [
            _bar("Stored rows", undecided.rows, chosen.rows, rows),
            _bar("Requests of 7 days", undecided.requests, chosen.requests, requests),
        ],
    }


def _bar(what: str, undecided: int, chosen: int, every: int) -> GoalBar:
    # A request may give several spellings, so their counts may exceed the requests.
    now = min(_percent(undecided, every), 100)
    return GoalBar(what, now, now * (undecided - chosen) / undecided if undecided else 0)


def _added(one: VerdictShare, other: VerdictShare) -> VerdictShare:
    return VerdictShare(
        one.spellings + other.spellings, one.rows + other.rows, one.requests + other.requests
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0
