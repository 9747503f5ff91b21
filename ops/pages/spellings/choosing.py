"""Where the forms of the inbox go: what was chosen joins the draft, and a page follows.

The same address takes a whole form, and the single choice that the page's script sends at every
key. It needs no session: see `drafts.operator_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST

from normalization.decision_file import DecisionRow
from normalization.decision_plan import LONGEST_KIND, LONGEST_TEXT
from normalization.stages import LONGEST
from ops.pages.panels import softly
from ops.pages.rollout.page import unavailable
from ops.pages.spellings import inbox, tabs
from ops.pages.spellings.drafts import (
    CHOICES,
    Draft,
    DraftChoice,
    change_draft,
    clear_draft,
    explicit,
    operator_of,
    read_draft,
    signed_in,
    verdict_and_stage,
)
from ops.pages.spellings.goal import read_goal
from ops.pages.spellings.inbox import UNITS_LISTED
from ops.pages.spellings.links import InboxAddress
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.page import flag_of


@require_POST
def draft_view(request: HttpRequest) -> HttpResponse:
    """Add the form's choices to the operator's draft. Answers in JSON on request."""
    operator = operator_of(request)
    if operator is None:
        raise PermissionDenied
    go, _, what = request.POST.get("go", "").partition(":")
    try:
        choices = choices_of(request.POST, read_draft(operator))
        change_draft(operator, choices, _reason(request.POST))
        following = _STEPS.get(go, _stay)(operator, InboxAddress.of(request.POST), what)
        if request.headers.get("Accept") == "application/json":
            return _changed(operator, request.POST.get("unit-0", ""))
        return redirect(following)
    except StoreError:
        return unavailable(request)


@require_POST
def change_view(request: HttpRequest) -> HttpResponse:
    """Add another verdict about a decided spelling to the draft, and show the preview."""
    if not request.user.has_perm(tabs.PERMISSION):
        raise PermissionDenied
    spelling, choice = request.POST.get("spelling", ""), request.POST.get("choice", "")
    if choice not in CHOICES or len(spelling) > LONGEST:
        return redirect("ops-spellings")
    verdict, stage = verdict_and_stage(choice)
    note = request.POST.get("note", "")[:LONGEST_TEXT]
    kind = request.POST.get("kind", "")[:LONGEST_KIND]
    try:
        row = DecisionRow(spelling, verdict, stage, kind, note)
        change_draft(signed_in(request), dict([explicit(row)]))
    except StoreError:
        return unavailable(request)
    return redirect("ops-spellings-preview")


def choices_of(form: QueryDict, draft: Draft) -> dict[str, DraftChoice]:
    """Return the choices in a form by unit.

    A unit without a choice is absent, so a form never takes away what another page added. Invalid
    choices count as absent. Only the unit that is `expanded` has its members in the form; what was
    unticked in any other stays so.
    """
    found: dict[str, DraftChoice] = {}
    for number in range(UNITS_LISTED):
        unit, choice = form.get(f"unit-{number}", ""), form.get(f"choice-{number}", "")
        if not unit or choice not in CHOICES:
            continue
        before = draft.choices.get(unit)
        without = before.without if before else frozenset()
        found[unit] = DraftChoice(choice, _without(form, without, form.get("expanded") == unit))
    return found


def _without(form: QueryDict, before: frozenset[str], is_expanded: bool) -> frozenset[str]:
    if not is_expanded:
        return before
    listed, kept = form.getlist("listed"), frozenset(form.getlist("kept"))
    return (before - frozenset(listed)) | (frozenset(listed) - kept)


def _reason(form: QueryDict) -> str | None:
    reason = form.get("reason")
    return None if reason is None else reason[:LONGEST_TEXT]


def _changed(operator: int, unit: str) -> HttpResponse:
    """Answer a single choice: how many there are now, and what speaks against this one.

    `goal` is the head of the inbox anew; the page's script puts it in place of the old one.
    """
    draft = read_draft(operator)
    members = inbox.members_named([unit]).get(unit, [])
    flag = flag_of(draft.choices.get(unit), members, len(members))
    counted = SpellingCount.objects.first()
    goal = softly("goal", lambda: read_goal(counted, draft)) if counted else None
    shown = render_to_string("admin/ops/spellings/goal.html", {"goal": goal, "draft": draft})
    state = {"chosen": len(draft.choices), "sentence": draft.sentence, "flag": flag}
    return JsonResponse({**state, "goal": shown})


def _stay(operator: int, address: InboxAddress, what: str) -> str:
    return address.url()


def _at(address: InboxAddress, unit: str) -> str:
    """Return the address of the list with the unit in view."""
    return f"{address.url(at=unit.removeprefix(inbox.OPENED))}#at"


def _preview(operator: int, address: InboxAddress, what: str) -> str:
    return "ops-spellings-preview"


def _next(operator: int, address: InboxAddress, what: str) -> str:
    return address.url(page=address.page + 1, at="")


def _search(operator: int, address: InboxAddress, what: str) -> str:
    return address.url(page="", at="")


def _open(operator: int, address: InboxAddress, unit: str) -> str:
    return _at(address, unit)


def _clear(operator: int, address: InboxAddress, unit: str) -> str:
    change_draft(operator, {unit: None})
    return _at(address, unit)


def _take(operator: int, address: InboxAddress, what: str) -> str:
    """Choose the stage that the unit's text names: `what` is that stage and the unit."""
    choice, _, unit = what.partition(":")
    if choice in CHOICES:
        before = read_draft(operator).choices.get(unit)
        change_draft(operator, {unit: DraftChoice(choice, before.without if before else _NONE)})
    return _at(address, unit)


def _discard(operator: int, address: InboxAddress, what: str) -> str:
    clear_draft(operator)
    return address.url()


def _cover(operator: int, address: InboxAddress, code: str) -> str:
    """Choose for the new members of a decided group what the group was decided as."""
    for unit in tabs.covered_units():
        if unit.code == code:
            new = {member.spelling for member in unit.members}
            members = inbox.members_of([code], listed=inbox.ALL_MEMBERS).get(code, [])
            older = frozenset(each.spelling for each in members if each.spelling not in new)
            change_draft(operator, {code: DraftChoice(unit.choice, older)})
    return "ops-spellings-preview"


_NONE: Final[frozenset[str]] = frozenset()
_STEPS: Final[Mapping[str, Callable[[int, InboxAddress, str], str]]] = {
    "preview": _preview,
    "next": _next,
    "search": _search,
    "open": _open,
    "clear": _clear,
    "take": _take,
    "discard": _discard,
    "cover": _cover,
}
