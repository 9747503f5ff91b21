"""The log of every write in the admin.

It may have millions of rows, so no query here counts or sorts all of them.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse

from normalization.columns import stage_columns
from ops.admin_ui.characters import Visible, visible
from ops.admin_ui.ledgers import COUNTED_TO, ChoiceFilter, CountedToPaginator, PagedLedger, cell
from ops.backfill.models import BackfillRun, NormalizationLog

RUNS_OFFERED = 15
IDS_SHOWN = 200


class RunFilter(ChoiceFilter):
    """The log of one run; the index of the table serves it."""

    title, parameter_name = "run", "run_id"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the last runs."""
        runs = BackfillRun.objects.values_list("pk", "kind", "state")[:RUNS_OFFERED]
        return [(str(pk), f"{pk} ({kind}, {state})") for pk, kind, state in runs]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the run; none if the parameter is not a number."""
        if self.value() and not str(self.value()).isdecimal():
            return queryset.none()
        return super().queryset(request, queryset)


class TableFilter(ChoiceFilter):
    """The tables with stages, from the models: searching the log for them would be slow."""

    title, parameter_name = "table", "table_name"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the tables."""
        return [(name, name) for name in sorted({each.table for each in stage_columns()})]


@admin.register(NormalizationLog)
class NormalizationLogAdmin(PagedLedger):
    """Every write of every run. The list leaves out the ids: a batch has thousands."""

    noun = "entry"
    list_display = ("entry", "text", "stored", "became", "counted", "place", "written")
    list_display_links = None
    list_filter = (RunFilter, TableFilter)
    ordering = ("-run_id", "-batch", "-id")
    actions = None
    show_full_result_count = False
    paginator = CountedToPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[NormalizationLog]:
        """Defer the ids until one entry is opened."""
        return NormalizationLog.objects.defer("ids")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and how far it is counted."""
        return super().changelist_view(
            request, {"counted_to": COUNTED_TO, **(extra_context or {})}
        )

    def objects_for_page(self) -> QuerySet[NormalizationLog]:
        """Return the entries, each with its first ids."""
        return NormalizationLog.objects.defer("ids").annotate(first_ids=F(f"ids__0_{IDS_SHOWN}"))

    def show(self, request: HttpRequest, entry: NormalizationLog, /) -> HttpResponse:
        """Show one entry with its first ids."""
        context = {
            "title": f"Run {entry.run_id}, batch {entry.batch}",
            "entry": entry,
            "before": _shown(entry.before),
            "after": _shown(entry.after),
            "raw": _shown(entry.raw),
            "more": max(0, entry.rows - IDS_SHOWN),
        }
        return self.page(request, "admin/ops/normalizationlog/entry.html", context)

    @admin.display(description="run and batch")
    def entry(self, entry: NormalizationLog) -> str:
        """A link to the entry with its ids."""
        return cell("entry", entry=entry)

    @admin.display(description="text")
    def text(self, entry: NormalizationLog) -> str:
        """The text that decided; blank for a column that is its own text."""
        return "" if entry.raw is None else cell("raw", value=visible(entry.raw))

    @admin.display(description="before")
    def stored(self, entry: NormalizationLog) -> str:
        """The value before the write."""
        return cell("raw", value=_shown(entry.before))

    @admin.display(description="after")
    def became(self, entry: NormalizationLog) -> str:
        """The value written."""
        return cell("raw", value=_shown(entry.after))

    @admin.display(description="rows")
    def counted(self, entry: NormalizationLog) -> str:
        """The number of rows."""
        return cell("number", number=entry.rows, word="rows")

    @admin.display(description="column")
    def place(self, entry: NormalizationLog) -> str:
        """The table and the column."""
        return f"{entry.table_name}.{entry.column_name}"

    @admin.display(description="written (UTC)")
    def written(self, entry: NormalizationLog) -> str:
        """The time of the write."""
        return cell("moment", at=entry.written_at)


def _shown(value: str | None) -> Visible | None:
    """Return a value for a page; None is shown as no stage."""
    return None if value is None else visible(value)
