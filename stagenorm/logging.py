"""Structured logs: one JSON object a line with the request's id and client; plain text on a developer's terminal.

The request id is a UUID that django-structlog makes for each request (one sent by the client is not believed). It
is in every log record of the request as ``request_id``, on the request as ``request.request_id``, and problem
bodies carry it as ``instance``. Keys, secrets and passwords never reach a log: a client is known by its key's name
only, and ``redact`` guards the rest.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, cast

import structlog
from django.http import HttpRequest, HttpResponse
from structlog.typing import Processor

SECRET_NAMES = (
    "authorization",
    "api_key",
    "apikey",
    "password",
    "passwd",
    "secret",
    "token",
    "cookie",
    "signature",
)
REDACTED = "[redacted]"
# What machines ask every few seconds, and what comes with every page: of interest only when it fails.
ROUTINE = ("/healthz", "/readyz", "/metrics", "/static/")


class RequestNames:
    """Middleware inside django-structlog's: gives the request its id, and its last log record the client's name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.request_id = structlog.contextvars.get_contextvars().get("request_id")  # type: ignore[attr-defined]
        response = self.get_response(request)
        # REST framework puts what authentication found on Django's own request as well.
        if name := getattr(getattr(request, "auth", None), "name", None):
            structlog.contextvars.bind_contextvars(client=name)
        return response


def redact(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: blanks every value whose name says that it is a secret, at the top level of the record."""
    for name in event:
        if any(secret in name.lower() for secret in SECRET_NAMES):
            event[name] = REDACTED
    return event


def without_routine(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: drops the record of a routine request that went well (below LOG_LEVEL=DEBUG)."""
    path = str(event.get("request", "")).partition(" ")[2]
    ended_well = event["event"] == "request_finished" and event.get("code", 500) < 400
    if event["event"] == "streaming_finished" or (ended_well and path.startswith(ROUTINE)):
        raise structlog.DropEvent
    return event


# Records of structlog and of the standard library take the same way.
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    cast(Processor, redact),
]


def configuration(level: str, readable: bool) -> dict[str, Any]:
    """Django's ``LOGGING``: everything to standard error from ``level`` up. Configures structlog as well."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *([] if level == "DEBUG" else [cast(Processor, without_routine)]),
            *_SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if readable:
        rendering += [structlog.dev.ConsoleRenderer()]
    else:
        # Without the frames' local variables: those hold keys and secrets.
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering += [
            structlog.processors.ExceptionRenderer(frames),
            structlog.processors.JSONRenderer(),
        ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": rendering,
                "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
            }
        },
        "handlers": {
            "standard_error": {"class": "logging.StreamHandler", "formatter": "structured"}
        },
        "root": {"handlers": ["standard_error"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # django-structlog already logs each request's end, failures included.
            "django.request": {"level": "CRITICAL"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }
