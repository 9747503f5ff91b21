"""The two addresses that alerts are sent to, and what the service keeps of refused requests.

A request needs neither session, cookie nor API key: the signature is the authentication. The view
verifies the raw bytes first and parses only genuine bodies. A refused request is counted; a few
per minute are logged and kept. Nothing limits how many requests are verified (microseconds each),
because a limit would let a bad sender lock out the genuine one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from django.conf import settings
from django.db import Error as StoreError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import Counter

from normalization.problems import CONTENT_TYPE, Problem
from normalization.sampling import Sampler
from ops.alerts import downgrade, payload
from ops.alerts.downgrade import DeliveryResult
from ops.alerts.models import DeliveryOutcome, WebhookDelivery
from ops.alerts.payload import Alert
from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, Forged, Genuine, verify
from stagenorm.sessions import condition

log = structlog.get_logger(__name__)

# Twenty alerts (alertmanager.yml: max_alerts) are about 20 KiB.
MAX_BODY_BYTES: Final = 256 * 1024
RETRY_SECONDS: Final = "1"
_LENGTH: Final = re.compile(r"[0-9]{1,12}", re.ASCII)

REQUESTS: Final = Counter(
    "stage_webhook_requests_total",
    "Requests to the webhook and the heartbeat, by outcome.",
    ["outcome"],
)

A_MINUTE: Final = 5  # in each process; the counter has the rest
_logged = Sampler(all_below=A_MINUTE, then_one_in=1000)
_kept = Sampler(all_below=A_MINUTE, then_one_in=1_000_000)

Action = Callable[[Sequence[Alert], str], DeliveryResult]


class DeliveryRefused(Exception):
    """Ends the request. `problem` is the answer; `why` goes to the log and the ledger."""

    def __init__(self, outcome: DeliveryOutcome, problem: Problem, why: str = "") -> None:
        super().__init__(problem.text)
        self.outcome = outcome
        self.problem = problem
        self.why = why or problem.text


@csrf_exempt
@never_cache
def auto_downgrade(request: HttpRequest) -> JsonResponse:
    """`POST /_ops/stage-validation/auto-downgrade`: turn `enforce` into `warn`, nothing else."""
    return _answer(request, "auto-downgrade", downgrade.downgrade)


@csrf_exempt
@never_cache
def heartbeat(request: HttpRequest) -> JsonResponse:
    """`POST /_ops/stage-validation/heartbeat`: record that a signed alert arrived."""
    return _answer(request, "heartbeat", downgrade.heartbeat)


def begin_at_zero() -> None:
    """Export each outcome as 0, so that Prometheus sees the first request as an increase."""
    for outcome in DeliveryOutcome:
        REQUESTS.labels(outcome=outcome.value)


def _answer(request: HttpRequest, endpoint: str, act: Action) -> JsonResponse:
    try:
        result = _act(request, act)
    except DeliveryRefused as refused:
        _note_refusal(endpoint, refused)
        return _problem(refused.problem)
    _count(result.outcome)
    return JsonResponse({"outcome": result.outcome, "version": result.version})


def _act(request: HttpRequest, act: Action) -> DeliveryResult:
    body = _raw_body(request)
    genuine = _authenticate(request, body)
    try:
        alerts = payload.read(body)
    except Problem as fault:
        raise DeliveryRefused(DeliveryOutcome.MALFORMED, fault) from fault
    try:
        return act(alerts, genuine.digest)
    except StoreError as error:
        problem = Problem(
            "unavailable",
            status=503,
            detail=f"The database {condition(error)}; nothing was done. Send it again.",
            headers={"Retry-After": RETRY_SECONDS},
        )
        why = type(error).__name__
        raise DeliveryRefused(DeliveryOutcome.STORE_DOWN, problem, why) from error


def _authenticate(request: HttpRequest, body: bytes) -> Genuine:
    timestamp = request.headers.get(TIMESTAMP_HEADER)
    signature = request.headers.get(SIGNATURE_HEADER)
    secrets = settings.ALERTMANAGER_WEBHOOK_SECRETS
    found = verify(secrets, timestamp, signature, body, time.time())
    if isinstance(found, Forged):
        problem = Problem(
            "not-authenticated", status=401, detail="The request carries no valid signature."
        )
        raise DeliveryRefused(DeliveryOutcome.FORGED, problem, found.reason)
    return found


def _raw_body(request: HttpRequest) -> bytes:
    """Return the bytes of a plain JSON body of known length, MAX_BODY_BYTES at most."""
    if request.method != "POST":
        problem = Problem(
            "method-not-allowed",
            status=405,
            detail="This resource accepts POST only.",
            headers={"Allow": "POST"},
        )
        raise DeliveryRefused(DeliveryOutcome.WRONG_METHOD, problem)
    if request.content_type != "application/json" or request.headers.get("Content-Encoding"):
        detail = "Send the body as Content-Type: application/json, not compressed."
        problem = Problem("unsupported-media-type", status=415, detail=detail)
        raise DeliveryRefused(DeliveryOutcome.WRONG_TYPE, problem)
    length = request.headers.get("Content-Length", "")
    if "Transfer-Encoding" in request.headers or not _LENGTH.fullmatch(length):
        problem = Problem("invalid-request", status=411, detail="Send a Content-Length.")
        raise DeliveryRefused(DeliveryOutcome.NO_LENGTH, problem)
    if int(length) > MAX_BODY_BYTES:
        detail = f"The body exceeds {MAX_BODY_BYTES // 1024} KiB."
        problem = Problem("body-too-large", status=413, detail=detail)
        raise DeliveryRefused(DeliveryOutcome.TOO_LARGE, problem)
    return _read(request, int(length))


def _read(request: HttpRequest, length: int) -> bytes:
    try:
        body = request.read(length)
    except OSError:
        body = b""
    if len(body) != length:
        detail = "The body ended before its Content-Length."
        problem = Problem("malformed-body", detail=detail)
        raise DeliveryRefused(DeliveryOutcome.INCOMPLETE, problem)
    return body


def _problem(problem: Problem) -> JsonResponse:
    response = JsonResponse(
        problem.document(), status=problem.status_code, content_type=CONTENT_TYPE
    )
    for name, value in problem.headers.items():
        response[name] = value
    return response


def _count(outcome: DeliveryOutcome) -> None:
    REQUESTS.labels(outcome=outcome.value).inc()


def _note_refusal(endpoint: str, refused: DeliveryRefused) -> None:
    """Count a refused request; log and keep it unless there are many. Never raises."""
    _count(refused.outcome)
    if rate := _logged.rate():
        log.warning(
            "stage_webhook_refused",
            endpoint=endpoint,
            outcome=refused.outcome,
            why=refused.why,
            sampling_rate=rate,
        )
    if refused.outcome is DeliveryOutcome.STORE_DOWN or not _kept.rate():
        return
    try:
        WebhookDelivery.objects.create(
            endpoint=endpoint, outcome=refused.outcome, detail=refused.why[:200]
        )
    except StoreError as error:
        log.warning("stage_webhook_refusal_not_kept", error=type(error).__name__)
