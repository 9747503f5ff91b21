"""/api/portfolio/strategies/{id}/simulations: the simulations of a strategy, newest first."""

import uuid
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.problems import Problem
from normalization.serializers import StrictSerializer, problem_responses
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, visible_funds
from stagenorm.portfolio.models import PortfolioStrategy, Simulation
from stagenorm.portfolio.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    CursorField,
    QueryIntegerField,
    read_cursor,
    write_cursor,
)
from stagenorm.portfolio.simulation_answer_serializers import SimulationPageSerializer
from stagenorm.portfolio.strategies_page import read_parameters

SHOWN: Final = ("profile", "engine", "seed", "parameters_hash", "parameters", "stage_mix")
NUMBERS: Final = ("tvpi", "irr", "probabilities")


class SimulationQuerySerializer(StrictSerializer):
    """The query parameters, as documented."""

    limit = QueryIntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    cursor = CursorField()


class StrategySimulations(APIView):
    """The simulations that named a strategy."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="list_simulations_of_strategy",
        summary="Simulations of a strategy, newest first",
        description="Simulations that were requested with the strategy's id and are still kept.",
        tags=["strategies"],
        parameters=[SimulationQuerySerializer],
        responses={200: SimulationPageSerializer, **problem_responses(400, 401, 404)},
    )
    def get(self, request: Request, strategy_id: int) -> Response:
        """Answer one page."""
        query = read_parameters(request.query_params, SimulationQuerySerializer)
        strategies = PortfolioStrategy.objects.filter(fund__in=visible_funds(request))
        strategy = strategies.filter(pk=strategy_id).first()
        if strategy is None:
            detail = "There is no such strategy, or the key may not see its fund."
            raise Problem("not-found", status=404, detail=detail)
        page, next_cursor = find_page(strategy, query["limit"], query.get("cursor"))
        return Response({"simulations": [_row(each) for each in page], "next_cursor": next_cursor})


def find_page(
    strategy: PortfolioStrategy, limit: int, cursor: str | None
) -> tuple[list[Simulation], str | None]:
    """Return a page of the strategy's simulations and the cursor of the next one."""
    identity = f"stagenorm.portfolio.strategy_simulations:{strategy.pk}"
    simulations = Simulation.objects.filter(strategy=strategy).order_by("-created_at", "-id")
    if cursor is not None:
        simulations = _after(simulations, read_cursor(identity, cursor))
    found = list(simulations[: limit + 1])
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    last = page[-1]
    return page, write_cursor(identity, [last.created_at.isoformat(), str(last.pk)])


def _after(simulations: QuerySet[Simulation], position: list[str]) -> QuerySet[Simulation]:
    moment, number = datetime.fromisoformat(position[0]), uuid.UUID(position[1])
    return simulations.filter(
        Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=number),
        created_at__lte=moment,
    )


def _row(simulation: Simulation) -> dict[str, Any]:
    return {
        "simulation_id": str(simulation.pk),
        "created_at": simulation.created_at,
        "client": simulation.client,
        **{name: simulation.summary[name] for name in (*SHOWN, *NUMBERS)},
    }
