"""`GET /api/funds/{fund_id}/companies`: a page of a fund's companies.

The stage filter accepts any spelling and finds every stored spelling of that stage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.boundary import Boundary, open_boundary
from normalization.deprecations import STAGE_STATUSES, status_of
from normalization.problems import VALID_STAGES
from normalization.serializers import ItemSerializer, problem_responses, stage_headers
from normalization.stages import (
    Known,
    Meaning,
    SpellingTable,
    fold,
    normalize_all,
    stage_name,
)
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, fund_for
from stagenorm.portfolio.companies_parameters import (
    DOCUMENTED,
    CompanyParameters,
    read_parameters,
)
from stagenorm.portfolio.companies_query import Matching, PagePosition, Row, Search, find_page
from stagenorm.portfolio.models import PortfolioCompany
from stagenorm.portfolio.paging import read_cursor, write_cursor


class CompanySerializer(serializers.Serializer[Any]):
    """A company. With `fields` only the members that were asked for, and `id`."""

    # It documents the schema only: rows leave the database in this form.

    id = serializers.IntegerField()
    name = serializers.CharField(required=False)
    stage = serializers.ChoiceField(
        VALID_STAGES,
        required=False,
        allow_null=True,
        help_text="The stage; null when it is unknown.",
    )
    stage_raw = serializers.CharField(required=False, help_text="The stage as it was written.")
    stage_status = serializers.ChoiceField(
        STAGE_STATUSES, required=False, help_text="What the written stage means today."
    )
    status = serializers.ChoiceField(PortfolioCompany.Status.values, required=False)
    sector = serializers.CharField(required=False)
    invested_usd = serializers.DecimalField(
        16,
        2,
        required=False,
        allow_null=True,
        help_text="A decimal string: exact to the cent.",
    )
    invested_at = serializers.DateField(required=False, allow_null=True)
    created_at = serializers.DateTimeField(required=False, help_text="UTC.")
    updated_at = serializers.DateTimeField(required=False, help_text="UTC.")


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
            "Paging returns each company once, even while companies are added and stored stages "
            "are migrated. Mode enforce refuses an unknown stage; the other modes find the "
            "companies stored with that text. A nightly job can read what changed: "
            "`updated_since` with the start of its previous run, and `fields` with the members "
            "that it needs."
        ),
        tags=["companies"],
        parameters=[*DOCUMENTED, *stage_headers([200, 400])],
        responses={200: CompaniesSerializer, **problem_responses(400, 401, 404)},
    )
    def get(self, request: Request, fund_id: int) -> Response:
        """Answer one page."""
        fund = fund_for(request, fund_id)
        parameters = read_parameters(request.query_params, request.META["QUERY_STRING"])
        listed = _list_identity(fund.pk, parameters)
        after = _position(listed, parameters)
        boundary = open_boundary(request, endpoint="fund-companies")
        rows, last = find_page(_search(fund.pk, parameters, boundary), after)
        companies = _companies(rows, boundary.table)
        if parameters.fields is not None:
            companies = [_only(parameters.fields, company) for company in companies]
        cursor = write_cursor(listed, [last.value, last.id]) if last else None
        return boundary.respond({"companies": companies, "next_cursor": cursor})


def matching_stage(wanted: Meaning, table: SpellingTable) -> Matching:
    """Return the function that selects, among stored spellings, those of the wanted stage.

    A stage that is unknown or outside selects its own text, and texts that fold to the same key.
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


def matching_status(status: str, table: SpellingTable) -> Matching:
    """Return the function that selects, among stored spellings, those of the status today."""

    def of_status(stored: Collection[str]) -> frozenset[str]:
        results = normalize_all(list(stored), table)
        return frozenset(str(each.raw) for each in results if status_of(each) == status)

    return of_status


def _search(fund: int, parameters: CompanyParameters, boundary: Boundary) -> Search:
    return Search(
        fund=fund,
        sort=parameters.sort,
        limit=parameters.limit,
        matching=_matching(parameters, boundary),
        status=parameters.status,
        sector=parameters.sector,
        q=parameters.q,
        updated_since=parameters.updated_since,
    )


def _matching(parameters: CompanyParameters, boundary: Boundary) -> Matching | None:
    """Return the function that selects spellings by every filter given; None without one."""
    each: list[Matching] = []
    if parameters.stage is not None:
        [stage] = boundary.check([parameters.stage], lambda _: "/stage", where="query")
        each.append(matching_stage(stage, boundary.table))
    if parameters.stage_status is not None:
        each.append(matching_status(parameters.stage_status, boundary.table))
    if not each:
        return None
    return lambda stored: frozenset.intersection(*(matching(stored) for matching in each))


def _position(listed: str, parameters: CompanyParameters) -> PagePosition | None:
    if parameters.cursor is None:
        return None
    value, company = read_cursor(listed, parameters.cursor)
    return PagePosition(value, company)


def _list_identity(fund: int, parameters: CompanyParameters) -> str:
    # A stage counts by its folded text: an alias decided between two pages keeps the cursor valid.
    stage = None if parameters.stage is None else fold(parameters.stage)
    listed = [fund, stage, parameters.status, parameters.sector, parameters.q, parameters.sort]
    if parameters.stage_status is not None:
        listed.append(parameters.stage_status)
    if parameters.updated_since is not None:
        listed.append(parameters.updated_since.isoformat())
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return f"stagenorm.portfolio.companies:{digest}"


def _only(members: tuple[str, ...], company: dict[str, Any]) -> dict[str, Any]:
    return {name: company[name] for name in members}


def _companies(rows: list[Row], table: SpellingTable) -> list[dict[str, Any]]:
    # A page repeats few spellings: each is described once.
    meanings = normalize_all(list({row[2] for row in rows}), table)
    described = {each.raw: (stage_name(each), status_of(each)) for each in meanings}
    return [
        {
            "id": row[0],
            "name": row[1],
            "stage": described[row[2]][0],
            "stage_raw": row[2],
            "stage_status": described[row[2]][1],
            "status": row[3],
            "sector": row[4],
            "invested_usd": row[5],
            "invested_at": row[6],
            "created_at": row[7],
            "updated_at": row[8],
        }
        for row in rows
    ]
