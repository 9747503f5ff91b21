"""Errors of the admin as pages, for people; as problem documents for programs.

Django calls these handlers (`stagenorm.urls`, CSRF_FAILURE_VIEW). `normalization.problems` decides
on status and words; here a browser that asked for a page of the admin gets them as a page.
"""

from __future__ import annotations

import json
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from normalization import problems

PAGES: Final = "/admin/"
_ADVICE: Final = {
    403: "Ask an administrator for the permission, or sign in with an account that has it.",
    404: "The address may be mistyped, or what it showed may be gone.",
    503: "Nothing was done. Load the page again in a moment.",
}


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler400."""
    return _for(request, problems.bad_request(request, exception))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler403."""
    return _for(request, problems.permission_denied(request, exception))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler404."""
    return _for(request, problems.page_not_found(request, exception))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    return _for(request, problems.server_error(request))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    return _for(request, problems.csrf_failure(request, reason), advice="")


def _for(request: HttpRequest, answer: HttpResponse, advice: str | None = None) -> HttpResponse:
    """Return `answer` as a page if a browser asked the admin for one.

    The page needs neither the session nor the database, which may be what failed.
    """
    if not request.path_info.startswith(PAGES) or not request.accepts("text/html"):
        return answer
    if "text/html" not in request.headers.get("Accept", ""):
        return answer  # a program that accepts anything
    document = json.loads(answer.content)
    context = {
        "title": document["title"],
        "detail": document["detail"],
        "advice": _ADVICE.get(answer.status_code, "") if advice is None else advice,
        "instance": document["instance"].removeprefix("urn:uuid:"),
    }
    page = render_to_string("error.html", context)
    headers = {"Cache-Control": "no-store"}
    if "Retry-After" in answer:
        headers["Retry-After"] = answer["Retry-After"]
    return HttpResponse(page, status=answer.status_code, headers=headers)
