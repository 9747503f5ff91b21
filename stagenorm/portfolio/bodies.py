"""The client of a request, the fund of its body, and the validated body."""

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from normalization.serializers import parse
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
    fund_id = body.get("fund_id") if isinstance(body, Mapping) else None
    if isinstance(fund_id, bool) or not isinstance(fund_id, int):
        return None
    return fund_for(request, fund_id)


def read_body(request: Request, serializer: BaseSerializer[Any]) -> tuple[Fund, dict[str, Any]]:
    """Return the body's fund and validated members; scope (404) is checked before shape (400)."""
    fund = fund_of_body(request)
    data = parse(serializer)
    return fund or fund_for(request, data["fund_id"]), data
