"""The two addresses that alerts are sent to. Both verify the raw bytes first and parse only what is genuine.

They know no session, no cookie and no API key: the signature is the whole of the authentication.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from django.conf import settings
from django.db import Error as StoreError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from normalization.problems import CONTENT_TYPE, Problem
from ops.alerts import downgrade as deeds
from ops.alerts import metrics, payload, refusals
from ops.alerts.metrics import Outcome
from ops.alerts.payload import Alert
from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, Forged, verify

# Twenty alerts (alertmanager.yml: max_alerts) are about 20 KiB.
MAX_BODY_BYTES: Final = 256 * 1024
RETRY_SECONDS: Final = "1"
_LENGTH: Final = re.compile(r"[0-9]{1,12}", re.ASCII)

Deed = Callable[[Sequence[Alert], str], deeds.Done]


class _Refused(Exception):
    """The request ends here: `problem` is the answer, `why` is for the log and the ledger."""

    def __init__(self, outcome: Outcome, problem: Problem, why: str = "") -> None:
        super().__init__(problem.text)
        self.outcome, self.problem, self.why = outcome, problem, why or problem.text


@csrf_exempt
@never_cache
def auto_downgrade(request: HttpRequest) -> JsonResponse:
    """`POST /_ops/stage-validation/auto-downgrade`: turns `enforce` into `warn`, and can do nothing else."""
    return _answer(request, "auto-downgrade", deeds.downgrade)


@csrf_exempt
@never_cache
def heartbeat(request: HttpRequest) -> JsonResponse:
    """`POST /_ops/stage-validation/heartbeat`: records that a signed alert came through."""
    return _answer(request, "heartbeat", deeds.heartbeat)


def _answer(request: HttpRequest, endpoint: str, deed: Deed) -> JsonResponse:
    try:
        done = _act(request, deed)
    except _Refused as refused:
        refusals.note(endpoint, refused.outcome, refused.why)
        return _problem(refused.problem)
    metrics.count(done.outcome)
    return JsonResponse({"outcome": done.outcome, "version": done.version})


def _act(request: HttpRequest, deed: Deed) -> deeds.Done:
    body = _raw_body(request)
    timestamp, signature = (
        request.headers.get(TIMESTAMP_HEADER),
        request.headers.get(SIGNATURE_HEADER),
    )
    verdict = verify(
        settings.ALERTMANAGER_WEBHOOK_SECRETS, timestamp, signature, body, time.time()
    )
    if isinstance(verdict, Forged):
        problem = Problem(
            "not-authenticated", status=401, detail="The request carries no valid signature."
        )
        raise _Refused(Outcome.FORGED, problem, verdict.reason)
    try:
        alerts = payload.read(body)
    except Problem as fault:
        raise _Refused(Outcome.MALFORMED, fault) from fault
    try:
        return deed(alerts, verdict.digest)
    except StoreError as error:
        detail = "The database does not answer; nothing was done. Send it again."
        problem = Problem(
            "unavailable", status=503, detail=detail, headers={"Retry-After": RETRY_SECONDS}
        )
        raise _Refused(Outcome.STORE_DOWN, problem, type(error).__name__) from error


def _raw_body(request: HttpRequest) -> bytes:
    """Return the bytes as they came: JSON by the header, not compressed, of a known length up to MAX_BODY_BYTES."""
    if request.method != "POST":
        detail, headers = "This resource takes POST alone.", {"Allow": "POST"}
        problem = Problem("method-not-allowed", status=405, detail=detail, headers=headers)
        raise _Refused(Outcome.WRONG_METHOD, problem)
    if request.content_type != "application/json" or request.headers.get("Content-Encoding"):
        detail = "Send the body as Content-Type: application/json, not compressed."
        raise _Refused(
            Outcome.WRONG_TYPE, Problem("unsupported-media-type", status=415, detail=detail)
        )
    length = request.headers.get("Content-Length", "")
    if "Transfer-Encoding" in request.headers or not _LENGTH.fullmatch(length):
        raise _Refused(
            Outcome.NO_LENGTH,
            Problem("invalid-request", status=411, detail="Send a Content-Length."),
        )
    if int(length) > MAX_BODY_BYTES:
        detail = f"The body exceeds {MAX_BODY_BYTES // 1024} KiB."
        raise _Refused(Outcome.TOO_LARGE, Problem("body-too-large", status=413, detail=detail))
    return _read(request, int(length))


def _read(request: HttpRequest, length: int) -> bytes:
    try:
        body = request.read(length)
    except OSError:
        body = b""
    if len(body) != length:
        detail = "The body ended before its Content-Length."
        raise _Refused(Outcome.INCOMPLETE, Problem("malformed-body", detail=detail))
    return body


def _problem(problem: Problem) -> JsonResponse:
    response = JsonResponse(
        problem.document(), status=problem.status_code, content_type=CONTENT_TYPE
    )
    for name, value in problem.headers.items():
        response[name] = value
    return response
