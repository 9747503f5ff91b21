"""Decisions as files: the export of those in force, and the import of a file into the draft.

An imported file changes nothing by itself. Its rows join the draft, and the preview shows what
they would change, with the warnings that the operator has to confirm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from normalization import decisions
from normalization.decision_file import DecisionFileRefused, DecisionRow, LineFault, read, write
from ops.pages.console import console_context
from ops.pages.rollout.page import unavailable
from ops.pages.spellings.drafts import change_draft, explicit, signed_in
from ops.pages.spellings.tabs import PERMISSION

LARGEST: Final = 5 * 1024 * 1024
"""The most bytes of an imported file; 10,000 decisions take about one megabyte."""

FAULTS_LISTED: Final = 100


@require_safe
def export_page(request: HttpRequest) -> HttpResponse:
    """Send the decisions in force as a file."""
    try:
        text = write(decisions.in_force())
    except StoreError:
        return unavailable(request)
    answer = HttpResponse(text, content_type="text/csv; charset=utf-8")
    name = f"stage-decisions-{timezone.now():%Y-%m-%d}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@require_http_methods(["GET", "HEAD", "POST"])
def import_page(request: HttpRequest) -> HttpResponse:
    """Ask for a file. A POST adds its rows to the draft, or shows every reason against it."""
    if request.method != "POST":
        return _page(request)
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    file = request.FILES.get("file")
    if file is None or file.size is None:
        return _page(request, [LineFault(1, "no file was chosen")])
    if file.size > LARGEST:
        return _page(request, [LineFault(1, f"the file is larger than {LARGEST >> 20} MB")])
    try:
        rows = read(file.read())
        _add_to_draft(signed_in(request), rows)
    except DecisionFileRefused as refused:
        return _page(request, refused.faults)
    except StoreError:
        return unavailable(request)
    return redirect("ops-spellings-preview")


def _add_to_draft(operator: int, rows: Iterable[DecisionRow]) -> None:
    change_draft(operator, dict(map(explicit, rows)))


def _page(request: HttpRequest, faults: Iterable[LineFault] = ()) -> HttpResponse:
    found = list(faults)
    context: dict[str, Any] = {
        **console_context(request, "Import decisions"),
        "faults": found[:FAULTS_LISTED],
        "more_faults": max(len(found) - FAULTS_LISTED, 0),
        "may_decide": request.user.has_perm(PERMISSION),
    }
    return TemplateResponse(
        request, "admin/ops/spellings/import.html", context, status=400 if found else 200
    )
