"""A page of the list of strategies: newest first, continued by a signed cursor."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

from normalization.issue_codes import IssueCode
from normalization.problems import invalid
from normalization.serializers import StrictSerializer, built, parse
from stagenorm.portfolio.models import PortfolioStrategy
from stagenorm.portfolio.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    CursorField,
    QueryIntegerField,
    query_item,
    read_cursor,
    write_cursor,
)


class StrategyQuerySerializer(StrictSerializer):
    """The query parameters, as documented."""

    fund_id = QueryIntegerField(required=False, help_text="Lists this fund only.")
    limit = QueryIntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    cursor = CursorField()


@dataclass(frozen=True, slots=True)
class StrategyQuery:
    """The parameters of one request; None for a filter that was not given."""

    fund_id: int | None
    limit: int
    cursor: str | None


def read_query(given: QueryDict) -> StrategyQuery:
    """Return the parameters.

    Raises one problem that names each unknown, repeated or malformed one.
    """
    members = read_parameters(given, StrategyQuerySerializer)
    return StrategyQuery(members.get("fund_id"), members["limit"], members.get("cursor"))


def read_parameters(given: QueryDict, serializer: type[StrictSerializer]) -> dict[str, Any]:
    """Return the validated query parameters of a list.

    Raises one problem that names each unknown, repeated or malformed one.
    """
    known = built(serializer).fields
    errors = [
        query_item(name, IssueCode.REPEATED_PARAMETER, "Give the parameter once.")
        if name in known
        else query_item(
            name,
            IssueCode.UNKNOWN_PARAMETER,
            f"Unknown parameter. The parameters are {', '.join(known)}.",
        )
        for name, values in given.lists()
        if name not in known or len(values) != 1
    ]
    if errors:
        raise invalid(errors)
    members: dict[str, Any] = parse(serializer, given.dict(), where="query")
    return members


def find_page(
    strategies: QuerySet[PortfolioStrategy], query: StrategyQuery
) -> tuple[list[PortfolioStrategy], str | None]:
    """Return a page with its allocations, in at most three statements, and the next page's cursor.

    A strategy created while a client pages is newer than its cursor, so it shifts no page.
    """
    if query.cursor is not None:
        strategies = strategies.filter(pk__lt=read_cursor(_list_identity(query), query.cursor))
    found = list(
        strategies.order_by("-pk").prefetch_related("stage_allocations")[: query.limit + 1]
    )
    page = found[: query.limit]
    if len(found) <= query.limit:
        return page, None
    return page, write_cursor(_list_identity(query), page[-1].pk)


def _list_identity(query: StrategyQuery) -> str:
    # The funds of the key are not part of it: each page asks for them again.
    return f"stagenorm.portfolio.strategies:{query.fund_id}"
