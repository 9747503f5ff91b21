"""Error responses: RFC 9457 problem documents that list all issues of a request."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig
from django.db import Error as StoreFault
from django.db import IntegrityError
from django.db import InterfaceError as ConnectionLost
from django.db import OperationalError as StoreUnavailable
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import CheckViolation
from rest_framework import exceptions, status
from rest_framework.response import Response

from normalization.fields import CANONICAL_CONSTRAINT
from normalization.issue_codes import IssueCode
from normalization.stages import Stage
from stagenorm import sessions

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
VALID_STAGES: Final = [stage.value for stage in Stage]

Item = dict[str, Any]

# slug → (title, advice for the caller); each is a page at /problems/<slug>.
CATALOGUE: Final[Mapping[str, tuple[str, str]]] = {
    "unknown-stage": (
        "Unknown investment stage",
        "A stage is not one of the six, and no alias covers it. Each entry of errors names the "
        "place and, if there is a good one, a suggestion. The code outside_stage marks a text "
        "that was decided to be none of the six; its note gives the reason. Send one of "
        "valid_stages.",
    ),
    "invalid-request": (
        "Invalid request",
        "The request does not have the documented shape. Each entry of errors names one place "
        "and the error there.",
    ),
    "malformed-body": (
        "Malformed request body",
        "The body is not the JSON that the endpoint reads. Nothing was done.",
    ),
    "body-too-large": (
        "Request body too large",
        "The body exceeds the size that the endpoint reads.",
    ),
    "not-authenticated": (
        "Authentication required",
        "Send a valid key as Authorization: Api-Key <key>. "
        "The operator creates keys with manage.py create_api_key.",
    ),
    "forbidden": ("Not allowed", "The key is valid but may not do this."),
    "not-found": ("Not found", "There is no such resource, or the key may not see it."),
    "method-not-allowed": (
        "Method not allowed",
        "The Allow header lists the methods of this resource.",
    ),
    "not-acceptable": ("Not acceptable", "The endpoint answers application/json."),
    "unsupported-media-type": ("Unsupported media type", "Send Content-Type: application/json."),
    "too-many-requests": (
        "Too many requests",
        "The rate of the key, or of the address for requests without a key, is used up. "
        "Retry-After has the seconds until the next request is admitted.",
    ),
    "conflict": (
        "Conflict",
        "The request conflicts with the current state, for example one still in progress.",
    ),
    "idempotency-mismatch": (
        "Idempotency key used for another request",
        "The Idempotency-Key was used with a different body. Use a new key for a new request.",
    ),
    "nothing-to-simulate": (
        "Nothing to simulate",
        "No known stage is left: give a stage_distribution with at least one of valid_stages.",
    ),
    "unavailable": (
        "Service unavailable",
        "A store that the request needs does not answer. Retry later.",
    ),
    "internal": (
        "Internal error",
        "The fault is ours. The instance identifies the request in our logs.",
    ),
}

PROBLEM_TYPES: Final = [f"/problems/{slug}" for slug in CATALOGUE]
"""The `type` of every problem document."""

_BY_STATUS: Final = {
    400: "invalid-request",
    401: "not-authenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    409: "conflict",
    413: "body-too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
    500: "internal",
    503: "unavailable",
}


class Problem(exceptions.APIException):
    """An error response. `errors` are its items; further keyword arguments become members."""

    def __init__(
        self,
        slug: str,
        *,
        detail: str,
        status: int = 400,
        errors: Sequence[Item] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.slug, self.status_code, self.text = slug, status, detail
        self.errors, self.headers, self.members = list(errors), dict(headers or {}), members

    def document(self) -> dict[str, Any]:
        """Return the RFC 9457 document."""
        return document(self.slug, self.status_code, self.text, errors=self.errors, **self.members)


class UnknownStage(Problem):
    """The 400 of mode `enforce`: at least one stage is unknown or outside, nothing was done."""

    def __init__(self, errors: Sequence[Item], total: int, mode: str, policy_version: int) -> None:
        super().__init__(
            "unknown-stage",
            detail=_refused_sentence(errors, total),
            errors=errors,
            mode=mode,
            policy_version=policy_version,
            valid_stages=VALID_STAGES,
        )


def _refused_sentence(errors: Sequence[Item], total: int) -> str:
    outside = sum(item["code"] == IssueCode.OUTSIDE_STAGE.wire for item in errors)
    unknown = len(errors) - outside
    parts = []
    if unknown:
        parts.append(f"{unknown} of {total} {_stages(total)} {_are(unknown)} not known")
    if outside:
        place = "" if parts else f" of {total} {_stages(total)}"
        parts.append(f"{outside}{place} {_are(outside)} outside the six stages")
    return f"{', '.join(parts)}."


def _stages(total: int) -> str:
    return "stage" if total == 1 else "stages"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def invalid(errors: Sequence[Item], detail: str | None = None) -> Problem:
    """Return the 400 problem for a malformed request; `errors` names the places."""
    places = "one place" if len(errors) == 1 else f"{len(errors)} places"
    return Problem(
        "invalid-request", detail=detail or f"The request is not valid at {places}.", errors=errors
    )


def too_large() -> Problem:
    """Return the 413 problem for a body over `DATA_UPLOAD_MAX_MEMORY_SIZE`."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 1024
    detail = f"The body exceeds {limit} KiB, the maximum of this service."
    return Problem("body-too-large", status=413, detail=detail)


def document(
    slug: str, status_code: int, detail: str, *, errors: Sequence[Item] = (), **members: Any
) -> dict[str, Any]:
    """Return a problem document. `instance` is the request id, or a new UUID without one."""
    body: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": CATALOGUE[slug][0],
        "status": status_code,
        "detail": detail,
        "instance": _instance(),
        **members,
    }
    if errors:
        body["errors"] = list(errors)
    if slug in {"unknown-stage", "nothing-to-simulate"}:
        body["valid_stages"] = VALID_STAGES
    return body


def problem_exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return a problem document for an exception (Django REST framework's EXCEPTION_HANDLER)."""
    problem = _as_problem(error)
    if problem is None:
        return None
    # Imported late: these modules import the classes in REST_FRAMEWORK, which import this module.
    from rest_framework.views import set_rollback

    from normalization.rendering import FastJSONRenderer

    set_rollback()
    headers = dict(problem.headers)
    request = context.get("request")
    if request is not None:  # a problem is JSON even if the view renders HTML or YAML
        request.accepted_renderer = FastJSONRenderer()
        request.accepted_media_type = FastJSONRenderer.media_type
    boundary = getattr(getattr(request, "_request", request), "stage_boundary", None)
    if boundary is not None:
        headers |= boundary.headers()
    return Response(
        problem.document(), status=problem.status_code, headers=headers, content_type=CONTENT_TYPE
    )


def _as_problem(error: Exception) -> Problem | None:
    if isinstance(error, Problem):
        return error
    if isinstance(error, Http404):
        return Problem(
            "not-found", status=404, detail="There is no such resource, or the key may not see it."
        )
    if isinstance(error, RequestDataTooBig):
        return too_large()
    if is_unavailable(error):
        return _unavailable(error)
    if isinstance(error, IntegrityError) and _held_to_canonical(error):
        detail = (
            "A stage is not known, and the database accepts only canonical stages. "
            "Nothing was done."
        )
        return Problem("unknown-stage", detail=detail)
    if isinstance(error, PermissionDenied):
        return Problem("forbidden", status=403, detail="The key may not do this.")
    if isinstance(error, exceptions.APIException):
        slug = _BY_STATUS.get(error.status_code, "invalid-request")
        return Problem(
            slug, status=error.status_code, detail=_sentence(error), headers=_headers(error)
        )
    return None


def is_unavailable(error: BaseException | None) -> bool:
    """Whether the database is away, overloaded or read-only, so that a retry may succeed."""
    if isinstance(error, StoreUnavailable | ConnectionLost):
        return True
    return isinstance(error, StoreFault) and sessions.is_read_only(error)


def _unavailable(error: BaseException) -> Problem:
    log.warning("database_unavailable", error=type(error.__cause__ or error).__name__)
    detail = "The database does not answer in time; nothing was done. Try again."
    if sessions.is_read_only(error):
        detail = "The database is read-only for now; nothing was done. Reading works. Try again."
    return Problem("unavailable", status=503, detail=detail, headers={"Retry-After": "1"})


def _held_to_canonical(error: IntegrityError) -> bool:
    cause = error.__cause__
    constraint = cause.diag.constraint_name if isinstance(cause, CheckViolation) else None
    return constraint is not None and constraint.endswith(CANONICAL_CONSTRAINT)


def _sentence(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.UnsupportedMediaType):
        return "Send the body as Content-Type: application/json."
    if isinstance(error, exceptions.MethodNotAllowed):
        return "This resource does not have that method."
    if isinstance(error, exceptions.NotAcceptable):
        return (
            "The Accept header allows nothing that is served here: send Accept: application/json."
        )
    return str(error.detail) if isinstance(error.detail, str) else "The request is not valid."


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = str(challenge)
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, int(wait + 0.999)))
    return headers


def _instance() -> str:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    try:
        return uuid.UUID(str(request_id)).urn
    except ValueError:
        return uuid.uuid4().urn


def safe_only(
    view: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Wrap a plain view: it answers GET and HEAD, and the 405 problem to other methods."""

    @csrf_exempt  # the view changes nothing, and 405 is more helpful than a missing token
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        detail = "This resource does not have that method."
        return _plain(
            "method-not-allowed",
            status.HTTP_405_METHOD_NOT_ALLOWED,
            detail,
            {"Allow": "GET, HEAD"},
        )

    return answer


def _plain(
    slug: str, status_code: int, detail: str, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    body = document(slug, status_code, detail)
    return JsonResponse(body, status=status_code, content_type=CONTENT_TYPE, headers=headers)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Django's handler400."""
    host = "This service is not configured for the name in the Host header."
    detail = (
        host
        if isinstance(exception, DisallowedHost)
        else "The request was refused as malformed or suspicious."
    )
    return _plain("invalid-request", status.HTTP_400_BAD_REQUEST, detail)


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    """Django's CSRF_FAILURE_VIEW; Django logs `reason`.

    An origin that is not trusted is usually a proxy's: it ends TLS, or listens on another port.
    """
    detail = (
        "The form's token is missing or out of date. "
        "Load the page again, with cookies allowed, and send the form again."
    )
    sent = request.META.get("HTTP_ORIGIN") or request.META.get("HTTP_REFERER", "")
    origin = _ORIGIN.match(sent)
    if reason.startswith(_ORIGIN_REFUSED) and origin:
        own = f"{request.scheme}://{request.get_host()}"
        detail = (
            f"The form came from {origin[0]}, and the service is {own} to itself. If a proxy "
            f"stands between, add {origin[0]} to DJANGO_CSRF_TRUSTED_ORIGINS; where it sets "
            "X-Forwarded-Proto, set DJANGO_BEHIND_PROXY=1 too."
        )
    return _plain("forbidden", status.HTTP_403_FORBIDDEN, detail)


_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,253}")
_ORIGIN_REFUSED: Final = ("Origin checking failed", "Referer checking failed")


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Django's handler403."""
    return _plain("forbidden", status.HTTP_403_FORBIDDEN, "You may not do this.")


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Django's handler404."""
    return _plain("not-found", status.HTTP_404_NOT_FOUND, "There is no page at this address.")


def server_error(request: HttpRequest) -> JsonResponse:
    """Django's handler500. A page that meets an unavailable database is 503, as the API is."""
    error = sys.exc_info()[1]
    if error is not None and is_unavailable(error):
        problem = _unavailable(error)
        return _plain(problem.slug, problem.status_code, problem.text, problem.headers)
    return _plain(
        "internal",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "An error in the service; it is logged under this instance.",
    )
