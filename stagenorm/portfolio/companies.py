"""GET /api/funds/{fund_id}/companies: a fund's companies, by stage in whatever spelling they are stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.boundary import Boundary, open_boundary
from normalization.problems import VALID_STAGES, invalid
from normalization.serializers import ItemSerializer, problem_responses, stage_headers
from normalization.stages import Known, Meaning, SpellingTable, fold, normalize_all
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, fund_for
from stagenorm.portfolio.companies_cursor import CursorInvalid, read_cursor, write_cursor
from stagenorm.portfolio.companies_parameters import (
    DOCUMENTED,
    Parameters,
    query_item,
    read_parameters,
)
from stagenorm.portfolio.companies_query import Matching, Position, Row, Search, find_page
from stagenorm.portfolio.models import PortfolioCompany


class CompanySerializer(serializers.Serializer[Any]):
    """A company of the answer. Documentation only: the rows come from the database in this form."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    stage = serializers.ChoiceField(
        VALID_STAGES, allow_null=True, help_text="The stage; null when it is unknown."
    )
    stage_raw = serializers.CharField(help_text="The stage as it is stored.")
    status = serializers.ChoiceField(PortfolioCompany.Status.values)
    sector = serializers.CharField()
    invested_usd = serializers.DecimalField(
        16, 2, allow_null=True, help_text="A decimal string: exact to the cent."
    )
    invested_at = serializers.DateField(allow_null=True)
    created_at = serializers.DateTimeField(help_text="UTC.")
    updated_at = serializers.DateTimeField(help_text="UTC.")


class CompaniesSerializer(serializers.Serializer[Any]):
    """A page of companies."""

    companies = CompanySerializer(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text="`cursor` of the next page; null on the last one."
    )
    warnings = ItemSerializer(many=True, required=False)


class FundCompanies(APIView):
    """The companies of a fund."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="list_fund_companies",
        summary="Companies of a fund",
        description=(
            "Paging finds each company once, also while others are added and while stored stages are being migrated. "
            "A stage that is not known is refused in mode enforce; otherwise it finds the companies stored with it."
        ),
        tags=["companies"],
        parameters=[*DOCUMENTED, *stage_headers([200, 400])],
        responses={200: CompaniesSerializer, **problem_responses(400, 401, 404)},
    )
    def get(self, request: Request, fund_id: int) -> Response:
        """Answer one page."""
        fund = fund_for(request, fund_id)
        parameters = read_parameters(request.query_params, request.META["QUERY_STRING"])
        after = _position(fund.pk, parameters)
        boundary = open_boundary(request, endpoint="fund-companies")
        rows, last = find_page(_search(fund.pk, parameters, boundary), after)
        return boundary.respond(
            {
                "companies": _companies(rows, boundary.table),
                "next_cursor": write_cursor(fund.pk, parameters, last) if last else None,
            }
        )


def matching_stage(wanted: Meaning, table: SpellingTable) -> Matching:
    """Return what picks, among stored spellings, those of the stage asked for.

    A stage that is unknown or outside means the companies stored with that very text, or with one
    that folds to the same.
    """

    def of_stage(stored: Collection[str]) -> frozenset[str]:
        results = normalize_all(list(stored), table)
        same = (
            each.raw for each in results if isinstance(each, Known) and each.stage is wanted_stage
        )
        return frozenset([wanted_stage.value, *same])

    def of_text(stored: Collection[str]) -> frozenset[str]:
        results = normalize_all(list(stored), table)
        without_stage = (str(each.raw) for each in results if not isinstance(each, Known))
        return frozenset([raw, *(each for each in without_stage if fold(each) == key)])

    if isinstance(wanted, Known):
        wanted_stage = wanted.stage
        return of_stage
    raw, key = str(wanted.raw), fold(str(wanted.raw))
    return of_text


def _search(fund: int, parameters: Parameters, boundary: Boundary) -> Search:
    matching = None
    if parameters.stage is not None:
        [stage] = boundary.check([parameters.stage], lambda _: "/stage", where="query")
        matching = matching_stage(stage, boundary.table)
    return Search(
        fund=fund,
        sort=parameters.sort,
        limit=parameters.limit,
        matching=matching,
        status=parameters.status,
        sector=parameters.sector,
        q=parameters.q,
    )


def _position(fund: int, parameters: Parameters) -> Position | None:
    try:
        return read_cursor(fund, parameters)
    except CursorInvalid as error:
        detail = "This is no cursor of this list. Use next_cursor unchanged, with the same fund, filters and sort."
        raise invalid([query_item("cursor", "invalid_cursor", detail)]) from error


def _companies(rows: list[Row], table: SpellingTable) -> list[dict[str, Any]]:
    stages = normalize_all([row[2] for row in rows], table)
    return [
        {
            "id": row[0],
            "name": row[1],
            "stage": stage.stage.value if isinstance(stage, Known) else None,
            "stage_raw": row[2],
            "status": row[3],
            "sector": row[4],
            "invested_usd": row[5],
            "invested_at": row[6],
            "created_at": row[7],
            "updated_at": row[8],
        }
        for row, stage in zip(rows, stages, strict=True)
    ]
