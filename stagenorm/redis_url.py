"""Reads ``REDIS_URL``: one Redis, with or without TLS, or a service that Sentinels watch.

    redis://[user:password@]host:port/database          rediss:// the same with TLS (?ssl_ca_certs=/path/ca.pem)
    unix://[user:password@]/path/to/socket?db=0
    redis+sentinel://[user:password@]host:port[,host:port …]/service[/database][?sentinel_username=…&sentinel_password=…]
    rediss+sentinel://…                                  TLS to the Sentinels and to the Redis

The answer is a django-redis cache whose client neither retries nor waits longer than it is told: what to do without
Redis is known, and better than waiting.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


def cache(url: str, seconds: float) -> dict[str, Any]:
    """The settings of a cache over ``url`` with a timeout of ``seconds``; ValueError when it is malformed."""
    if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise ValueError("not a Redis address")
    options = {
        "SOCKET_CONNECT_TIMEOUT": seconds,
        "SOCKET_TIMEOUT": seconds,
        "CONNECTION_POOL_KWARGS": _plain(),
    }
    if "+sentinel://" in url:
        return _cache(*_sentinel(url, seconds, options))
    parse_url(url)  # ValueError now, not at the first request
    return _cache(url, options)


def _plain() -> dict[str, Any]:
    # redis-py would retry three times with growing pauses, and spend round trips on HELLO, CLIENT SETINFO and PING.
    return {"retry": Retry(NoBackoff(), 0), "health_check_interval": 0, "protocol": 2, "driver_info": None}


def _cache(location: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}


def _sentinel(url: str, seconds: float, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal():
        raise ValueError("no service name, or a database that is no number")
    user_and_password, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    watcher = {name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query}
    tls = {"ssl": True, **query} if parts.scheme == "rediss+sentinel" else query
    login = _login(user_and_password)
    common = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    options |= {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "SENTINELS": [_host(host) for host in hosts.split(",")],
        "SENTINEL_KWARGS": {**_plain(), **common, **tls, **watcher},
        # The name here, and not from the address: there it would lose its capitals.
        "CONNECTION_POOL_KWARGS": {**_plain(), **tls, **login, "service_name": service, "db": int(database or "0")},
    }
    return f"redis://{service}", options


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a host")
    return parts.hostname, parts.port or SENTINEL_PORT


def _login(text: str) -> dict[str, str]:
    user, _, password = text.partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}
