"""`GET /api/funds`: the funds that a key may see."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.serializers import StrictSerializer, problem_responses
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, visible_funds
from stagenorm.portfolio.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    CursorField,
    QueryIntegerField,
    read_cursor,
    write_cursor,
)
from stagenorm.portfolio.strategies_page import read_parameters

# The cursor belongs to the whole list. Each page asks again for the funds of the key.
LIST_IDENTITY = "stagenorm.portfolio.funds"


class FundQuerySerializer(StrictSerializer):
    """The query parameters, as documented."""

    limit = QueryIntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    cursor = CursorField()


class FundSerializer(serializers.Serializer[Any]):
    """A fund."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    size_usd = serializers.DecimalField(
        16, 2, allow_null=True, help_text="A decimal string: exact to the cent."
    )
    vintage_year = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField(help_text="UTC.")


class FundPageSerializer(serializers.Serializer[Any]):
    """A page of funds."""

    funds = FundSerializer(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text="`cursor` of the next page; null on the last one."
    )


class Funds(APIView):
    """The funds of the key."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="list_funds",
        summary="Funds that the key may see",
        description="In order of id. A fund outside the key's scope is not listed.",
        tags=["funds"],
        parameters=[FundQuerySerializer],
        responses={200: FundPageSerializer, **problem_responses(400, 401)},
    )
    def get(self, request: Request) -> Response:
        """Answer one page."""
        query = read_parameters(request.query_params, FundQuerySerializer)
        funds = visible_funds(request).order_by("pk")
        if "cursor" in query:
            funds = funds.filter(pk__gt=read_cursor(LIST_IDENTITY, query["cursor"]))
        found = list(funds[: query["limit"] + 1])
        page = found[: query["limit"]]
        more = len(found) > query["limit"]
        cursor = write_cursor(LIST_IDENTITY, page[-1].pk) if more else None
        return Response({"funds": FundSerializer(page, many=True).data, "next_cursor": cursor})
