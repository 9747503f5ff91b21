"""`/admin/ops/spellings/packs/`: what each starter pack would settle, and what it decides.

A pack is recognized by its overlap with what is stored and sent. It is only offered: choosing it
adds it to the draft, and the preview shows what it would change. Rows of a pack that leave the
choice to the operator join the draft with the verdict that was chosen for them, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_http_methods

from normalization.decision_file import DecisionRow
from normalization.packs import Pack, load_packs
from ops.admin_ui.characters import Visible, visible
from ops.pages.console import console_context
from ops.pages.rollout.page import unavailable
from ops.pages.spellings.drafts import (
    AS_LISTED,
    CHOICES,
    PACK,
    Draft,
    DraftChoice,
    change_draft,
    explicit,
    read_draft,
    signed_in,
    verdict_and_stage,
)
from ops.pages.spellings.effects import KeyWeight, weights_of
from ops.pages.spellings.inbox import SENT, read_shares
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.tabs import PERMISSION
from ops.pages.spellings.weights import OBSERVED_DAYS

ROWS_LISTED: Final = 200
OFFERED_FROM: Final = 0.05
"""The share of undecided rows from which the inbox offers a pack by itself."""
RECOGNIZED_FROM: Final = 0.5
"""The share of a client's undecided spellings from which it offers a pack for that client."""

UNDECIDED: Final = f"""{SENT}
SELECT key, sum(rows)::bigint, coalesce(sum(requests), 0)::bigint
FROM ops_spellingweight AS held LEFT JOIN sent USING (spelling)
WHERE key = ANY(%s) AND verdict IN ('', 'open') GROUP BY key
"""  # noqa: S608 (constants of this module)

SENDERS: Final = f"""
SELECT client, count(*), array_agg(key) FILTER (WHERE key = ANY(%s))
FROM (SELECT DISTINCT client, key
      FROM normalization_observedspelling AS observed
      JOIN ops_spellingweight AS held ON held.spelling = observed.spelling COLLATE "C"
      WHERE day > current_date - {OBSERVED_DAYS} AND verdict IN ('', 'open')) AS sent
GROUP BY client
"""  # noqa: S608 (constants of this module)


@dataclass(frozen=True, slots=True)
class InboxOffer:
    """What a pack would settle: rows, requests and the shares of clients' undecided spellings.

    Shares are fractions. `clients` has those of which the pack has a spelling, the most first.
    """

    pack: Pack
    weight: KeyWeight
    undecided: KeyWeight
    clients: Sequence[tuple[str, float]]
    is_chosen: bool

    @property
    def percent(self) -> float:
        """How much of the undecided rows it settles, in percent."""
        every = self.undecided.rows
        return 100 * self.weight.rows / every if every else 0

    @property
    def request_percent(self) -> float:
        """How much of the undecided requests it settles, in percent."""
        every = self.undecided.requests
        return 100 * self.weight.requests / every if every else 0

    @property
    def recognized(self) -> tuple[str, float] | None:
        """The client that probably uses the pack's vocabulary, with its share in percent."""
        if self.clients and self.clients[0][1] >= RECOGNIZED_FROM:
            client, share = self.clients[0]
            return client, 100 * share
        return None

    @property
    def is_offered(self) -> bool:
        """Whether the inbox offers the pack without being asked for packs."""
        has_weight = self.percent >= 100 * OFFERED_FROM or self.recognized is not None
        return has_weight and not self.is_chosen


@dataclass(frozen=True, slots=True)
class PackRow:
    """A row of a pack, with what it decides about. `number` tells its fields apart."""

    number: int
    row: DecisionRow
    shown: Visible
    weight: KeyWeight
    choice: str = ""

    @property
    def is_seen(self) -> bool:
        """Whether a stored row holds the spelling, or a request of seven days named it."""
        return bool(self.weight.rows or self.weight.requests)

    @property
    def means(self) -> str:
        """Its stage, or its verdict without one."""
        return self.row.stage or self.row.verdict.value


@require_http_methods(["GET", "HEAD", "POST"])
def packs_page(request: HttpRequest) -> HttpResponse:
    """List the packs, or show the pack `?name=`. A POST adds that pack to the draft."""
    try:
        draft = read_draft(signed_in(request))
        name = request.GET.get("name", "")
        if not name:
            return _list(request, draft)
        pack = load_packs().get(name)
        if pack is None:
            raise Http404("There is no such pack.")
        if request.method == "POST":
            return _choose(request, pack)
        return _pack(request, pack, draft)
    except StoreError:
        return unavailable(request)


def read_offers(draft: Draft, every: KeyWeight | None = None) -> list[InboxOffer]:
    """Return what each pack would settle, the one that settles most rows first.

    `every` are all undecided rows and requests, where the caller has read them already.
    """
    keys = keys_of(load_packs())
    weights, senders = _undecided(keys), _senders(keys)
    undecided = every or _all_undecided()
    offers = [
        _offer(pack, weights, undecided, senders, is_chosen=pack.name in draft.packs)
        for pack in load_packs().values()
    ]
    return sorted(offers, key=lambda each: (-each.weight.rows, -each.weight.requests))


def best_offer(draft: Draft, every: KeyWeight | None = None) -> InboxOffer | None:
    """Return the pack that the inbox offers, None if no pack is worth it.

    A pack for certain clients only is never offered by itself. Once the operator decides units by
    hand no pack is offered: its share would count what is chosen already. `every` is as in
    `read_offers`.
    """
    if draft.units:
        return None
    offers = read_offers(draft, every)
    offered = [each for each in offers if each.is_offered and not each.pack.only_for]
    return offered[0] if offered else None


def keys_of(names: Iterable[str]) -> list[str]:
    """Return the folded spellings that these packs decide. Unknown names count as absent."""
    packs = load_packs()
    return [row.key for name in names if name in packs for row in packs[name].decided]


def _undecided(keys: Sequence[str]) -> dict[str, KeyWeight]:
    """Return the weight of those of the folded spellings that are undecided."""
    with connection.cursor() as cursor:
        cursor.execute(UNDECIDED, [list(keys)])
        return {key: KeyWeight(rows, requests) for key, rows, requests in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class ClientVocabulary:
    """How many undecided folded spellings a client sent in a week, and those that packs have."""

    size: int
    in_packs: frozenset[str]


def _senders(keys: Sequence[str]) -> dict[str, ClientVocabulary]:
    """Return what each client sent; `keys` are the folded spellings of packs."""
    with connection.cursor() as cursor:
        cursor.execute(SENDERS, [list(keys)])
        return {
            client: ClientVocabulary(size, frozenset(found or ()))
            for client, size, found in cursor.fetchall()
        }


def _all_undecided() -> KeyWeight:
    counted = SpellingCount.objects.first()
    shares = read_shares(counted) if counted else {}
    found = [shares[verdict] for verdict in ("", "open") if verdict in shares]
    return _sum(KeyWeight(share.rows, share.requests) for share in found)


def _offer(
    pack: Pack,
    weights: Mapping[str, KeyWeight],
    undecided: KeyWeight,
    senders: Mapping[str, ClientVocabulary],
    *,
    is_chosen: bool,
) -> InboxOffer:
    keys = {row.key for row in pack.decided}
    return InboxOffer(
        pack=pack,
        weight=_sum(weights[key] for key in keys & weights.keys()),
        undecided=undecided,
        clients=_shares(keys, senders),
        is_chosen=is_chosen,
    )


def _shares(keys: set[str], senders: Mapping[str, ClientVocabulary]) -> list[tuple[str, float]]:
    shares = [(client, len(keys & sent.in_packs) / sent.size) for client, sent in senders.items()]
    return sorted((each for each in shares if each[1]), key=lambda each: (-each[1], each[0]))


def _sum(weights: Iterable[KeyWeight]) -> KeyWeight:
    found = list(weights)
    return KeyWeight(sum(each.rows for each in found), sum(each.requests for each in found))


def _list(request: HttpRequest, draft: Draft) -> HttpResponse:
    context = {**console_context(request, "Starter packs"), "offers": read_offers(draft)}
    return TemplateResponse(request, "admin/ops/spellings/packs.html", context)


def _pack(request: HttpRequest, pack: Pack, draft: Draft) -> HttpResponse:
    offer = next(each for each in read_offers(draft) if each.pack is pack)
    decided, to_choose = _rows(pack.decided, draft), _rows(pack.to_choose, draft)
    context: dict[str, Any] = {
        **console_context(request, f"Pack {pack.name}"),
        "offer": offer,
        "decided": decided[:ROWS_LISTED],
        "more": max(len(decided) - ROWS_LISTED, 0),
        "to_choose": [each for each in to_choose if each.is_seen],
        "unseen_to_choose": [each for each in to_choose if not each.is_seen],
        "choices": CHOICES,
        "may_decide": request.user.has_perm(PERMISSION),
    }
    return TemplateResponse(request, "admin/ops/spellings/pack.html", context)


def _rows(rows: Sequence[DecisionRow], draft: Draft) -> list[PackRow]:
    """Return the rows, those that decide most first."""
    weights = weights_of(row.key for row in rows)
    chosen = {each.row.key: each.choice for each in draft.choices.values() if each.row}
    found = [
        PackRow(
            number,
            row,
            visible(row.spelling),
            weights.get(row.key, KeyWeight()),
            chosen.get(row.key, ""),
        )
        for number, row in enumerate(rows)
    ]
    return sorted(found, key=lambda each: (-each.weight.rows, -each.weight.requests))


def _choose(request: HttpRequest, pack: Pack) -> HttpResponse:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    chosen: dict[str, DraftChoice | None] = {f"{PACK}{pack.name}": DraftChoice(AS_LISTED)}
    for number, row in enumerate(pack.to_choose):
        choice = request.POST.get(f"choice-{number}", "")
        if choice in CHOICES:
            verdict, stage = verdict_and_stage(choice)
            source = row.source or f"pack {pack.name}"
            decided = DecisionRow(row.spelling, verdict, stage, row.kind, source=source)
            chosen |= dict([explicit(decided)])
    change_draft(signed_in(request), chosen)
    return redirect("ops-spellings-preview")
