"""One log record for each request, with its id, client and outcome.

The request id is a UUID made here; an id sent by the client is ignored. It is ``request_id`` in
log records, ``request.request_id`` in code and ``instance`` in problem documents. The records have
the fields and the logger of django-structlog, whose middleware took a sixth of a request's time:
it sent signals, bound the user twice and parsed the addresses of proxies for each request.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import structlog
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from python_ipware import IpWare
from python_ipware.modern.defaults import DEFAULT_PRECEDENCE

LOGGER: Final = "django_structlog.middlewares.request"
_LEVELS: Final = {2: logging.INFO, 4: logging.WARNING, 5: logging.ERROR}

LONGEST_AGENT: Final = 200

log = structlog.get_logger(LOGGER)
_standard_log = logging.getLogger(LOGGER)
_addresses = IpWare(algorithm="modern")
_FORWARDED: Final = frozenset(DEFAULT_PRECEDENCE) - {"REMOTE_ADDR"}


class RequestLogMiddleware:
    """Middleware: binds the request's id and address, and logs how the request ended.

    The record of the end has the user agent, too: `manage.py consumer_audit` reads both.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        got_request_exception.connect(log_failure, dispatch_uid=LOGGER)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(uuid.uuid4())
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.bind_contextvars(request_id=request_id, ip=_address(request.META))
        if _standard_log.isEnabledFor(logging.DEBUG):
            log.debug("request_started", request=_line(request), **_agent(request))
        try:
            response = self.get_response(request)
            if not hasattr(request, "failure_logged"):
                _log_end(request, response)
            return response
        finally:
            structlog.contextvars.clear_contextvars()


def log_failure(sender: object, request: HttpRequest, **_: Any) -> None:
    """Log an exception that became a 500 answer, once, instead of the request's end."""
    if not hasattr(request, "failure_logged"):
        request.failure_logged = True  # type: ignore[attr-defined]
        _bind_client(request)
        log.exception("request_failed", code=500, request=_line(request), **_agent(request))


def _log_end(request: HttpRequest, response: HttpResponse) -> None:
    _bind_client(request)
    level = _LEVELS.get(response.status_code // 100, logging.INFO)
    named = _agent(request)
    log.log(level, "request_finished", code=response.status_code, request=_line(request), **named)
    if isinstance(response, StreamingHttpResponse) and not response.is_async:
        context = structlog.contextvars.get_contextvars()
        response.streaming_content = _logged_stream(response.streaming_content, context)


def _logged_stream(content: Iterable[bytes], context: dict[str, Any]) -> Iterator[bytes]:
    with structlog.contextvars.bound_contextvars(**context):
        log.debug("streaming_started")
        try:
            yield from content
        except Exception:
            log.exception("streaming_failed")
            raise
        log.info("streaming_finished")


def _bind_client(request: HttpRequest) -> None:
    # REST framework sets the result of authentication on Django's request too.
    known = {}
    if hasattr(request, "user"):
        known["user_id"] = request.user.pk
    name = getattr(getattr(request, "auth", None), "name", None)
    if name:
        known["client"] = name
    structlog.contextvars.bind_contextvars(**known)


def _line(request: HttpRequest) -> str:
    return f"{request.method} {request.get_full_path()}"


def _agent(request: HttpRequest) -> dict[str, str]:
    """Return the user agent for the record, cut; nothing if the client sent none."""
    agent = request.META.get("HTTP_USER_AGENT", "")
    return {"user_agent": agent[:LONGEST_AGENT]} if agent else {}


def _address(meta: dict[str, Any]) -> str | None:
    """Return the address of the client, as the headers of proxies name it, if there are any."""
    if _FORWARDED.isdisjoint(meta):
        return _direct_address(meta.get("REMOTE_ADDR"))
    found, _ = _addresses.get_client_ip(meta, True)
    return None if found is None else str(found)


@lru_cache(1_024)
def _direct_address(remote: str | None) -> str | None:
    found, _ = _addresses.get_client_ip({"REMOTE_ADDR": remote}, True)
    return None if found is None else str(found)
