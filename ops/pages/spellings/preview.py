"""`/admin/ops/spellings/preview/`: what the draft would change, and the button that saves it.

The page shows a plan with its hash. Saving makes the plan again and carries it out only if the
hash is still the same, so nothing is saved that the operator did not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from normalization import decisions
from normalization.decision_effects import effects
from normalization.decision_file import DecisionRow
from normalization.decision_gate import shift_of
from normalization.decision_plan import DecisionPlan, table_after, table_of
from normalization.decision_warnings import DecisionVerdict, DecisionWarning, warnings
from normalization.effect_warnings import EffectWarning, effect_warnings
from normalization.models import DecisionBatch
from normalization.packs import load_packs
from ops.admin_ui.characters import Visible, visible
from ops.pages.console import console_context
from ops.pages.panels import softly
from ops.pages.rollout.page import unavailable
from ops.pages.spellings.drafts import (
    AS_LISTED,
    PACK,
    Draft,
    DraftChoice,
    change_draft,
    clear_draft,
    read_draft,
    signed_in,
)
from ops.pages.spellings.effects import (
    CLIENTS_LISTED,
    ClientEffect,
    KeyWeight,
    check_of,
    clients_of,
    decided_keys,
    overrides_of,
    texts_of,
    weights_of,
)
from ops.pages.spellings.inbox import (
    ALL_MEMBERS,
    GROUP_OF_CODE,
    OPENED,
    UnitMember,
    members_named,
    read_shares,
)
from ops.pages.spellings.packs import keys_of
from ops.pages.spellings.tabs import PERMISSION
from ops.pages.spellings.weights import ensure_fresh

CONFIRMED_AT_MOST: Final = 100
"""With more hard warnings than this, the choice is wrong rather than the warnings."""


@dataclass(frozen=True, slots=True)
class ChosenUnit:
    """One choice of the draft: the spellings that it would decide, and their weight."""

    name: Visible
    label: str
    becomes: str
    rows: Sequence[DecisionRow]
    weight: KeyWeight
    is_warned: bool


@dataclass(frozen=True, slots=True)
class HardWarning:
    """A spelling whose decision needs a confirmation of its own."""

    row: DecisionRow
    shown: Visible
    warnings: Sequence[DecisionWarning]
    confirmed: bool


class DecisionPreview:
    """What a draft would change. `confirmed` are the keys whose hard warnings were confirmed."""

    def __init__(self, draft: Draft, confirmed: Iterable[str] = ()) -> None:
        self.draft = draft
        self._confirmed = frozenset(confirmed)
        members = members_named(draft.units, listed=ALL_MEMBERS)
        chosen = {
            unit: list(_rows(unit, choice, members.get(unit, [])))
            for unit, choice in draft.choices.items()
            if choice.choice != AS_LISTED
        }
        # What was chosen for a spelling itself wins over the packs.
        taken = {row.key for rows in chosen.values() for row in rows}
        self._by_unit = chosen | _pack_rows(draft.packs, taken)

    @cached_property
    def rows(self) -> list[DecisionRow]:
        """Every decision, one for each folded spelling."""
        found = {row.key: row for rows in self._by_unit.values() for row in rows}
        return list(found.values())

    @cached_property
    def _reviewed(self) -> frozenset[str]:
        """The folded spellings of packs, whose rows are reviewed: the pack confirms them."""
        packs = [rows for unit, rows in self._by_unit.items() if unit.startswith(PACK)]
        return frozenset(row.key for rows in packs for row in rows)

    @property
    def confirmed(self) -> list[str]:
        """The spellings that are decided in spite of hard warnings."""
        keys = self._reviewed | self._confirmed
        return [row.spelling for row in self.rows if row.key in keys]

    @cached_property
    def plan(self) -> DecisionPlan:
        """The plan that saving would carry out."""
        return decisions.plan(self.rows)

    @cached_property
    def weights(self) -> Mapping[str, KeyWeight]:
        """The weight of each folded spelling."""
        return weights_of(row.key for row in self.rows)

    @cached_property
    def hard(self) -> list[HardWarning]:
        """The decisions that go against their own text."""
        found = []
        for row in self.rows:
            reasons = [
                each for each in warnings(row.spelling, row.verdict, row.stage) if each.hard
            ]
            if reasons and not row.is_confirmed and row.key not in self._reviewed:
                confirmed = row.key in self._confirmed
                found.append(HardWarning(row, visible(row.spelling), reasons, confirmed))
        return found

    @property
    def unconfirmed(self) -> int:
        """How many hard warnings are not confirmed."""
        return sum(not each.confirmed for each in self.hard)

    @property
    def is_beyond_confirming(self) -> bool:
        """Whether there are too many hard warnings to confirm one by one."""
        return len(self.hard) > CONFIRMED_AT_MOST

    @cached_property
    def effects(self) -> tuple[EffectWarning, ...]:
        """What speaks against the effects of the plan on rows, strategies and clients."""
        in_force = decisions.in_force()
        before, after = table_of(in_force, self.plan.version), table_after(self.plan, in_force)
        texts = texts_of(row.key for row in self.plan.written)
        found = effects(before, after, texts=texts)
        return effect_warnings(self.plan, found, in_force)

    def weight_of(self, rows: Iterable[DecisionRow]) -> KeyWeight:
        """Return the stored rows and requests of some decisions."""
        found = [self.weights.get(row.key, KeyWeight()) for row in rows]
        return KeyWeight(sum(each.rows for each in found), sum(each.requests for each in found))

    def units(self) -> list[ChosenUnit]:
        """Return the choices, those with most rows first."""
        warned = {each.row.key for each in self.hard}
        chosen = [
            ChosenUnit(
                name=_name_of(unit, rows),
                label=_label_of(unit),
                becomes=self.draft.choices[unit].choice,
                rows=rows,
                weight=self.weight_of(rows),
                is_warned=any(row.key in warned for row in rows),
            )
            for unit, rows in self._by_unit.items()
            if rows
        ]
        return sorted(chosen, key=lambda each: (-each.weight.rows, -each.weight.requests))

    def clients(self) -> list[ClientEffect]:
        """Return the clients that would notice."""
        return clients_of((row.key, row.verdict.value) for row in self.rows)


@require_http_methods(["GET", "HEAD", "POST"])
def preview_page(request: HttpRequest) -> HttpResponse:
    """Show what the operator's draft would change; a POST saves it."""
    try:
        draft = read_draft(signed_in(request))
        if request.method == "POST":
            return _save(request, draft)
        return _page(request, DecisionPreview(draft), draft.reason)
    except StoreError:
        return unavailable(request)


def _save(request: HttpRequest, draft: Draft) -> HttpResponse:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    reason = request.POST.get("reason", "").strip()[:500]
    change_draft(signed_in(request), {}, reason)
    preview = DecisionPreview(draft, request.POST.getlist("confirm"))
    seen, many = request.POST.get("plan", ""), "confirm_effects" in request.POST
    if fault := _fault(preview, reason, seen, may_change_many=many):
        return _page(request, preview, reason, fault)
    try:
        result = decisions.apply(
            preview.plan,
            author=request.user.get_username(),
            source=DecisionBatch.Source.ADMIN,
            reason=reason,
            confirmed=preview.confirmed,
            gate_overrides=overrides_of(request.POST),
        )
    except decisions.DecisionRefused as refusal:
        return _page(request, DecisionPreview(draft), reason, str(refusal))
    clear_draft(signed_in(request))
    messages.success(request, _saved(result))
    return redirect("ops-spellings")


def _fault(preview: DecisionPreview, reason: str, seen: str, *, may_change_many: bool) -> str:
    """Return why the preview cannot be saved now, "" if it can."""
    if not preview.rows:
        return "Nothing is chosen."
    if seen != preview.plan.hash:
        return "The spellings or the decisions changed since you looked. Look again, then save."
    if not reason:
        return "Give a reason. The list of decisions shows it."
    if preview.is_beyond_confirming:
        return f"More than {CONFIRMED_AT_MOST} decisions go against their own text."
    if preview.unconfirmed:
        return f"{_decisions(preview.unconfirmed)} still to be confirmed one by one."
    if not may_change_many and any(each.hard for each in preview.effects):
        return "Confirm that many stored rows lose the stage that they mean today."
    return ""


def _page(
    request: HttpRequest, preview: DecisionPreview, reason: str, fault: str = ""
) -> HttpResponse:
    context = {
        **console_context(request, f"Preview: {_decisions(len(preview.rows))}"),
        "preview": preview,
        "plan": preview.plan,
        "units": preview.units(),
        "tiles": softly("tiles", lambda: _tiles(preview)),
        "reason": reason,
        "fault": fault,
        "effects": softly("effects", lambda: preview.effects),
        "effects_confirmed": "confirm_effects" in request.POST,
        "check": check_of(shift_of(preview.plan)),
        "override": request.POST.get("override", ""),
        "may_decide": request.user.has_perm(PERMISSION),
        "count": _decisions(len(preview.rows)),
        **_clients(softly("clients", preview.clients)),
    }
    status = 409 if fault else 200
    return TemplateResponse(request, "admin/ops/spellings/preview.html", context, status=status)


def _clients(found: list[ClientEffect] | None) -> dict[str, Any]:
    if found is None:
        return {"clients": None}
    return {"clients": found[:CLIENTS_LISTED], "more_clients": len(found) - CLIENTS_LISTED}


def _tiles(preview: DecisionPreview) -> list[tuple[str, int, str]]:
    """Return (name, figure, note) of the tiles."""
    counted = ensure_fresh(timezone.now())
    if counted is None:
        return []
    shares = read_shares(counted)
    before = [shares[verdict] for verdict in ("", "open") if verdict in shares]
    rows, requests = sum(each.rows for each in before), sum(each.requests for each in before)
    decided = preview.weight_of(
        row for row in preview.plan.new if row.verdict is not DecisionVerdict.OPEN
    )
    to_stage = preview.weight_of(row for row in preview.rows if row.stage)
    outside = preview.weight_of(
        row for row in preview.rows if row.verdict is DecisionVerdict.OUTSIDE
    )
    return [
        ("Undecided rows", max(rows - decided.rows, 0), f"now {rows:,}"),
        ("Undecided requests", max(requests - decided.requests, 0), f"now {requests:,} in 7 days"),
        ("Rows to rewrite", to_stage.rows, "by the next backfill"),
        ("Rows left as they are", outside.rows, "outside"),
    ]


def _rows(unit: str, choice: DraftChoice, members: Sequence[UnitMember]) -> Iterable[DecisionRow]:
    """Yield the decisions of one choice, with the heaviest spelling of each key."""
    if choice.row is not None:
        yield replace(choice.row, verdict=choice.verdict, stage=choice.stage)
        return
    seen: set[str] = set()
    kind = _label_of(unit)
    for member in members:
        row = DecisionRow(member.spelling, choice.verdict, choice.stage, kind)
        if member.spelling not in choice.without and row.key not in seen:
            seen.add(row.key)
            yield row


def _pack_rows(packs: Iterable[str], taken: set[str]) -> dict[str, list[DecisionRow]]:
    """Return the rows of each pack that decide something new.

    A pack settles only what is undecided: it leaves earlier decisions as they are.
    """
    found: dict[str, list[DecisionRow]] = {}
    left_out = taken | decided_keys(keys_of(packs))
    for name in packs:
        pack = load_packs().get(name)
        rows = [] if pack is None else [row for row in pack.decided if row.key not in left_out]
        left_out |= {row.key for row in rows}
        found[f"{PACK}{name}"] = rows
    return found


def _label_of(unit: str) -> str:
    """Return what a unit is called beside its heaviest spelling; "" for a single spelling."""
    if unit.startswith(PACK):
        return "Starter pack"
    group = GROUP_OF_CODE.get(unit.removeprefix(OPENED))
    return group.label if group else ""


def _name_of(unit: str, rows: Sequence[DecisionRow]) -> Visible:
    return visible(unit.removeprefix(PACK) if unit.startswith(PACK) else rows[0].spelling)


def _saved(result: decisions.DecisionResult) -> str:
    if result.batch is None:
        return "These decisions are in force already."
    return (
        f"{_decisions(result.decided)} saved as batch {result.batch.pk}. The next run writes it."
    )


def _decisions(count: int) -> str:
    return f"{count:,} decision{'' if count == 1 else 's'}"
