"""Page cursors: where a list was left, signed, and good for that list only."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from django.core import signing

from normalization.stages import fold
from stagenorm.portfolio.companies_parameters import Parameters
from stagenorm.portfolio.companies_query import Position

# A position holds a name of 200 characters at most, each escaped to 12 at most, in base64; then the signature.
LONGEST_CURSOR: Final = 4_096


class CursorInvalid(ValueError):
    """The text is no cursor of this list: changed, cut, made up, or from a list with another fund, filter or sort."""


def write_cursor(fund: int, parameters: Parameters, position: Position) -> str:
    """Return the URL-safe cursor that continues this list after `position`, for whichever client."""
    return _signer(fund, parameters).sign_object([position.value, position.id])


def read_cursor(fund: int, parameters: Parameters) -> Position | None:
    """Return the position in the parameters' cursor, None without one; raise `CursorInvalid`."""
    if parameters.cursor is None:
        return None
    if len(parameters.cursor) > LONGEST_CURSOR:
        raise CursorInvalid
    try:
        value, company = _signer(fund, parameters).unsign_object(parameters.cursor)
    except signing.BadSignature as error:
        raise CursorInvalid from error
    return Position(value, company)


def _signer(fund: int, parameters: Parameters) -> signing.Signer:
    """The list is part of the key, not of the cursor. A stage counts by its folded text, so that an alias that is
    decided while somebody pages does not end the paging. The page size may change."""
    stage = None if parameters.stage is None else fold(parameters.stage)
    listed = [fund, stage, parameters.status, parameters.sector, parameters.q, parameters.sort]
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return signing.Signer(salt=f"stagenorm.portfolio.companies:{digest}", sep=".")
