"""The letter to a client's owner: the operator's page, and the page behind the signed link.

`/admin/ops/rollout/clients/letter/?name=…` is for staff. `/letter?token=…` needs no login: it
shows the letter of the client that the token names, and nothing else. A token that is changed,
expired or ended is answered 404, always with the same page.
"""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization import rollout_store
from ops.pages.clients.client import LONGEST_NAME
from ops.pages.console import console_context
from ops.pages.letters import links, wording
from ops.pages.letters.content import DAYS, Letter, read_letter
from ops.pages.panels import softly
from ops.pages.periods import WEEK, client_url
from ops.pages.rollout.changes import proposal_links
from ops.pages.rollout.page import PERMISSION, unavailable

SECONDS: Final = 5.0
CSV: Final = "text/csv; charset=utf-8"
PRIVATE: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
"""The headers of everything behind a signed link: the address is the secret."""


@require_safe
def letter_page(request: HttpRequest) -> HttpResponse:
    """Show the letter to the owner of the client that `?name=` names."""
    client = _asked(request.GET.get("name", ""))
    try:
        rollout = rollout_store.newest().rollout
        link = links.signed_link(client)
    except StoreError:
        return unavailable(request)
    letter = softly("letter", lambda: read_letter(client, rollout, timezone.now()), SECONDS)
    may_change = request.user.has_perm(PERMISSION)
    proposals = proposal_links(rollout, client) if may_change else []
    context = {
        **console_context(request, f"Letter to the owner of {client}", "ops-clients", rollout),
        "client": client,
        "client_url": client_url(client, WEEK),
        "link": link,
        "link_days": links.LINK_DAYS,
        "may_change": may_change,
        "holdout": next((each.url for each in proposals if "holdout" in each.word), ""),
        **_parts(letter),
    }
    return TemplateResponse(request, "admin/ops/letters/page.html", context)


@require_safe
def letter_csv(request: HttpRequest) -> HttpResponse:
    """Send the spellings of the letter as a file."""
    client = _asked(request.GET.get("name", ""))
    try:
        letter = read_letter(client, rollout_store.newest().rollout, timezone.now())
    except StoreError:
        return unavailable(request)
    return _csv(letter)


@require_POST
def end_letter_links(request: HttpRequest) -> HttpResponse:
    """End every link to the letter of a client."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    client = _asked(request.POST.get("name", ""))
    try:
        links.end_links(client, request.user.get_username())
    except StoreError:
        return unavailable(request)
    messages.success(request, f"Every link to the letter of {client} is ended. This is a new one.")
    return redirect(links.letter_url(client))


class PublicLetterView(APIView):
    """`GET /letter?token=…`: the letter of one client, for its owner. Read-only, without a login.

    Requests are limited by address, as all that come without a key.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)
    renderer_classes = (TemplateHTMLRenderer,)
    http_method_names = ["get", "head"]

    @extend_schema(exclude=True)  # a page
    def get(self, request: Request) -> HttpResponse:
        """Return the page, or with `as=csv` its spellings; 404 for a token that is not valid."""
        token = request.query_params.get(links.TOKEN, "")
        client = links.client_of(token)
        if client is None:
            return Response(status=404, template_name="letter_ended.html", headers=PRIVATE)
        letter = read_letter(client, rollout_store.current().rollout, timezone.now())
        if request.query_params.get("as") == "csv":
            answer = _csv(letter)
            for name, value in PRIVATE.items():
                answer[name] = value
            return answer
        context = {"token": token, **_parts(letter)}
        return Response(context, template_name="letter.html", headers=PRIVATE)


def _asked(client: str) -> str:
    if not 0 < len(client) <= LONGEST_NAME or "\0" in client:
        raise Http404
    return client


def _parts(letter: Letter | None) -> dict[str, Any]:
    """Return what the templates show of a letter, None if it could not be read."""
    if letter is None:
        return {"letter": None}
    return {
        "letter": letter,
        "days": DAYS,
        "subject": wording.subject(letter),
        "opening": wording.opening(letter),
        "outdated": wording.outdated(letter),
        "rehearsal_sentences": wording.REHEARSAL_SENTENCES,
        "rehearsal": wording.rehearsal(letter),
        "text": wording.text_of(letter),
    }


def _csv(letter: Letter) -> HttpResponse:
    answer = HttpResponse(wording.csv_of(letter), content_type=CSV)
    name = f"stage-names-{letter.at:%Y-%m-%d}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
