"""The addresses of the inbox: what each tab, order, search and page of it is called in a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse

from ops.pages.spellings.inbox import ORDERS, InboxQuery

LONGEST_SEARCH: Final = 100
TABS: Final = {
    "": "Undecided",
    "open": "Left open",
    "stage": "Decided",
    "outside": "Outside",
    "covered": "Newly covered",
}
ORDER_NAMES: Final = {
    "weight": "Weight: rows and requests",
    "newest": "Newest first",
    "likely": "Looks like a known stage",
}


@dataclass(frozen=True, slots=True)
class InboxAddress:
    """Which part of the inbox a request asks for. Invalid parameters count as absent.

    `at` is the unit whose members and figures are shown beside the list.
    """

    tab: str = ""
    named: str = ""
    order: str = "weight"
    page: int = 1
    at: str = ""

    @classmethod
    def of(cls, given: QueryDict) -> InboxAddress:
        """Read the parameters of an address, or of a form that was shown there."""
        tab, order, page = given.get("show", ""), given.get("order", ""), given.get("page", "")
        named = "".join(filter(str.isprintable, given.get("q", "")))
        return cls(
            tab=tab if tab in TABS else "",
            named=named[:LONGEST_SEARCH].strip(),
            order=order if order in ORDERS else "weight",
            page=int(page) if page.isascii() and page.isdigit() and 0 < int(page) < 100_000 else 1,
            at=given.get("at", ""),
        )

    @property
    def query(self) -> InboxQuery:
        """What is read for the tabs of undecided spellings."""
        return InboxQuery(self.named, self.order, self.page, opened=self.tab == "open")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters that a form on this page repeats."""
        asked = {
            "show": self.tab,
            "q": self.named,
            "order": "" if self.order == "weight" else self.order,
            "page": "" if self.page == 1 else self.page,
            "at": self.at,
        }
        return {name: value for name, value in asked.items() if value}

    def url(self, **other: Any) -> str:
        """Return this address with `other` parameters."""
        parameters = {**self.parameters, **other}
        given = {name: value for name, value in parameters.items() if value}
        address = reverse("ops-spellings")
        return f"{address}?{urlencode(given)}" if given else address
