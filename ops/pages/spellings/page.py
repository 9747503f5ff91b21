"""`/admin/ops/spellings/`: the undecided spellings, heaviest first, with a verdict for each.

The page only reads. Its form goes to `draft_view`, which adds what was chosen to the operator's
draft; `preview` shows what the draft would change and saves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from normalization.decision_warnings import DecisionVerdict, DecisionWarning, warnings
from normalization.models import DecisionBatch
from normalization.stages import Stage
from ops.pages.console import console_context
from ops.pages.panels import softly
from ops.pages.rollout.page import unavailable
from ops.pages.spellings import tabs
from ops.pages.spellings.drafts import Draft, DraftChoice, draft_token, read_draft, signed_in
from ops.pages.spellings.effects import KeyWeight, senders_of
from ops.pages.spellings.goal import InboxGoal, read_goal
from ops.pages.spellings.inbox import (
    OPENED,
    UNITS_LISTED,
    InboxPage,
    InboxQuery,
    InboxUnit,
    UnitMember,
    members_of,
    read_page,
    similar_to,
)
from ops.pages.spellings.links import ORDER_NAMES, TABS, InboxAddress
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.packs import InboxOffer, best_offer
from ops.pages.spellings.weights import ensure_fresh

EXPANDED: Final = 200
"""How many members of the unit in the panel are listed, to be unticked."""

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
        more = {
            "outside": "outside: none of the six",
            "open": "leave open: undecided, hidden until it grows tenfold",
        }
        return more.get(self.value, self.value)


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit on the page, with what the draft holds for it under its `name`.

    `number` tells its fields apart.
    """

    number: int
    name: str
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
        """What the unit usually or probably is, where nothing is chosen yet."""
        group = self.unit.group
        if self.choice:
            return ""
        if group is not None and group.verdict is not DecisionVerdict.CHOOSE:
            return f"Usually {group.stage or group.verdict.value}."
        if self.unit.looks_like:
            return f"Looks like {self.unit.looks_like}."
        return "Your own policy decides." if group is not None else ""

    @property
    def usual(self) -> str:
        """What the spellings of the unit's group usually mean."""
        group = self.unit.group
        if group is None or group.verdict is DecisionVerdict.CHOOSE:
            return "What they mean is your own policy."
        return f"They usually mean {group.stage}." if group.stage else "They are usually outside."

    @property
    def better(self) -> str:
        """The stage that the text names, where another verdict was chosen; or ""."""
        stage = self.unit.looks_like
        return stage if self.flag and self.choice and self.choice.choice != stage else ""


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
        if address.tab == "":
            context["offer"] = softly("offer", lambda: _offer(draft, context["goal"]))
        if address.tab not in ("", "open"):
            context |= tabs.read_tab(address)
    except StoreError:
        return unavailable(request)
    return TemplateResponse(request, f"admin/ops/spellings/{_template(address.tab)}.html", context)


def _offer(draft: Draft, goal: InboxGoal | None) -> InboxOffer | None:
    """Return the pack to offer. The goal has counted already what is undecided."""
    every = KeyWeight(*(bar.undecided for bar in goal.bars)) if goal else None
    return best_offer(draft, every)


def _template(tab: str) -> str:
    return {"": "inbox", "open": "inbox", "covered": "covered"}.get(tab, "decided")


def _context(
    request: HttpRequest, address: InboxAddress, counted: SpellingCount | None, draft: Draft
) -> dict[str, Any]:
    counts = tabs.tab_counts(counted)
    return {
        **console_context(request, "Spellings"),
        "address": address,
        "counted": counted,
        "draft": draft,
        "token": draft_token(request.user),
        "batches": _batches(),
        "may_decide": request.user.has_perm(tabs.PERMISSION),
        "tabs": [
            (word, address.__class__(tab=tab).url(), tab == address.tab, counts.get(tab, 0))
            for tab, word in TABS.items()
        ],
    }


def _batches() -> int:
    return DecisionBatch.objects.count()


def _inbox(address: InboxAddress, draft: Draft, counted: SpellingCount | None) -> dict[str, Any]:
    page = read_page(address.query)
    rows = _rows(page, address, draft)
    focused = next((row for row in rows if row.focused), None)
    first = (address.page - 1) * UNITS_LISTED + 1
    heaviest = page.listed if address.query == InboxQuery() else None
    return {
        **_around(rows, address, counted),
        "rows": rows,
        "focused": focused,
        "senders": softly("senders", lambda: _senders(focused)) if focused else None,
        "similar": softly("similar", lambda: similar_to(focused.unit)) if focused else None,
        "orders": [(name, word, name == address.order) for name, word in ORDER_NAMES.items()],
        "goal": softly("goal", lambda: read_goal(counted, draft, heaviest)) if counted else None,
        "first": first,
        "last": first + len(rows) - 1,
        "previous_url": address.url(page=address.page - 1, at="") if address.page > 1 else "",
        "has_next": page.has_next,
    }


def _around(
    rows: Sequence[UnitRow], address: InboxAddress, counted: SpellingCount | None
) -> dict[str, Any]:
    """Return the words around the list: its label, its size, and what an empty list means."""
    opened = address.tab == "open"
    every = not address.named and not address.tab and address.order != "likely"
    calm = "Nothing was left open." if opened else "Every spelling is decided."
    return {
        "listed": "Spellings that were left open" if opened else "Undecided spellings",
        "of_all": counted.units if counted and every else None,
        "unmatched": "" if rows else address.named,
        "calm": calm if counted and not rows and not address.named else "",
    }


def _rows(page: InboxPage, address: InboxAddress, draft: Draft) -> list[UnitRow]:
    expanded: Mapping[str, Sequence[UnitMember]] = {}
    if address.at:
        expanded = members_of([address.at], verdict=address.query.verdict, listed=EXPANDED)
    prefix = OPENED if address.query.opened else ""
    return [
        _row(
            number,
            f"{prefix}{unit.code}",
            unit,
            draft,
            expanded.get(unit.code, unit.members),
            focused=unit.code == address.at,
        )
        for number, unit in enumerate(page.listed)
        if unit.members
    ]


def _row(
    number: int,
    name: str,
    unit: InboxUnit,
    draft: Draft,
    members: Sequence[UnitMember],
    *,
    focused: bool,
) -> UnitRow:
    choice = draft.choices.get(name)
    flag = flag_of(choice, members, unit.size)
    return UnitRow(number, name, unit, choice, members, focused, flag)


def _senders(row: UnitRow) -> list[tuple[str, int, float]]:
    """Return (client, requests, percent of the unit's requests), most first."""
    every = max(row.unit.requests, 1)
    return [
        (name, count, 100 * count / every) for name, count in senders_of(row.unit.code).items()
    ]
