"""What a request says of itself: who sent it, and which fund its body is about."""

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from normalization.serializers import parse
from stagenorm.portfolio.authentication import fund_for
from stagenorm.portfolio.models import Fund


def client_of(request: Request) -> str:
    """The name of the calling client, whichever of its keys it used."""
    key: Any = request.auth
    return str(key.name)


def fund_of_body(request: Request) -> Fund | None:
    """The fund that the body names; None when it names none in the right shape, which `parse` will then say.

    Raises the 404 problem for a well-formed id that does not exist or that the key may not see, whatever else is
    wrong with the body: a client learns nothing about a fund that is not its own.
    """
    body = request.data
    fund_id = body.get("fund_id") if isinstance(body, Mapping) else None
    if isinstance(fund_id, bool) or not isinstance(fund_id, int):
        return None
    return fund_for(request, fund_id)


def read_body(request: Request, serializer: BaseSerializer[Any]) -> tuple[Fund, dict[str, Any]]:
    """The body's fund and its validated members, in the order of checks: scope (404), then shape (400)."""
    fund = fund_of_body(request)
    data = parse(serializer)
    return fund or fund_for(request, data["fund_id"]), data
