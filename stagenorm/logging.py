"""Structured logs: one JSON object per line, or plain text on a developer's terminal.

Each record has the request's id and client (``request_log``). Keys, secrets and passwords are
never logged: a client is logged by the name of its key, and ``redact`` blanks the rest.
"""

import json
import logging
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, cast

import structlog
from django.http import HttpRequest
from django.urls import get_script_prefix
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


def redact(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blank each value whose name contains one of SECRET_NAMES (structlog processor).

    Only the top level of the record is examined.
    """
    for name in event:
        if _is_secret(name):
            event[name] = REDACTED
    return event


@lru_cache(1_024)
def _is_secret(name: str) -> bool:
    return any(secret in name.lower() for secret in SECRET_NAMES)


def without_routine(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop the record of a successful routine request (structlog processor; not at DEBUG)."""
    path = str(event.get("request", "")).partition(" ")[2]
    path = path.removeprefix(get_script_prefix()[:-1])
    ended_well = event["event"] == "request_finished" and event.get("code", 500) < 400
    if event["event"] == "streaming_finished" or (ended_well and path.startswith(ROUTINE)):
        raise structlog.DropEvent
    return event


def hide_query_values(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the values of the query string in ``request`` and ``path`` (structlog processor).

    Django's own records have the request itself in ``request``.
    """
    request = event.get("request")
    if isinstance(request, HttpRequest):
        event["request"] = f"{request.method} {request.get_full_path()}"
    for name in ("request", "path"):
        if isinstance(event.get(name), str):
            event[name] = without_query_values(event[name])
    return event


def escape_user_agent(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape control characters of a client's text as JSON does, for a terminal (processor)."""
    agent = event.get("user_agent")
    if isinstance(agent, str) and not agent.isprintable():
        event["user_agent"] = json.dumps(agent)[1:-1]
    return event


def without_query_values(address: str) -> str:
    """Return the address with the names of its parameters and without their values."""
    path, mark, query = address.partition("?")
    return path + mark + "&".join(_without_value(each) for each in query.split("&") if each)


def _without_value(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={REDACTED}" if equals else REDACTED  # without "=", it may be a secret itself


class ForeignHost(logging.Filter):
    """Logs a request for a foreign host at INFO without a stack: scanners send many of them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and return whether INFO is logged."""
        record.levelno = logging.INFO
        record.levelname = "INFO"
        record.exc_info = None
        return logging.getLogger("django").isEnabledFor(logging.INFO)


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
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": _rendering(readable),
                "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
            }
        },
        "filters": {"foreign_host": {"()": ForeignHost}},
        "handlers": {
            "standard_error": {"class": "logging.StreamHandler", "formatter": "structured"}
        },
        "root": {"handlers": ["standard_error"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            # request_log already logs the end of each request, failures included.
            "django.request": {"level": "CRITICAL"},
            "django.security.DisallowedHost": {"filters": ["foreign_host"]},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }


def _rendering(readable: bool) -> list[Processor]:
    rendering: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        cast(Processor, hide_query_values),
    ]
    if readable:
        rendering += [cast(Processor, escape_user_agent), structlog.dev.ConsoleRenderer()]
    else:
        # No local variables of frames: they contain keys and secrets.
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering += [
            structlog.processors.ExceptionRenderer(frames),
            structlog.processors.JSONRenderer(),
        ]
    return rendering
