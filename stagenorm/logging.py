"""Structured logs: one JSON object per line, or plain text on a developer's terminal.

Each record has the request's id and client. The request id is a UUID that django-structlog
generates; an id sent by the client is ignored. It is ``request_id`` in log records,
``request.request_id`` in code and ``instance`` in problem documents. Keys, secrets and passwords
are never logged: a client is logged by the name of its key, and ``redact`` blanks the rest.
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
# Requests of probes, scrapes and page assets: logged only when they fail.
ROUTINE = ("/healthz", "/readyz", "/metrics", "/static/")


class RequestNames:
    """Middleware: sets ``request.request_id``, and adds the client's name to the last log record.

    It must come after django-structlog's middleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        context = structlog.contextvars.get_contextvars()
        request.request_id = context.get("request_id")  # type: ignore[attr-defined]
        response = self.get_response(request)
        # REST framework sets the result of authentication on Django's request too.
        name = getattr(getattr(request, "auth", None), "name", None)
        if name:
            structlog.contextvars.bind_contextvars(client=name)
        return response


def redact(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blank each value whose name contains one of SECRET_NAMES (structlog processor).

    Only the top level of the record is examined.
    """
    for name in event:
        if any(secret in name.lower() for secret in SECRET_NAMES):
            event[name] = REDACTED
    return event


def without_routine(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop the record of a successful routine request (structlog processor; not at DEBUG)."""
    path = str(event.get("request", "")).partition(" ")[2]
    ended_well = event["event"] == "request_finished" and event.get("code", 500) < 400
    if event["event"] == "streaming_finished" or (ended_well and path.startswith(ROUTINE)):
        raise structlog.DropEvent
    return event


# Both structlog and the standard library's records pass these.
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    cast(Processor, redact),
]


def configuration(level: str, readable: bool) -> dict[str, Any]:
    """Return Django's ``LOGGING``, and configure structlog.

    Records from ``level`` up go to standard error; ``readable`` chooses text over JSON.
    """
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
        # No local variables of frames: they contain keys and secrets.
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
            # django-structlog already logs the end of each request, failures included.
            "django.request": {"level": "CRITICAL"},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }
