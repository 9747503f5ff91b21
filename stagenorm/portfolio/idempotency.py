"""`Idempotency-Key`: a repeated POST does its work once and receives the first answer again.

The record is written in the transaction of the work, so neither exists without the other: an error
or a crash leaves neither, and a corrected retry may use the same key. The first request holds an
advisory lock on its key while it works; a second one fails to take it and gets 409 instead of
waiting. The commit releases the lock after the record is visible, so the next request finds either
the lock or the record.

The body of the answer is stored as text: a repetition sends the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from normalization.issue_codes import IssueCode, issue
from normalization.parsers import EXACT_INTEGER
from normalization.problems import Problem, invalid
from normalization.serializers import header
from stagenorm.portfolio.bodies import client_of
from stagenorm.portfolio.models import IdempotencyRecord

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
LIFETIME: Final = timedelta(hours=24)
KEPT_HEADERS: Final = (
    "Location",
    "Deprecation",
    "Sunset",
    "Link",
    "Stage-Validation",
    "Preference-Applied",
)

_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")

# Each new record deletes a few old ones, which keeps the table at one day of keys. SKIP LOCKED:
# two requests that prune never wait for each other.
PRUNE_SQL: Final = """
DELETE FROM portfolio_idempotencyrecord WHERE id IN (
    SELECT id FROM portfolio_idempotencyrecord WHERE created_at < %s ORDER BY created_at LIMIT 20
    FOR UPDATE SKIP LOCKED)
"""

_KEY_PARAMETER: Final = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="A text that identifies this request, unique for the client. Valid for 24 hours.",
)


class KeptResponse(Response):
    """An answer whose bytes are given and not rendered again."""

    def __init__(self, text: str, **options: Any) -> None:
        super().__init__(None, **options)
        self.text = text

    @property
    def rendered_content(self) -> str:
        """The body of the answer; sets the content type, as rendering does."""
        self["Content-Type"] = "application/json"
        return self.text


def parameters(status: int) -> list[OpenApiParameter]:
    """Return the documented headers of an idempotent operation whose success has `status`."""
    return [
        _KEY_PARAMETER,
        header(REPLAYED, "`true` on the answer to a repeated request.", [status]),
        header("Retry-After", "Seconds until the request may be repeated.", [409]),
    ]


def key_of(request: Request) -> str | None:
    """Return the request's key, None without one; raise Problem 400 for a malformed key."""
    key: str | None = request.headers.get(HEADER)
    if key is not None and not _PRINTABLE.fullmatch(key):
        detail = f"{HEADER} must be 1 to 255 printable ASCII characters."
        raise invalid([issue(f"/{HEADER}", IssueCode.INVALID, place="header", detail=detail)])
    return key


def body_digest(body: object) -> str:
    """Return the sha256 of the parsed body, equal for bodies of equal JSON value.

    The order of members, white space, escapes and the notation of numbers do not matter.
    """
    text = json.dumps(_canonical(body), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _canonical(value: Any) -> Any:
    # 1, 1.0 and 1e0 are one number. The parser reads greater whole numbers as integers.
    if isinstance(value, dict):
        return {name: _canonical(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_INTEGER:
        return int(value)
    return value


def once(request: Request, endpoint: str, answer: Callable[[], Response]) -> Response:
    """Return `answer()`; with an `Idempotency-Key`, its first result for 24 hours.

    With a key, `answer` runs in a transaction; its exception rolls back, and nothing is stored.
    The key belongs to (client, endpoint). Raises Problem 409 (`Retry-After`) while the first
    request is in progress, and Problem 422 if the key came with another body.
    """
    key = key_of(request)
    if key is None:
        return answer()
    client = client_of(request)
    digest = body_digest(request.data)
    with transaction.atomic():
        _lock(client, endpoint, key)
        kept = _find(client, endpoint, key)
        if kept is not None:
            return _replay(kept, digest)
        response = _rendered(request, answer())
        _keep(response, client=client, endpoint=endpoint, key=key, body_sha256=digest)
        return response


def _lock(client: str, endpoint: str, key: str) -> None:
    # Two keys with the same 64 bits would only get 409 while one of them is in progress.
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
            detail=(
                f"The first request with this {HEADER} is still in progress. "
                "Repeat it to get the first one's answer."
            ),
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
            detail=(
                f"This {HEADER} came with another body first. "
                "Send that body again, or use a new key."
            ),
        )
    kept: Any = record.response
    headers = {**kept["headers"], REPLAYED: "true"}
    if isinstance(kept["body"], str):
        return KeptResponse(kept["body"], status=record.status, headers=headers)
    # Stored by a release that kept the parsed body; such records end within a day.
    return Response(kept["body"], status=record.status, headers=headers)


def _rendered(request: Request, response: Response) -> KeptResponse:
    body = request.accepted_renderer.render(
        response.data, request.accepted_media_type, {"response": response}
    )
    text = body if isinstance(body, str) else body.decode()
    return KeptResponse(text, status=response.status_code, headers=response.headers)


def _keep(response: KeptResponse, **columns: Any) -> None:
    headers = {name: response[name] for name in KEPT_HEADERS if response.has_header(name)}
    IdempotencyRecord.objects.create(
        **columns,
        status=response.status_code,
        response={"headers": headers, "body": response.text},
    )
    with connection.cursor() as cursor:
        cursor.execute(PRUNE_SQL, [timezone.now() - LIFETIME])
