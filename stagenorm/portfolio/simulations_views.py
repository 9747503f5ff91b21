"""/api/monte-carlo: simulate a fund, and show a simulation again."""

import secrets
import uuid
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.boundary import Boundary, open_boundary
from normalization.problems import Problem
from normalization.serializers import header, problem_responses, stage_headers
from stagenorm.portfolio import idempotency, simulations
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, visible_funds
from stagenorm.portfolio.bodies import (
    DRY_RUN_ANSWER,
    client_of,
    dry_run_answer,
    read_body,
)
from stagenorm.portfolio.models import Fund, Simulation
from stagenorm.portfolio.monte_carlo import SimulationParameters
from stagenorm.portfolio.simulations_serializers import (
    MAX_SEED,
    SimulationAnswerSerializer,
    SimulationSerializer,
)
from stagenorm.portfolio.throttling import SimulateThrottle

ENDPOINT: Final = "monte-carlo-simulate"


class Simulate(APIView):
    """Simulations of the funds that the key may see."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)
    throttle_classes = (SimulateThrottle,)

    @extend_schema(
        operation_id="simulate",
        summary="Simulate a fund",
        description=(
            "Without `stage_distribution` the fund's own active companies are the mix. A stage that is not known is "
            "refused in mode enforce; otherwise it is left out, the rest is rescaled and `unmodelled_weight` says how "
            "much was left out. The same parameters and seed give the same numbers."
        ),
        tags=["monte-carlo"],
        parameters=[
            *stage_headers([200, 202, 400]),
            *idempotency.parameters(200),
            header("Retry-After", "Seconds until the next request is admitted.", [429]),
        ],
        request=SimulationSerializer,
        responses={
            200: SimulationAnswerSerializer,
            **DRY_RUN_ANSWER,
            **problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429),
        },
    )
    def post(self, request: Request) -> Response:
        """Simulate, store, answer."""
        fund, members = read_body(request, SimulationSerializer(data=request.data))
        boundary = open_boundary(request, endpoint=ENDPOINT)
        if boundary.dry_run:
            return _simulate(request, fund, members, boundary)
        return idempotency.once(
            request, ENDPOINT, lambda: _simulate(request, fund, members, boundary)
        )


class SimulationDetail(APIView):
    """One simulation."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="get_simulation",
        summary="A simulation, as it was answered",
        tags=["monte-carlo"],
        responses={200: SimulationAnswerSerializer, **problem_responses(401, 404)},
    )
    def get(self, request: Request, simulation_id: uuid.UUID) -> Response:
        """Answer the body that the POST had."""
        simulation = Simulation.objects.filter(
            fund__in=visible_funds(request), pk=simulation_id
        ).first()
        if simulation is None:
            detail = "There is no such simulation, or the key may not see its fund."
            raise Problem("not-found", status=404, detail=detail)
        return Response(simulations.shown(simulation))


def _simulate(
    request: Request, fund: Fund, members: dict[str, Any], boundary: Boundary
) -> Response:
    given = members.get("stage_distribution")
    mix = (
        simulations.stored_mix(boundary, fund)
        if given is None
        else simulations.given_mix(boundary, given)
    )
    seed = members.get("seed")
    if boundary.dry_run:
        return dry_run_answer(boundary)
    parameters = SimulationParameters(
        runs=members["runs"],
        horizon_years=members["horizon_years"],
        portfolio_size=members["portfolio_size"],
        seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
        profile=members["profile"],
        stage_mix=mix.weights,
    )
    response = boundary.respond(simulations.run(fund, parameters, mix))
    stored = simulations.store(fund, client_of(request), parameters, response.data)
    response.data = simulations.shown(stored)
    return response
