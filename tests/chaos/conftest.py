"""Processes, servers and proxies for the tests of the rollout under failure."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from stagenorm import redis_url
from tests.chaos.toxics import Toxic
from tests.servers import RedisServer


@pytest.fixture
def toxic(redis_server: RedisServer) -> Iterator[Toxic]:
    """A proxy before a healthy Redis."""
    proxy = Toxic(redis_server.url())
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def use_redis(settings: Settings) -> Iterator[Callable[..., None]]:
    """``use_redis(url)``: this process uses that Redis for the rollout, as with REDIS_URL."""
    from normalization import decision_store, rollout_store

    def use(url: str, **more: Any) -> None:
        rollout_store.forget()
        decision_store.forget()
        for name, value in more.items():
            setattr(settings, name, value)
        settings.CACHES = {
            **settings.CACHES,
            "rollout": redis_url.cache(url, settings.STAGE_REDIS_TIMEOUT_MS / 1000),
        }

    yield use
    rollout_store.forget()
    decision_store.forget()
