"""The client of a request, the fund of its body, the validated body, and the dry run of both."""

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from normalization.boundary import Boundary
from normalization.serializers import WarningItemSerializer, parse, whole_number
from stagenorm.portfolio.authentication import fund_for
from stagenorm.portfolio.models import Fund


def client_of(request: Request) -> str:
    """Return the name of the calling client."""
    key: Any = request.auth
    return str(key.name)


def fund_of_body(request: Request) -> Fund | None:
    """Return the fund of the body; None if the body names none in the right shape.

    Raises the 404 problem for a well-formed id of a fund that does not exist or that the key may
    not see. That comes before every other fault: a client learns nothing about other funds.
    """
    body = request.data
    fund_id = whole_number(body.get("fund_id")) if isinstance(body, Mapping) else None
    return None if fund_id is None else fund_for(request, fund_id)


def read_body(
    request: Request, shape: type[serializers.Serializer[Any]]
) -> tuple[Fund, dict[str, Any]]:
    """Return the body's fund and validated members; scope (404) is checked before shape (400)."""
    fund = fund_of_body(request)
    data = parse(shape, request.data)
    return fund or fund_for(request, data["fund_id"]), data


class DryRunSerializer(serializers.Serializer[Any]):
    """The answer to a dry run that would succeed."""

    accepted = serializers.BooleanField(help_text="Always true: a refusal is a problem.")
    warnings = WarningItemSerializer(many=True)


# A status of its own: generated clients get one type for each status and no union.
DRY_RUN_ANSWER: Final = {
    202: OpenApiResponse(
        DryRunSerializer,
        description="With `Prefer: handling=dry-run`: would succeed. Nothing was stored.",
    )
}


def dry_run_answer(boundary: Boundary) -> Response:
    """Return the answer to a dry run; the caller rolls back what it wrote."""
    return boundary.respond({"accepted": True, "warnings": []}, status=202)
