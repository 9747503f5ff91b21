"""The application as granian serves it: ``granian --interface rsgi stagenorm.rsgi:application``.

A WSGI server assigns a worker thread as soon as the headers have arrived. The thread then waits
for the body, so four connections that never send their bodies block a worker. Here the event loop
reads the body within BODY_SECONDS, and only a complete request gets one of the STAGENORM_THREADS
threads and Django's WSGI handler.

WSGI cannot distinguish ``X_Header`` from ``X-Header``, and granian's WSGI keeps one of several
equal headers. This module drops names with an underscore, as proxies do, and joins equal headers
with commas (RFC 9110, section 5.3). granian lists a header with a non-ASCII value but does not
return the value. It becomes UNREADABLE, so that an endpoint can refuse it instead of ignoring a
header that the client relies on, such as an Idempotency-Key.
"""

import asyncio
import contextlib
import json
import multiprocessing
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Final, Protocol

from django.conf import settings

from stagenorm import listeners
from stagenorm.parent_death import end_worker_with_server
from stagenorm.wsgi import NOT_BOOTED
from stagenorm.wsgi import application as wsgi_application

BODY_SECONDS: Final = 10.0
# Larger than any endpoint's limit, so that each endpoint refuses a longer body itself.
BODY_BYTES: Final = 3 * 1024 * 1024
# The remainder is read and discarded up to here. If the connection closed while a client still
# sends, the client would lose the answer (RFC 9112, section 9.6).
DISCARDED_BYTES: Final = 32 * 1024 * 1024
# "¿" in Latin-1, the encoding of PEP 3333. It is not valid in the grammar of any header we read.
UNREADABLE: Final = "\xbf"

Headers = list[tuple[str, str]]


class Scope(Protocol):
    """The parts of granian's RSGI scope that are used."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None

    @property
    def headers(self) -> Any:
        """A multi-dict with `get(name)`; names are in lower case.

        `items()` has each readable header in order, `keys()` has all names.
        """


class Exchange(Protocol):
    """The parts of granian's RSGI protocol object that are used."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer; may be called from any thread."""


class Unreadable(Exception):
    """The body did not arrive completely; `status` is the response status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def refuse_second_server() -> None:
    """End a worker of granian whose port another server serves already.

    The kernel would share the port between both servers (SO_REUSEPORT).
    """
    server = multiprocessing.parent_process()
    if server is None or multiprocessing.current_process().name != "granian-worker":
        return
    address = listeners.granian_address(sys.argv[1:])
    if address is None or server.pid is None:
        return
    owner = listeners.port_owner(*address, besides=listeners.family(server.pid))
    if owner is not None:
        text = f"Port {owner.port} is served already by {owner}: {owner.remedy}, or choose another"
        print(f"{text} with --port.", file=sys.stderr)
        sys.exit(NOT_BOOTED)


end_worker_with_server()
refuse_second_server()
_threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")


def start_ticker() -> None:
    """Start the ticker at once, not with the first request.

    A worker without traffic also follows the rollout, reports itself and exports its metrics.
    """
    # Not at the top: the metrics of the module need the settings, which Django has loaded by now.
    from normalization.ticker import ticker

    ticker.ensure_running()


start_ticker()


async def application(scope: Scope, exchange: Exchange) -> None:
    """Answer one request."""
    headers = joined([*scope.headers.items(), *unreadable(scope.headers)])
    try:
        body = await _body(headers, exchange)
    except Unreadable as fault:
        _refuse(exchange, fault)
        return
    environ = environ_of(scope, headers, body)
    await asyncio.get_running_loop().run_in_executor(_threads, _serve, environ, exchange)


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers by lower-case name, with equal ones joined.

    Names with an underscore are left out.
    """
    headers: dict[str, str] = {}
    for name, value in pairs:
        if "_" in name:
            continue
        separator = "; " if name == "cookie" else ","
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


def unreadable(headers: Any) -> list[tuple[str, str]]:
    """Return UNREADABLE for each name whose (first) value granian does not return."""
    names = headers.keys()  # granian's object is not iterable itself
    return [(name, UNREADABLE) for name in names if headers.get(name) is None]


def environ_of(scope: Scope, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a complete request."""
    server, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server or scope.server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.authority and "host" not in headers:  # HTTP/2
        environ["HTTP_HOST"] = scope.authority
    for name, value in headers.items():
        environ[_NAMES.get(name) or "HTTP_" + name.upper().replace("-", "_")] = value
    if "transfer-encoding" in headers:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


_NAMES: Final = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


async def _body(headers: dict[str, str], exchange: Exchange) -> bytes:
    """Read the body, of a long one the beginning; raise `Unreadable` on a timeout or early end."""
    # granian has already refused a value that is not a number.
    announced = int(headers.get("content-length", "0"))
    if not announced and "transfer-encoding" not in headers:
        return b""
    body = bytearray()
    arrived = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in exchange:
                arrived += len(chunk)
                if len(body) <= BODY_BYTES:
                    body += chunk
                if arrived > DISCARDED_BYTES:
                    break
    except TimeoutError:
        if len(body) <= BODY_BYTES:
            detail = f"The body did not arrive within {BODY_SECONDS:.0f} s."
            raise Unreadable(408, detail) from None
    if len(body) <= BODY_BYTES and arrived < announced:
        raise Unreadable(400, "The body ended before its Content-Length.")
    return bytes(body)


def _serve(environ: dict[str, Any], exchange: Exchange) -> None:
    started: list[Any] = []
    body: list[bytes] = []

    def start_response(
        status: str, headers: Headers, exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        started[:] = [int(status.partition(" ")[0]), headers]
        return body.append  # PEP 3333's write(), which Django does not use

    response = wsgi_application(environ, start_response)
    try:
        body += response
    finally:
        close = getattr(response, "close", None)
        if close is not None:
            close()
    with contextlib.suppress(RuntimeError):  # the client closed the connection
        exchange.response_bytes(started[0], started[1], b"".join(body))


def _refuse(exchange: Exchange, fault: Unreadable) -> None:
    from normalization.problems import document  # needs the settings, as above

    content = document("malformed-body", fault.status, fault.detail)
    headers = [("content-type", "application/problem+json"), ("connection", "close")]
    with contextlib.suppress(RuntimeError):
        exchange.response_bytes(fault.status, headers, json.dumps(content).encode())
