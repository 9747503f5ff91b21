"""Imports of companies in the admin: a read-only list, the page of one import, and its undo.

Files are imported by `manage.py import_companies`; they are not uploaded here.
"""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from normalization.admin import LedgerAdmin
from stagenorm.portfolio.imports import undo as undoing
from stagenorm.portfolio.imports.importing import ImportHeld
from stagenorm.portfolio.models import CompanyImport

UNDONE_HERE: Final = 20_000
"""The most companies of an import that a web request deletes; the command has no limit."""


class UndoneFilter(admin.SimpleListFilter):
    """Imports in force, and undone ones."""

    title, parameter_name = "state", "undone"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("no", "In force"), ("yes", "Undone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the chosen imports."""
        if self.value() not in ("no", "yes"):
            return queryset
        return queryset.filter(undone_at__isnull=self.value() == "no")


class CompanyImportAdmin(LedgerAdmin):
    """Imports, newest first."""

    list_display = (
        "named",
        "state",
        "fund",
        "imported_count",
        "skipped_count",
        "rejected_count",
        "undecided_count",
        "begun",
    )
    list_display_links = None
    list_filter = (UndoneFilter, "fund")
    list_select_related = ("fund",)
    list_per_page = 50
    search_fields = ("file_name", "actor")
    search_help_text = "Part of the file's name, or who imported it."
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    actions = None

    class Media:
        css = {"all": ("portfolio/imports.css",)}

    # -- The list

    @admin.display(description="import")
    def named(self, record: CompanyImport) -> SafeString:
        """Its number, linked to its page, and the file."""
        page = reverse("admin:portfolio_companyimport_change", args=[record.pk])
        return format_html(
            '<a class="strong" href="{}">Import {}</a><span class="line quiet">{}</span>',
            page,
            record.pk,
            record.file_name,
        )

    @admin.display(description="state")
    def state(self, record: CompanyImport) -> SafeString:
        """In force or undone, as a word and a sign."""
        if record.undone_at:
            return format_html('<span class="badge">{} undone</span>', "↶")
        return format_html('<span class="badge good">{} in force</span>', "✓")

    @admin.display(description="imported")
    def imported_count(self, record: CompanyImport) -> SafeString:
        """Companies imported."""
        return _number(record.imported, "imported")

    @admin.display(description="there already")
    def skipped_count(self, record: CompanyImport) -> SafeString:
        """Lines whose company was there already."""
        return _number(record.skipped, "there already")

    @admin.display(description="refused")
    def rejected_count(self, record: CompanyImport) -> SafeString:
        """Lines refused."""
        return _number(record.rejected, "refused")

    @admin.display(description="undecided")
    def undecided_count(self, record: CompanyImport) -> SafeString:
        """Companies whose stage was undecided when they were imported."""
        return _number(record.unknown, "undecided")

    @admin.display(description="by")
    def begun(self, record: CompanyImport) -> SafeString:
        """Who imported, and when (UTC)."""
        return format_html(
            '{}<span class="line quiet">{} UTC</span>',
            record.actor,
            f"{record.created_at:%-d %b %Y %H:%M}",
        )

    # -- The page of one import, and its undo

    def get_urls(self) -> list[URLPattern]:
        """Return the list, the pages and the address of the undo."""
        undo = require_http_methods(["GET", "HEAD", "POST"])(self.undo_view)
        route = path(
            "<int:import_id>/undo/",
            self.admin_site.admin_view(undo),
            name="portfolio_companyimport_undo",
        )
        return [route, *super().get_urls()]

    def has_undo_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may undo: change imports and delete companies."""
        user = request.user
        return user.has_perm("portfolio.change_companyimport") and user.has_perm(
            "portfolio.delete_portfoliocompany"
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one import."""
        if request.method == "POST":
            raise PermissionDenied
        record = self._find(request, object_id)
        context = {
            "title": f"Import {record.pk}",
            "record": record,
            "tiles": _tiles(record),
            "facts": _facts(record),
            "inbox": _inbox(),
            "may_undo": self.has_undo_permission(request),
            "here": record.imported <= UNDONE_HERE,
        }
        return self._page(request, "import", context)

    def undo_view(self, request: HttpRequest, import_id: int) -> HttpResponse:
        """Ask for a confirmation with what an undo would do, then undo."""
        record = self._find(request, str(import_id))
        if not self.has_undo_permission(request):
            raise PermissionDenied
        here = record.imported <= UNDONE_HERE
        if request.method == "POST" and here and request.POST.get("confirmed") == "yes":
            return self._undone(request, record)
        context = {
            "title": f"Undo import {record.pk}?",
            "record": record,
            "found": None if record.undone_at or not here else undoing.preview(record),
        }
        return self._page(request, "undo", context)

    def _undone(self, request: HttpRequest, record: CompanyImport) -> HttpResponse:
        try:
            result = undoing.undo(record.pk, actor=request.user.get_username())
        except ImportHeld as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            text = (
                f"Import {record.pk} is undone: {result.removed:,} companies removed, "
                f"{result.kept_rows:,} kept, {result.gone:,} already gone."
            )
            self.message_user(request, text, messages.SUCCESS)
        return redirect("admin:portfolio_companyimport_change", record.pk)

    def _find(self, request: HttpRequest, object_id: str) -> CompanyImport:
        if not self.has_view_permission(request):
            raise PermissionDenied
        pk = int(object_id) if object_id.isdecimal() and len(object_id) < 19 else 0
        record = CompanyImport.objects.select_related("fund").filter(pk=pk).first()
        if record is None:
            raise Http404(f"Import {object_id} does not exist.")
        return record

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        template = f"admin/portfolio/companyimport/{name}.html"
        return TemplateResponse(request, template, {**common, **context})


def _number(number: int, word: str) -> SafeString:
    """Return a number; its word appears where the list has no headings."""
    tone = "quiet" if number == 0 else "figure"
    shown = f"{number:,}"
    return format_html(
        '<span class="{}">{}</span> <span class="narrow">{}</span>', tone, shown, word
    )


def _tiles(record: CompanyImport) -> list[tuple[str, int, str]]:
    """Return the counts: name, number and a note."""
    stages = record.imported - record.unknown - record.outside
    return [
        ("Imported", record.imported, f"of {record.lines:,} lines"),
        ("There already", record.skipped, _updated(record)),
        ("Refused", record.rejected, "left out"),
        ("With a stage", stages, f"{record.normalized:,} from another spelling"),
        ("Undecided", record.unknown, "stored as written"),
        ("Outside", record.outside, "stored as written"),
    ]


def _updated(record: CompanyImport) -> str:
    return f"{record.updated:,} got another stage" if record.updated else "skipped"


def _facts(record: CompanyImport) -> list[tuple[str, str]]:
    """Return (term, value) for the page."""
    options = [f"{name}: {_shown(value)}" for name, value in record.options.items()]
    return [
        ("Fund", record.fund.name),
        ("Imported by", record.actor),
        ("Imported at", f"{record.created_at:%-d %b %Y %H:%M:%S} UTC"),
        ("Mode", record.mode),
        ("Version of the decisions", str(record.decisions_version)),
        ("Plan", record.plan_hash),
        ("Options", "; ".join(options) or "none"),
        ("SHA-256 of the file", record.file_sha256),
    ]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _inbox() -> str:
    try:
        return reverse("ops-spellings")
    except NoReverseMatch:
        return ""
