"""The parts that the operator's lists share: badges, durations, and pages of huge tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
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
