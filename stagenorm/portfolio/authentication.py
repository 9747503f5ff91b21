"""Authentication by `Authorization: Api-Key <key>`, and the funds that a key may see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from normalization.problems import Problem
from stagenorm.portfolio.models import ApiKey, ApiKeyFund, Fund

# rest_framework.views imports the default authentication, which is this module.
if TYPE_CHECKING:
    from rest_framework.views import APIView

CHALLENGE: Final = 'Api-Key realm="stagenorm"'
BIGINT_MAX: Final = 2**63 - 1

# A generated key is a prefix that identifies the row, a dot, and the secret. Other text never
# reaches the query.
_KEY = re.compile(r"[0-9A-Za-z]{1,8}\.[0-9A-Za-z]{1,64}")

# The columns of the statements below, in their order.
KEY_COLUMNS: Final = (
    "id", "prefix", "hashed_key", "created", "name", "revoked", "expiry_date", "read_only",
)  # fmt: skip
FUND_COLUMNS: Final = ("id", "name", "size_usd", "vintage_year", "created_at")

# Every request runs one or both statements. As SQL they cost less than their querysets take to
# build.
KEY_OF_PREFIX: Final = """
SELECT id, prefix, hashed_key, created, name, revoked, expiry_date, read_only
  FROM portfolio_apikey
 WHERE prefix = %(prefix)s
"""
FUND_IN_SCOPE: Final = """
SELECT fund.id, fund.name, fund.size_usd, fund.vintage_year, fund.created_at
  FROM portfolio_fund AS fund
 WHERE fund.id = %(fund)s
   AND (NOT EXISTS (SELECT FROM portfolio_apikeyfund WHERE api_key_id = %(key)s)
        OR EXISTS (SELECT FROM portfolio_apikeyfund
                    WHERE api_key_id = %(key)s AND fund_id = fund.id))
"""

# For addresses that name the fund: one statement instead of two. It returns the key, and after it
# the fund, whose columns are NULL if the fund is missing or outside the key's scope.
KEY_AND_FUND: Final = """
SELECT key.id, key.prefix, key.hashed_key, key.created, key.name, key.revoked, key.expiry_date,
       key.read_only, fund.id, fund.name, fund.size_usd, fund.vintage_year, fund.created_at
  FROM portfolio_apikey AS key
  LEFT JOIN portfolio_fund AS fund
    ON fund.id = %(fund)s
   AND (NOT EXISTS (SELECT FROM portfolio_apikeyfund WHERE api_key_id = key.id)
        OR EXISTS (SELECT FROM portfolio_apikeyfund
                    WHERE api_key_id = key.id AND fund_id = fund.id))
 WHERE key.prefix = %(prefix)s
"""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The client of a key, with the attributes that Django and REST framework expect of a user."""

    name: str
    is_authenticated: bool = True
    is_anonymous: bool = False
    is_active: bool = True
    is_staff: bool = False
    is_superuser: bool = False

    @property
    def pk(self) -> str:
        """The client's name, equal for all of its keys: its id in throttles and logs."""
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FundRead:
    """The fund of an address as it was read with the key; None: missing, or out of scope."""

    fund_id: int
    fund: Fund | None


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates a key in one query: `request.auth` is the `ApiKey`, `request.user` its client.

    A revoked or expired key is reported as such only with its whole secret; every other key is
    "not known".
    """

    def authenticate(self, request: Request) -> tuple[ApiClient, ApiKey] | None:
        """Return the caller, or None without the header.

        Raises `AuthenticationFailed` (401) for a malformed header and an unusable key.
        """
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        text = _key_text(header)
        key = _checked_key(_find_key(text, _fund_in_address(request)), text)
        structlog.contextvars.bind_contextvars(client=key.name)
        return ApiClient(key.name), key

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge, with which a missing key gets 401 instead of 403."""
        return CHALLENGE


def _key_text(header: str) -> str:
    scheme, _, text = header.strip(" \t").partition(" ")
    if scheme.lower() != "api-key":
        raise AuthenticationFailed("The Authorization header must have the form: Api-Key <key>.")
    text = text.strip(" \t")
    if not _KEY.fullmatch(text):
        raise AuthenticationFailed("The Authorization header holds no well-formed API key.")
    return text


def _fund_in_address(request: Request) -> int | None:
    fund_id = request.parser_context["kwargs"].get("fund_id") if request.parser_context else None
    return fund_id if isinstance(fund_id, int) and 0 < fund_id <= BIGINT_MAX else None


def _find_key(text: str, fund_id: int | None) -> ApiKey | None:
    """Return the key of the text's prefix, with `fund_read` if the address names a fund."""
    prefix = text.partition(".")[0]
    if fund_id is None:
        row = _row(KEY_OF_PREFIX, {"prefix": prefix})
    else:
        row = _row(KEY_AND_FUND, {"prefix": prefix, "fund": fund_id})
    if row is None:
        return None
    of_key, of_fund = row[: len(KEY_COLUMNS)], row[len(KEY_COLUMNS) :]
    key = ApiKey.from_db(connection.alias, KEY_COLUMNS, of_key)
    if fund_id is not None:
        found = of_fund[0] is not None
        fund = Fund.from_db(connection.alias, FUND_COLUMNS, of_fund) if found else None
        key.fund_read = FundRead(fund_id, fund)  # type: ignore[attr-defined]
    return key


def _checked_key(key: ApiKey | None, text: str) -> ApiKey:
    """Return the key if the whole text is its own, and it is neither revoked nor expired."""
    if key is None or not key.is_valid(text):
        raise AuthenticationFailed("The API key is not known.")
    if key.revoked:
        raise AuthenticationFailed("The API key was revoked.")
    if key.has_expired:
        raise AuthenticationFailed("The API key has expired.")
    return key


class HasApiKey(BasePermission):
    """Requires a key; a read-only key may use the safe methods only (403 otherwise).

    It may use every method of a view that sets `only_reads`.
    """

    message = "This API key may only read."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the caller has a key that may use the method."""
        return isinstance(request.auth, ApiKey) and (
            request.method in SAFE_METHODS
            or getattr(view, "only_reads", False)
            or not request.auth.read_only
        )


def fund_for(request: Request, fund_id: int) -> Fund:
    """Return the fund, in one query unless authentication has read it with the key.

    Raises the same 404 problem for a missing fund and for a fund outside the key's scope.
    """
    key = _key_of(request)
    read: FundRead | None = getattr(key, "fund_read", None)
    found = None
    if read is not None and read.fund_id == fund_id:
        found = read.fund
    elif 0 < fund_id <= BIGINT_MAX:
        row = _row(FUND_IN_SCOPE, {"fund": fund_id, "key": key.pk})
        if row is not None:
            found = Fund.from_db(connection.alias, FUND_COLUMNS, row)
    if found is None:
        raise Problem(
            "not-found", status=404, detail="The fund does not exist, or the key may not see it."
        )
    return found


def visible_funds(request: Request) -> QuerySet[Fund]:
    """Return the funds the caller's key may see, for lists over several funds (`fund__in=`)."""
    scope = ApiKeyFund.objects.filter(api_key=_key_of(request))
    return Fund.objects.filter(~Exists(scope) | Q(Exists(scope.filter(fund=OuterRef("pk")))))


def _row(sql: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _key_of(request: Request) -> ApiKey:
    if not isinstance(request.auth, ApiKey):
        raise TypeError("The view lacks ApiKeyAuthentication or HasApiKey.")
    return request.auth


# Defining the class registers it.
class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the header in the OpenAPI document."""

    target_class = "stagenorm.portfolio.authentication.ApiKeyAuthentication"
    name = "ApiKeyAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme object."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key <key>`, with a key made by `manage.py create_api_key NAME`.",
        }
