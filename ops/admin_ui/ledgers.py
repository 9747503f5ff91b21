"""The parts that the operator's lists share: badges, durations, and pages of huge tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.functional import cached_property

from normalization.admin import LedgerAdmin

COUNTED_TO: Final = 10_000


@dataclass(frozen=True, slots=True)
class Badge:
    """A word with a sign, readable without colour; `tone`: good, bad, warn, busy or quiet."""

    word: str
    tone: str
    sign: str


GOOD: Final = ("good", "✓")
BAD: Final = ("bad", "✕")
WARN: Final = ("warn", "!")
QUIET: Final = ("quiet", "○")

VERDICTS: Final = {"passed": GOOD, "failed": BAD, "error": WARN}


def verdict_badge(verdict: str) -> Badge:
    """Return the badge of a check's verdict."""
    return Badge(verdict, *VERDICTS.get(verdict, QUIET))


def cell(name: str, **context: Any) -> str:
    """Return the cell of a list, drawn by the template `admin/ops/cells/NAME.html`."""
    return render_to_string(f"admin/ops/cells/{name}.html", context)


def spoken(seconds: float) -> str:
    """Return a duration for people: 8 ms, 0.4 s, 12 s, 3 min 20 s, 1 h 5 min, 2 d 3 h."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, small_unit, small in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // small
            return (
                f"{whole // size} {unit} {rest} {small_unit}"
                if rest
                else f"{whole // size} {unit}"
            )
    return f"{whole} s"


class OperatorLedger(LedgerAdmin):
    """A read-only list in the operator's style, ordered by the index of its table."""

    sortable_by = ()
    empty_value_display = ""
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("ops/ledgers.css",)}


class PagedLedger(OperatorLedger):
    """A list whose objects have a read-only page each."""

    noun = ""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of one object, among `objects_for_page`."""
        found = self.find(request, object_id)
        if request.method == "POST":
            raise PermissionDenied
        return self.show(request, found)

    def find(self, request: HttpRequest, object_id: str) -> Any:
        """Return one object. Raises PermissionDenied, or Http404 if there is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        objects = self.objects_for_page()
        found = objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        if found is None:
            raise Http404(f"There is no {self.noun} {object_id}.")
        return found

    def objects_for_page(self) -> QuerySet[Any]:
        """Return the objects as their page needs them."""
        raise NotImplementedError

    def show(self, request: HttpRequest, found: Any, /) -> HttpResponse:
        """Return the page of an object."""
        raise NotImplementedError

    def page(
        self, request: HttpRequest, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        """Return a page in the frame of the admin."""
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **context})


class CountedToPaginator(Paginator[Any]):
    """Counts at most COUNTED_TO rows; longer lists are filtered instead of paged through."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """The number of rows, at most COUNTED_TO."""
        return self.object_list.order_by()[:COUNTED_TO].count()


class ChoiceFilter(admin.SimpleListFilter):
    """Filters by the column `parameter_name`, which holds one of `words`."""

    words: Iterable[str] = ()

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """Return the words."""
        return [(word, word) for word in self.words]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the chosen word."""
        return (
            queryset.filter(**{str(self.parameter_name): self.value()})
            if self.value()
            else queryset
        )
