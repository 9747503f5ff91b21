"""`Idempotency-Key`: a repeated POST does its work once and gets the first answer again.

The record is written in the transaction of the work, so there is no moment at which one exists without the other:
an error or a crash leaves neither, and a corrected retry may use the same key. While the first request works it
holds an advisory lock on its key; a second one sees that and gets 409 instead of waiting. The lock is given back
by the commit itself, after the record is visible to others, so the next request finds either the lock or the record.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from normalization.problems import Problem, invalid
from stagenorm.portfolio.bodies import client_of
from stagenorm.portfolio.models import IdempotencyRecord

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LIFETIME = timedelta(hours=24)
KEPT_HEADERS = (
    "Location",
    "Deprecation",
    "Sunset",
    "Link",
    "Stage-Validation",
    "Preference-Applied",
)

_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")

# A few rows with each new record keep the table at one day of keys; SKIP LOCKED, so that two prunes never wait.
PRUNE_SQL = """
DELETE FROM portfolio_idempotencyrecord WHERE id IN (
    SELECT id FROM portfolio_idempotencyrecord WHERE created_at < %s ORDER BY created_at LIMIT 20
    FOR UPDATE SKIP LOCKED)
"""


def key_of(request: Request) -> str | None:
    """The request's key, or None when it has none. Raises Problem 400 unless it is 1 to 255 printable ASCII."""
    key: str | None = request.headers.get(HEADER)
    if key is not None and not _PRINTABLE.fullmatch(key):
        detail = f"{HEADER} must be 1 to 255 printable ASCII characters."
        raise invalid(
            [{"pointer": f"/{HEADER}", "in": "header", "code": "invalid", "detail": detail}]
        )
    return key


def body_digest(body: object) -> str:
    """sha256 of the parsed body in canonical JSON: order of members and white space do not make another request."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def once(request: Request, endpoint: str, answer: Callable[[], Response]) -> Response:
    """`answer()` in a transaction; with an `Idempotency-Key`, its first result for 24 hours.

    The key belongs to (client, endpoint). Raises Problem 409 (`Retry-After`) while the first request is still at
    work and Problem 422 when the key came with another body; whatever `answer` raises rolls back and is not kept.
    """
    key = key_of(request)
    with transaction.atomic():
        if key is None:
            return answer()
        client = client_of(request)
        digest = body_digest(request.data)
        _lock(client, endpoint, key)
        kept = _find(client, endpoint, key)
        if kept is not None:
            return _replay(kept, digest)
        response = answer()
        _keep(response, client=client, endpoint=endpoint, key=key, body_sha256=digest)
        return response


def _lock(client: str, endpoint: str, key: str) -> None:
    # Two keys with the same 64 bits would only answer each other 409 while one is at work.
    name = hashlib.sha256(f"idempotency\0{client}\0{endpoint}\0{key}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(name[:8], "big", signed=True)]
        )
        (locked,) = cursor.fetchone()
    if not locked:
        raise Problem(
            "conflict",
            status=409,
            detail=f"The first request with this {HEADER} is still at work. Repeat it to get the first one's answer.",
            headers={"Retry-After": "1"},
        )


def _find(client: str, endpoint: str, key: str) -> IdempotencyRecord | None:
    record = IdempotencyRecord.objects.filter(client=client, endpoint=endpoint, key=key).first()
    if record is not None and record.created_at < timezone.now() - LIFETIME:
        record.delete()
        return None
    return record


def _replay(record: IdempotencyRecord, digest: str) -> Response:
    if record.body_sha256 != digest:
        raise Problem(
            "idempotency-mismatch",
            status=422,
            detail=f"This {HEADER} came with another body first. Send that body again, or a new key.",
        )
    kept: Any = record.response
    return Response(
        kept["body"], status=record.status, headers={**kept["headers"], REPLAYED: "true"}
    )


def _keep(response: Response, *, client: str, endpoint: str, key: str, body_sha256: str) -> None:
    headers = {name: response[name] for name in KEPT_HEADERS if response.has_header(name)}
    IdempotencyRecord.objects.create(
        client=client,
        endpoint=endpoint,
        key=key,
        body_sha256=body_sha256,
        status=response.status_code,
        response={"headers": headers, "body": response.data},
    )
    with connection.cursor() as cursor:
        cursor.execute(PRUNE_SQL, [timezone.now() - LIFETIME])
