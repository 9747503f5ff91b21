"""The tests' own Redis stands, falls and comes back at the same address."""

import pytest
import redis

from tests.servers import RedisServer


def test_redis_answers_and_forgets_everything_when_killed(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url(), socket_timeout=60) as link:
        link.set("key", "value")
        redis_server.kill()
        with pytest.raises(redis.ConnectionError):
            link.get("key")
        redis_server.start()
        assert link.get("key") is None


def test_a_frozen_redis_accepts_and_does_not_answer(redis_server: RedisServer) -> None:
    redis_server.freeze()
    with (
        redis.Redis.from_url(redis_server.url(), socket_timeout=0.1, retry=None) as link,
        pytest.raises(redis.TimeoutError),
    ):
        link.ping()
    redis_server.thaw()
    with redis.Redis.from_url(redis_server.url(), socket_timeout=60) as link:
        assert link.ping()
