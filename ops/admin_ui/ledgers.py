"""What the operator's ledgers in the admin have in common: badges, durations, and pages of tables that may be huge."""

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
    """A word with a sign, so that nobody needs the colour. `tone`: good, bad, warn, busy or quiet."""

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
    """Return a duration as people say it: 8 ms, 0.4 s, 12 s, 3 min 20 s, 1 h 5 min, 2 d 3 h."""
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
    """A ledger in the operator's style: ordered by the table's index, so no column is sorted or counted by a click."""

    sortable_by = ()
    empty_value_display = ""
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("ops/ledgers.css",)}


class CountedToPaginator(Paginator[Any]):
    """Counts COUNTED_TO rows at most: beyond that a reader narrows the list instead of turning pages."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """The rows, or COUNTED_TO where there are as many or more."""
        return self.object_list.order_by()[:COUNTED_TO].count()


class ChoiceFilter(admin.SimpleListFilter):
    """Rows whose column `parameter_name` holds one of `words`; the words are known without asking the table."""

    words: Iterable[str] = ()

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """The words."""
        return [(word, word) for word in self.words]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with the chosen word."""
        return (
            queryset.filter(**{str(self.parameter_name): self.value()})
            if self.value()
            else queryset
        )
