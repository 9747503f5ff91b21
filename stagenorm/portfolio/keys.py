"""Creating API keys in code; the admin has a form of its own."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from stagenorm.portfolio.models import ApiKey, ApiKeyFund, Fund


class KeyRefused(ValueError):
    """The key cannot be created; the message names the fix."""


def create_key(
    name: str,
    *,
    funds: Collection[int] = (),
    read_only: bool = False,
    operator: bool = False,
    expires: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key for the client `name`; return it with its text, which is not stored anywhere.

    `funds` are the ids the key is limited to; empty means all. `operator` gives access to the
    operator's endpoints. Raises `KeyRefused` for a missing fund and for a name other than 1 to 50
    printable ASCII characters.
    """
    key = ApiKey(name=name, read_only=read_only, operator=operator, expiry_date=expires)
    text = ApiKey.objects.assign_key(key)
    try:
        key.full_clean()
    except ValidationError as error:
        raise KeyRefused("; ".join(error.messages)) from error
    with transaction.atomic():
        key.save(force_insert=True)
        _limit(key, set(funds))
    return key, text


def _limit(key: ApiKey, funds: set[int]) -> None:
    # Locked, so that no fund is deleted between this query and the insert.
    found = set(
        Fund.objects.select_for_update(no_key=True)
        .filter(pk__in=funds)
        .values_list("pk", flat=True)
    )
    if missing := sorted(funds - found):
        raise KeyRefused("Missing fund: " + ", ".join(map(str, missing)) + ".")
    ApiKeyFund.objects.bulk_create(ApiKeyFund(api_key=key, fund_id=fund) for fund in sorted(funds))
