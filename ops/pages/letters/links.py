"""The signed link under which an owner reads the letter of one client, without a login.

The token holds the client's name, the series of its links and the time, signed with a salt of its
own, so that no other signature of the service is one. It is valid for LINK_DAYS. An operator ends
every link of a client before that by beginning the next series.

The token is a parameter, not a part of the path: the logs have paths, and of parameters only the
names (`stagenorm.logging.hide_query_values`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from django.core.signing import BadSignature, TimestampSigner
from django.db.models import F
from django.db.models.functions import Now
from django.urls import reverse

from ops.pages.console import public_address
from ops.pages.letters.models import LetterLinkSeries

SALT: Final = "stagenorm.letter"
LINK_DAYS: Final = 30
LONGEST_TOKEN: Final = 1_000
TOKEN: Final = "token"  # noqa: S105 (the name of the parameter)


def letter_url(client: str) -> str:
    """Return the address of the operator's page of a letter."""
    return f"{reverse('ops-letter')}?{urlencode({'name': client})}"


def signed_link(client: str) -> str:
    """Return a link to the client's letter that is valid for LINK_DAYS from now.

    Raises `django.db.Error`.
    """
    token = _signer().sign_object([client, series_of(client)])
    return public_address(f"{reverse('letter')}?{urlencode({TOKEN: token})}")


def client_of(token: str) -> str | None:
    """Return the client whose letter a token shows; None if it is changed, expired or ended.

    Raises `django.db.Error`.
    """
    if len(token) > LONGEST_TOKEN:
        return None
    try:
        client, series = _signer().unsign_object(token, max_age=timedelta(days=LINK_DAYS))
    except BadSignature:
        return None
    return client if series == series_of(client) else None


def series_of(client: str) -> int:
    """Return the series of the client's valid links. Raises `django.db.Error`."""
    found = LetterLinkSeries.objects.filter(client=client).values_list("series", flat=True)
    return found.first() or 0


def end_links(client: str, actor: str) -> None:
    """End every link to the client's letter that was made until now. Raises `django.db.Error`."""
    LetterLinkSeries.objects.bulk_create(
        [LetterLinkSeries(client=client, series=0, ended_by=actor, ended_at=Now())],
        ignore_conflicts=True,
    )
    LetterLinkSeries.objects.filter(client=client).update(
        series=F("series") + 1, ended_by=actor[:150], ended_at=Now()
    )


def _signer() -> TimestampSigner:
    """Sign with DJANGO_SECRET_KEY; Django also accepts SECRET_KEY_FALLBACKS."""
    return TimestampSigner(salt=SALT)
