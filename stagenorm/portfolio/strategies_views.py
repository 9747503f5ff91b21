"""`/api/portfolio/strategies`: create, list, show, change and delete a fund's strategies."""

from typing import Any, Final, NoReturn

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.boundary import Boundary, open_boundary
from normalization.problems import Problem
from normalization.serializers import header, problem_responses, stage_headers
from normalization.stages import BUILTIN
from stagenorm.portfolio import idempotency, strategies
from stagenorm.portfolio.authentication import (
    ApiKeyAuthentication,
    HasApiKey,
    fund_for,
    visible_funds,
)
from stagenorm.portfolio.bodies import (
    DRY_RUN_ANSWER,
    client_of,
    dry_run_answer,
    fund_of_body,
)
from stagenorm.portfolio.models import Fund, PortfolioStrategy
from stagenorm.portfolio.stage_weights import (
    Items,
    judge_weights,
    member_pointer,
    rescaled_weights,
)
from stagenorm.portfolio.strategies import Allocation, allocations_of, representation
from stagenorm.portfolio.strategies_page import StrategyQuerySerializer, find_page, read_query
from stagenorm.portfolio.strategies_serializers import (
    StrategyAnswerSerializer,
    StrategyPageSerializer,
    StrategyPatchSerializer,
    StrategySerializer,
    parse_strategy,
)

ENDPOINT: Final = "portfolio-strategies"
_AT: Final = "/stage_allocation"


class Strategies(APIView):
    """The strategies of the funds that the key may see."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="list_strategies",
        summary="Strategies, newest first",
        tags=["strategies"],
        parameters=[StrategyQuerySerializer],
        responses={200: StrategyPageSerializer, **problem_responses(400, 401, 404)},
    )
    def get(self, request: Request) -> Response:
        """Answer one page."""
        query = read_query(request.query_params)
        if query.fund_id is not None:
            fund = fund_for(request, query.fund_id)
            found = PortfolioStrategy.objects.filter(fund=fund)
        else:
            found = _visible(request)
        page, next_cursor = find_page(found, query)
        return Response(
            {"strategies": [representation(each) for each in page], "next_cursor": next_cursor}
        )

    @extend_schema(
        operation_id="create_strategy",
        summary="Create a strategy",
        description=(
            "Spelling and stage are both stored. Further built-in spellings of a stage are added "
            "to its first; any other spelling keeps a row of its own. With an "
            "`Idempotency-Key`, the same body gets the first answer again for 24 hours. "
            "`Prefer: handling=dry-run` checks the request and stores nothing."
        ),
        tags=["strategies"],
        parameters=[
            *stage_headers([201, 202, 400]),
            header("Location", "The address of the new strategy.", [201]),
            *idempotency.parameters(201),
        ],
        request=StrategySerializer,
        responses={
            201: StrategyAnswerSerializer,
            **DRY_RUN_ANSWER,
            **problem_responses(400, 401, 403, 404, 409, 413, 415, 422),
        },
    )
    def post(self, request: Request) -> Response:
        """Store a strategy, once for each `Idempotency-Key`."""
        fund = fund_of_body(request)
        members = parse_strategy(StrategySerializer, request.data)
        boundary = open_boundary(request, endpoint=ENDPOINT)
        into = fund or fund_for(request, members["fund_id"])
        if boundary.dry_run:
            idempotency.key_of(request)  # refuses a malformed key; a dry run keeps nothing
            return _create(request, into, members, boundary)
        return idempotency.once(
            request, ENDPOINT, lambda: _create(request, into, members, boundary)
        )


class StrategyDetail(APIView):
    """One strategy."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="get_strategy",
        summary="One strategy",
        tags=["strategies"],
        responses={200: StrategyAnswerSerializer, **problem_responses(401, 404)},
    )
    def get(self, request: Request, strategy_id: int) -> Response:
        """Answer the stored strategy."""
        strategy = _visible(request).filter(pk=strategy_id).first() or _missing()
        return Response(representation(strategy))

    @extend_schema(
        operation_id="change_strategy",
        summary="Change members of a strategy",
        description=(
            "Checks the strategy as it would become. `check_size` is merged; `stage_allocation`, "
            "`sector_allocation` and `tags` are replaced. Mode enforce accepts a stage spelling "
            "that the strategy already has. `Prefer: handling=dry-run` checks the request and "
            "stores nothing."
        ),
        tags=["strategies"],
        parameters=stage_headers([200, 202, 400]),
        request=StrategyPatchSerializer,
        responses={
            200: StrategyAnswerSerializer,
            **DRY_RUN_ANSWER,
            **problem_responses(400, 401, 403, 404, 413, 415),
        },
    )
    def patch(self, request: Request, strategy_id: int) -> Response:
        """Change the given members; the strategy is locked until the commit."""
        if not _visible(request).filter(pk=strategy_id).exists():
            _missing()
        body = request.data  # read now: a slow sender must not keep the strategy locked
        boundary = open_boundary(request, endpoint=ENDPOINT)
        with transaction.atomic():
            strategy = strategies.locked(_visible(request), strategy_id) or _missing()
            stored = {
                "target_portfolio_size": strategy.target_portfolio_size,
                "max_portfolio_size": strategy.max_portfolio_size,
                "check_size": strategies.check_size_of(strategy),
            }
            members = parse_strategy(StrategyPatchSerializer, body, stored, partial=True)
            allocations = None
            if "stage_allocation" in members:
                legacy = strategies.stored_texts_of(strategy)
                allocations = _judge(boundary, members["stage_allocation"], legacy)
            strategies.change(strategy, members, allocations)
            if boundary.dry_run:
                transaction.set_rollback(True)
                return dry_run_answer(boundary)
            answer = representation(strategy)
        return boundary.respond(answer)

    @extend_schema(
        operation_id="delete_strategy",
        summary="Delete a strategy",
        tags=["strategies"],
        request=None,
        responses={204: None, **problem_responses(401, 403, 404)},
    )
    def delete(self, request: Request, strategy_id: int) -> Response:
        """Delete the strategy and its rows."""
        # Locked first: a concurrent PATCH could otherwise add rows to the deleted strategy.
        with transaction.atomic():
            strategy = strategies.locked(_visible(request), strategy_id) or _missing()
            strategy.delete()
        return Response(status=204)


def _create(request: Request, fund: Fund, members: dict[str, Any], boundary: Boundary) -> Response:
    allocations = _judge(boundary, members["stage_allocation"])
    with transaction.atomic():
        strategy = strategies.create(fund, client_of(request), members, allocations)
        if boundary.dry_run:
            transaction.set_rollback(True)
            return dry_run_answer(boundary)
    location = reverse("strategy", args=[strategy.pk])
    return boundary.respond(representation(strategy), status=201, headers={"Location": location})


def _judge(
    boundary: Boundary, items: Items, legacy: frozenset[str] = frozenset()
) -> list[Allocation]:
    results, _ = judge_weights(
        boundary, items, at=_AT, pointer=member_pointer(_AT, items), legacy=legacy
    )
    return allocations_of(results, rescaled_weights(items, BUILTIN))


def _visible(request: Request) -> QuerySet[PortfolioStrategy]:
    return PortfolioStrategy.objects.filter(fund__in=visible_funds(request))


def _missing() -> NoReturn:
    raise Problem(
        "not-found",
        status=404,
        detail="The strategy does not exist, or the key may not see its fund.",
    )
