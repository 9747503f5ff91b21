"""/api/monte-carlo: simulate a fund, show a simulation again, and list the profiles."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from normalization.boundary import Boundary, open_boundary
from normalization.deprecations import weak_etag
from normalization.problems import Problem, invalid
from normalization.serializers import header, problem_responses, stage_headers
from normalization.views import etag_matches
from stagenorm.portfolio import idempotency, simulations
from stagenorm.portfolio.authentication import ApiKeyAuthentication, HasApiKey, visible_funds
from stagenorm.portfolio.bodies import (
    DRY_RUN_ANSWER,
    client_of,
    dry_run_answer,
    read_body,
)
from stagenorm.portfolio.fund_summary import Included, Targets
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.models import Fund, PortfolioStrategy, Simulation
from stagenorm.portfolio.monte_carlo import SimulationParameters
from stagenorm.portfolio.simulation_answer_serializers import SimulationAnswerSerializer
from stagenorm.portfolio.simulation_examples import ANSWER_EXAMPLE, REQUEST_EXAMPLES
from stagenorm.portfolio.simulation_profiles import ProfilesSerializer, profiles_listing
from stagenorm.portfolio.simulation_request_serializers import MAX_SEED, SimulationSerializer
from stagenorm.portfolio.simulation_requests import (
    DEFAULT_HORIZON_YEARS,
    DEFAULT_PORTFOLIO_SIZE,
    FundRequest,
    MixBasis,
    ScenarioRequest,
    StageMix,
    faults_of_plans,
    filled,
    parameters_of,
    plan_warnings,
)
from stagenorm.portfolio.simulations import GivenStages

ENDPOINT: Final = "monte-carlo-simulate"
DESCRIPTION: Final = (
    "Without `stage_distribution` the strategy's allocation or the fund's own active companies "
    "are the mix. A stage that is not known is refused in mode enforce; otherwise it is left "
    "out, the rest is rescaled and `unmodelled_weight` is the share that was left out. The same "
    "parameters and seed give the same numbers.\n\n**Use `market-v2`.** Name it as `profile`; "
    "the default is still `market-v1`. With `market-v1` companies are independent, everything "
    "is invested at once and there are no fees: 4 % of funds lose money, where 24 % of "
    "published funds do. `market-v2` has a factor that all companies of a fund share, fees, "
    "carry, reserves and deployment over time, and is calibrated to published net returns: 25 % "
    "of funds lose money. Its main numbers are net; `basis` names the basis of each member. "
    "`GET /api/monte-carlo/profiles` has all assumptions with their sources and known limits, "
    "docs/simulation.md describes the model."
)


class Simulate(APIView):
    """Simulations of the funds that the key may see."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)
    throttle_scope = "monte-carlo-simulate"

    @extend_schema(
        operation_id="simulate",
        summary="Simulate a fund",
        description=DESCRIPTION,
        tags=["monte-carlo"],
        parameters=[
            *stage_headers([200, 202, 400]),
            *idempotency.parameters(200),
            header("Retry-After", "Seconds until the next request is admitted.", [429]),
        ],
        request=SimulationSerializer,
        examples=[
            *(
                OpenApiExample(name, value, request_only=True)
                for name, value in REQUEST_EXAMPLES.items()
            ),
            OpenApiExample(
                "market-v2 with a path", ANSWER_EXAMPLE, response_only=True, status_codes=["200"]
            ),
        ],
        responses={
            200: SimulationAnswerSerializer,
            **DRY_RUN_ANSWER,
            **problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429),
        },
    )
    def post(self, request: Request) -> Response:
        """Simulate, store, answer."""
        fund, members = read_body(request, SimulationSerializer)
        if "seed" not in members:
            members["seed"] = secrets.randbelow(MAX_SEED + 1)
        boundary = open_boundary(request, endpoint=ENDPOINT)
        if boundary.dry_run:
            idempotency.key_of(request)  # refuses a malformed key; a dry run keeps nothing
            return _simulate(request, fund, members, boundary)
        return idempotency.once(
            request, ENDPOINT, lambda: _simulate(request, fund, members, boundary)
        )


def _simulate(
    request: Request, fund: Fund, members: Mapping[str, Any], boundary: Boundary
) -> Response:
    if members["profile"] in MARKET_PROFILES:
        return _simulate_fund(request, fund, members, boundary)
    return _simulate_companies(request, fund, members, boundary)


def _simulate_companies(
    request: Request, fund: Fund, members: Mapping[str, Any], boundary: Boundary
) -> Response:
    """Simulate with a profile of the first generation."""
    mix = _base_mix(boundary, fund, None, members)
    if boundary.dry_run:
        return dry_run_answer(boundary)
    parameters = SimulationParameters(
        runs=members["runs"],
        horizon_years=members.get("horizon_years", DEFAULT_HORIZON_YEARS),
        portfolio_size=members.get("portfolio_size", DEFAULT_PORTFOLIO_SIZE),
        seed=members["seed"],
        profile=members["profile"],
        stage_mix=mix.weights,
    )
    response = boundary.respond(simulations.run(fund, parameters, mix))
    stored = simulations.store(fund, client_of(request), parameters, response.data)
    response.data = simulations.shown(stored)
    return response


def _simulate_fund(
    request: Request, fund: Fund, members: Mapping[str, Any], boundary: Boundary
) -> Response:
    """Simulate with a profile of the second generation, with the scenarios."""
    strategy = _strategy_of(fund, members)
    merged = filled(members, fund, strategy)
    faults = faults_of_plans(merged, members)
    if faults:
        raise invalid(faults)
    asked = _fund_request(boundary, fund, strategy, merged)
    boundary.warnings.extend(plan_warnings(asked))
    if boundary.dry_run:
        return dry_run_answer(boundary)
    response = boundary.respond(simulations.run_fund(fund, asked))
    answer = simulations.fit(response.data)
    stored = simulations.store(fund, client_of(request), asked.parameters, answer, asked.strategy)
    response.data = simulations.shown(stored)
    return response


def _strategy_of(fund: Fund, members: Mapping[str, Any]) -> PortfolioStrategy | None:
    """Return the strategy that the request names. Raises the 404 problem if the fund has no such
    strategy.
    """
    if "strategy_id" not in members:
        return None
    strategy = PortfolioStrategy.objects.filter(fund=fund, pk=members["strategy_id"]).first()
    if strategy is None:
        raise Problem("not-found", status=404, detail="The fund has no such strategy.")
    return strategy


def _fund_request(
    boundary: Boundary, fund: Fund, strategy: PortfolioStrategy | None, merged: dict[str, Any]
) -> FundRequest:
    """Check all stages of the request, and return what it asks for."""
    mix = _base_mix(boundary, fund, strategy, merged)
    parameters = parameters_of(merged, mix)
    scenarios = None
    if merged["scenarios"] is not None:
        scenarios = [
            _scenario(boundary, merged, mix, index) for index in range(len(merged["scenarios"]))
        ]
    include = merged["include"]
    return FundRequest(
        parameters=parameters,  # type: ignore[arg-type]  # of the generation of the profile
        mix=mix,
        mix_basis=merged["mix_basis"],
        strategy=strategy,
        commitment_usd=merged["commitment_usd"],
        cheques=merged["check_size"],
        targets=Targets(merged["target_multiple"], merged["target_irr"]),
        included=Included(gross="gross" in include, path="path" in include),
        scenarios=scenarios,
    )


def _base_mix(
    boundary: Boundary,
    fund: Fund,
    strategy: PortfolioStrategy | None,
    members: Mapping[str, Any],
) -> StageMix:
    """Check the stages of the base and of the scenarios together; return the mix of the base."""
    given = _given_stages(members)
    simulations.check_stages(boundary, given)
    if members.get("stage_distribution") is not None:
        return simulations.given_mix(boundary, given[0])
    if strategy is not None:
        return simulations.strategy_mix(boundary, strategy)
    return simulations.stored_mix(boundary, fund, members.get("mix_basis", MixBasis.COMPANIES))


def _given_stages(members: Mapping[str, Any]) -> list[GivenStages]:
    given = []
    if members.get("stage_distribution") is not None:
        given.append(GivenStages(members["stage_distribution"], simulations.AT))
    for index, scenario in enumerate(members.get("scenarios") or ()):
        if "stage_distribution" in scenario:
            given.append(_scenario_stages(scenario, index))
    return given


def _scenario_stages(scenario: Mapping[str, Any], index: int) -> GivenStages:
    return GivenStages(scenario["stage_distribution"], f"/scenarios/{index}{simulations.AT}")


def _scenario(
    boundary: Boundary, merged: Mapping[str, Any], base: StageMix, index: int
) -> ScenarioRequest:
    own = merged["scenarios"][index]
    mix = base
    if "stage_distribution" in own:
        mix = simulations.given_mix(boundary, _scenario_stages(own, index))
    return ScenarioRequest(
        own["label"], parameters_of({**merged, **own}, mix), mix, frozenset(own)
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


class Profiles(APIView):
    """The return profiles."""

    authentication_classes = (ApiKeyAuthentication,)
    permission_classes = (HasApiKey,)

    @extend_schema(
        operation_id="list_profiles",
        summary="Return profiles: every assumption, what it is calibrated to, and its limits",
        description=(
            "The numbers of a published profile never change; better numbers get a new name. "
            "`recommended` is the profile to name in new integrations."
        ),
        tags=["monte-carlo"],
        parameters=[
            OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER),
            header("ETag", "Changes when a profile is added.", [200, 304]),
        ],
        responses={
            200: ProfilesSerializer,
            304: OpenApiResponse(description="Nothing changed since the ETag sent."),
            **problem_responses(401),
        },
    )
    def get(self, request: Request) -> Response:
        """Answer the profiles, or 304 if the caller has them already."""
        body = profiles_listing()
        headers = {"ETag": weak_etag(body), "Cache-Control": "private, no-cache"}
        if etag_matches(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return Response(status=304, headers=headers)
        return Response(body, headers=headers)
