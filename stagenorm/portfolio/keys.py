"""Making API keys: the one function for it, beside the admin's form."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from stagenorm.portfolio.models import ApiKey, ApiKeyFund, Fund


class KeyRefused(ValueError):
    """The key cannot be made; the message says what to mend."""


def create_key(
    name: str,
    *,
    funds: Collection[int] = (),
    read_only: bool = False,
    operator: bool = False,
    expires: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for the client `name` and return it with its text, which is not kept anywhere.

    `funds` are the ids it is limited to, none for all; `operator` opens the operator's endpoints to it. Raises
    `KeyRefused` for a fund that is not there and for a name other than 1 to 50 printable ASCII characters.
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
    # Locked, so that no fund goes between the look and the limit.
    found = set(
        Fund.objects.select_for_update(no_key=True)
        .filter(pk__in=funds)
        .values_list("pk", flat=True)
    )
    if missing := sorted(funds - found):
        raise KeyRefused("There is no fund " + ", ".join(map(str, missing)) + ".")
    ApiKeyFund.objects.bulk_create(ApiKeyFund(api_key=key, fund_id=fund) for fund in sorted(funds))
