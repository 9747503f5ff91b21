"""A page of the list of strategies: newest first, continued by a signed cursor."""

from dataclasses import dataclass
from typing import Any, Final

from django.core import signing
from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework import serializers

from normalization.problems import invalid
from normalization.serializers import StrictSerializer, parse
from stagenorm.portfolio.companies_parameters import DEFAULT_LIMIT, MAX_LIMIT, query_item
from stagenorm.portfolio.models import PortfolioStrategy

_SALT: Final = "stagenorm.portfolio.strategies"


class StrategyQuerySerializer(StrictSerializer):
    """What to list."""

    fund_id = serializers.IntegerField(required=False, help_text="Only this fund's.")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    cursor = serializers.CharField(
        required=False, max_length=500, help_text="`next_cursor` of the page before."
    )


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of one request; None where a filter was not given."""

    fund_id: int | None
    limit: int
    cursor: str | None


def read_query(given: QueryDict) -> Query:
    """Return the parameters; raises one problem for every unknown, repeated or faulty one."""
    known = StrategyQuerySerializer().fields
    errors = [
        query_item(name, "repeated_parameter", "Give the parameter once.")
        if name in known
        else query_item(
            name, "unknown_parameter", f"There is no such parameter; there are {', '.join(known)}."
        )
        for name, values in given.lists()
        if name not in known or len(values) != 1
    ]
    if errors:
        raise invalid(errors)
    members: dict[str, Any] = parse(StrategyQuerySerializer(data=given.dict()), where="query")
    return Query(members.get("fund_id"), members["limit"], members.get("cursor"))


def find_page(
    strategies: QuerySet[PortfolioStrategy], query: Query
) -> tuple[list[PortfolioStrategy], str | None]:
    """Return a page with its allocations, in three statements at most, and the cursor of the next one.

    A strategy made while somebody pages is newer than their cursor, so no page is shifted by it.
    """
    if query.cursor is not None:
        strategies = strategies.filter(pk__lt=_position(query, query.cursor))
    found = list(
        strategies.order_by("-pk").prefetch_related("stage_allocations")[: query.limit + 1]
    )
    page = found[: query.limit]
    return page, _signer(query).sign_object(page[-1].pk) if len(found) > query.limit else None


def _position(query: Query, cursor: str) -> int:
    try:
        position: int = _signer(query).unsign_object(cursor)
    except signing.BadSignature as error:
        detail = (
            "This is no cursor of this list. Use next_cursor unchanged, with the same fund_id."
        )
        raise invalid([query_item("cursor", "invalid_cursor", detail)]) from error
    return position


def _signer(query: Query) -> signing.Signer:
    # The filter is part of the key, so a cursor is good for its own list only; which funds a key sees is asked anew.
    return signing.Signer(salt=f"{_SALT}:{query.fund_id}", sep=".")
