"""Parse ``REDIS_URL``: one Redis with or without TLS, or a service behind Sentinels.

    redis://[user:password@]host:port/database
    rediss://[user:password@]host:port/database?ssl_ca_certs=/path/ca.pem
                                             TLS; also ssl_certfile, ssl_keyfile
    unix://[user:password@]/path/to/socket?db=0
    redis+sentinel://[user:password@]host:port[,host:port …]/service[/database]
                                             for the Sentinels themselves also
                                             ?sentinel_username=…&sentinel_password=…

The result is the settings of a django-redis cache. Its client does not retry and never waits
longer than the given timeout: every caller has a fallback for an unreachable Redis.
"""

import hashlib
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import SSLConnection, parse_url
from redis.retry import Retry

SENTINEL_PORT = 26379


class TlsConnection(SSLConnection):
    """A connection that uses one shared TLS context.

    redis-py creates a context for each connection. Loading the system's certificates alone takes
    OpenSSL longer than the whole timeout for Redis.
    """

    def __init__(self, tls: ssl.SSLContext, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        return self._tls.wrap_socket(sock, server_hostname=self.host)


def cache(url: str, seconds: float) -> dict[str, Any]:
    """Return the settings of a cache over ``url`` with a timeout of ``seconds``.

    Raises ValueError for a malformed address.
    """
    waits = {"SOCKET_CONNECT_TIMEOUT": seconds, "SOCKET_TIMEOUT": seconds}
    if url.startswith("redis+sentinel://"):
        location, options = _sentinel(url, seconds)
    else:
        # Raises ValueError at start, not at the first request.
        given = parse_url(url)  # type: ignore[no-untyped-call]
        tls = (
            {"connection_class": TlsConnection, "tls": _context(given)}
            if url.startswith("rediss://")
            else {}
        )
        location, options = url, {"CONNECTION_POOL_KWARGS": {**_plain(), **tls}}
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "OPTIONS": {**waits, **options},
    }


def digest(configured: Mapping[str, Any]) -> str:
    """Return 16 hex digits for the host, port and database of such a cache, without its login."""
    options = configured["OPTIONS"]
    if sentinels := options.get("SENTINELS"):
        service = options["CONNECTION_POOL_KWARGS"]
        place = [service["service_name"], service["db"], sorted(map(list, sentinels))]
    else:
        given = parse_url(configured["LOCATION"])  # type: ignore[no-untyped-call]
        host = str(given.get("host", "localhost")).lower().replace("localhost", "127.0.0.1")
        place = [given.get("path") or [host, given.get("port", 6379)], given.get("db", 0)]
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]


def _plain() -> dict[str, Any]:
    # By default redis-py retries three times with growing pauses, and spends round trips on
    # HELLO, CLIENT SETINFO and PING.
    return {
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "protocol": 2,
        "driver_info": None,
    }


def _context(given: dict[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
        if certificate := given.get("ssl_certfile"):
            context.load_cert_chain(certificate, given.get("ssl_keyfile"))
    except OSError as error:  # missing, or not a certificate: ssl.SSLError is an OSError
        raise ValueError("a certificate cannot be read") from error
    if given.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _sentinel(url: str, seconds: float) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal():
        raise ValueError("the service name is missing, or the database is not a number")
    user_and_password, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    watcher = {
        name: query.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in query
    }
    if query:
        raise ValueError("an unknown option")
    waits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    # The service name is passed here because redis-py would lower its case in an address.
    service_options = {
        "service_name": service,
        "db": int(database or "0"),
        **_login(user_and_password),
    }
    return f"redis://{service}", {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": [_host(host) for host in hosts.split(",")],
        "SENTINEL_KWARGS": {**_plain(), **waits, **watcher},
        "CONNECTION_POOL_KWARGS": {**_plain(), **service_options},
    }


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _login(text: str) -> dict[str, str]:
    user, _, password = text.partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}
