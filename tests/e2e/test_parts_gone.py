"""What protects and what is shown while parts are gone, each and in pairs, with the real parts.

PARTS_GONE is the table of docs/alerting.md. For each set of parts one client is hurt. The guard
has to hold it out, and the page, Prometheus, Alertmanager and /readyz have to show what the table
has. tests/ops/test_way_back.py has the rows in which the guard itself is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from types import SimpleNamespace

import psycopg
import pytest
from django.conf import settings

from tests.alert_path import PARTS, AlertPath, Traffic, figure
from tests.guard_runs import enforce
from tests.pages import RolloutPage
from tests.servers import ROOT, PostgresServer, RedisServer, Service, get, wait_until

OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True)
class Row:
    """What protects, the word for the way back after 15 minutes, what fires, and /readyz."""

    protects: frozenset[str]
    word: str = OPEN
    fires: frozenset[str] = frozenset()
    ready: int = 200

    def beside(self, other: Row) -> Row:
        """Both are gone: what both leave protects, and everything that either shows is shown."""
        return Row(
            self.protects & other.protects,
            CLOSED if CLOSED in (self.word, other.word) else OPEN,
            self.fires | other.fires,
            max(self.ready, other.ready),
        )


BOTH, GUARD = frozenset({"guard", "alerts"}), frozenset({"guard"})
PARTS_GONE = {
    "Redis": Row(BOTH, fires=frozenset({"StageModeStoreDown"})),
    "database": Row(BOTH, fires=frozenset({"StageScrapeFailing"}), ready=503),
    "prometheus": Row(GUARD, CLOSED),
    "alertmanager": Row(GUARD, CLOSED, frozenset({"StageWayBackDead"})),
    "relay": Row(GUARD, CLOSED, frozenset({"StageWayBackDead"})),
}
GOOD = "good"
# Ordered so that few parts start again: a part that is in the next set too stays gone.
ORDER = ("database", "Redis", "relay", "alertmanager", "prometheus")
SETUP = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
ann = User.objects.create_superuser("ann")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(ann.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = ann.get_session_auth_hash()
session.save()
keys = {name: create_key(name)[1] for name in NAMES}
print(json.dumps([Fund.objects.create(name="Alder").pk, keys, session.session_key]))
"""


def gone_sets() -> list[tuple[str, ...]]:
    """Each part alone, then beside each other one."""
    every = [*combinations(PARTS_GONE, 1), *combinations(PARTS_GONE, 2)]
    return sorted(every, key=lambda gone: sorted(map(ORDER.index, gone), reverse=True))


def row_of(gone: tuple[str, ...]) -> Row:
    row = PARTS_GONE[gone[0]]
    for other in gone[1:]:
        row = row.beside(PARTS_GONE[other])
    return row


def name_of(gone: tuple[str, ...]) -> str:
    return "-".join(gone)


@dataclass
class Platform:
    """The service with its stores and the alert path around it."""

    service: Service
    database: PostgresServer
    redis: RedisServer
    path: AlertPath
    fund: int
    keys: dict[str, str]
    session: str

    def value(self, query: str) -> object:
        """The first value of a query of the database."""
        with psycopg.connect(self.database.url(), autocommit=True) as link:
            row = link.execute(query).fetchone()
        return row[0] if row else None

    def newest_heartbeat(self) -> float:
        """The age of the newest heartbeat in seconds."""
        age = self.value("SELECT extract(epoch FROM now() - max(received_at)) FROM ops_heartbeat")
        return float(str(age)) if age is not None else float("inf")

    def age_heartbeats(self) -> None:
        """Let the last heartbeat have come 20 minutes ago."""
        with psycopg.connect(self.database.url(), autocommit=True) as link:
            link.execute("DELETE FROM ops_heartbeat")
            link.execute(
                "INSERT INTO ops_heartbeat (received_at, fingerprint)"
                " VALUES (now() - interval '20 minutes', 'f')"
            )

    def way_back(self) -> str:
        """The word on the rollout page."""
        cookie = f"{settings.SESSION_COOKIE_NAME}={self.session}"
        status, _, body = get(f"{self.service.address}/admin/ops/rollout/", Cookie=cookie)
        page = RolloutPage(SimpleNamespace(status_code=status, content=body.encode()))
        return page.facts["Automatic way back"].split()[0]

    def shown(self) -> set[str]:
        """The alerts that are pending or firing in Prometheus."""
        return {each["metric"]["alertname"] for each in self.path.query("ALERTS")}

    def ready(self) -> int:
        """The status of /readyz."""
        return get(f"{self.service.address}/readyz")[0]

    def holds_out(self, client: str) -> bool:
        """Whether the newest change holds the client out."""
        newest = "SELECT holdouts FROM normalization_rolloutchange ORDER BY id DESC LIMIT 1"
        return client in (self.value(newest) or ())  # type: ignore[operator]


@pytest.fixture
def platform(
    granian_server: Callable[..., Service],
    redis_server: RedisServer,
    postgres_server: PostgresServer,
) -> Iterator[Platform]:
    """Everything runs, enforcement is in force, and the watchdog comes every two seconds."""
    own = {
        "DATABASE_URL": postgres_server.url(),
        "REDIS_URL": redis_server.url(),
        "STAGE_GATES": "0",
        "STAGE_GUARD_CLIENTS": "100",  # the clients of all cases are held out, not everybody
    }
    service = granian_server(workers=2, env=own)
    service.manage("migrate", "--verbosity", "0")
    names = [GOOD, *(name_of(gone) for gone in gone_sets())]
    setup = SETUP.replace("NAMES", repr(names))
    printed = service.manage("shell", "--verbosity", "0", "-c", setup)
    fund, keys, session = json.loads(printed.splitlines()[-1])
    enforce(service)
    path = AlertPath(service)
    path.hurry()
    try:
        path.start()
        yield Platform(service, postgres_server, redis_server, path, fund, keys, session)
    finally:
        path.remove()


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_each_part_gone_alone_or_with_another_leaves_what_the_table_has(
    platform: Platform,
) -> None:
    # Good traffic beside the hurt clients, or the alert about all of them would fire.
    with sending(platform, GOOD, rate=50, share=0.0, threads=4):
        for gone in gone_sets():
            lose(platform, gone)
            hold_out(platform, name_of(gone))
            check_what_is_shown(platform, gone, row_of(gone))
            if "Redis" in gone:
                platform.redis.start()


def hold_out(platform: Platform, name: str) -> None:
    """Hurt a client until the guard holds it out."""
    with sending(platform, name, rate=2, share=1.0, threads=1) as hurt:
        wait_until(lambda: platform.holds_out(name), f"{name}: the hold-out")
        wait_until(lambda: hurt.modes["warn"] > 0, f"{name}: an answer in warn")
    assert set(hurt.statuses) == {200, 400}, name


def sending(platform: Platform, name: str, rate: float, share: float, threads: int) -> Traffic:
    return Traffic(platform.service, platform.keys[name], platform.fund, rate, share, threads)


def lose(platform: Platform, gone: tuple[str, ...]) -> None:
    """Start the parts that are not gone, and end those that are; the database comes back."""
    path = platform.path
    for part in PARTS:
        if part not in gone and part not in path.running:
            path.start_part(part)
    if len(path.running) == len(PARTS):
        platform.age_heartbeats()
        wait_until(lambda: platform.newest_heartbeat() < 60, "a heartbeat by the whole path")
    for part in set(gone) & set(path.running):
        path.kill_part(part)
    if "prometheus" in gone and "alertmanager" in path.running:
        wait_until(lambda: not path.active(), "the end of the alerts of a dead Prometheus")
    if "Redis" in gone:
        platform.redis.kill()
    if "database" in gone:
        platform.database.stop()
        wait_until(lambda: platform.ready() == row_of(gone).ready, "/readyz without database")
        if "prometheus" in path.running:
            wait_until(lambda: "StageScrapeFailing" in platform.shown(), "StageScrapeFailing")
        platform.database.start()
        wait_until(lambda: platform.ready() == 200, "/readyz with the database")
    platform.age_heartbeats()


def check_what_is_shown(platform: Platform, gone: tuple[str, ...], row: Row) -> None:
    path = platform.path
    if "alerts" in row.protects:
        wait_until(lambda: platform.newest_heartbeat() < 60, "a heartbeat")
    else:
        assert platform.newest_heartbeat() > 900, gone
    wait_until(lambda: platform.way_back() == row.word, f"{gone}: {row.word} on the page")
    assert platform.ready() == 200, gone
    assert figure(platform.service.address, "stage_guard_tick_age_seconds") < 10, gone
    stays = row.fires - {"StageScrapeFailing"}  # that one fired while the database was away
    if "prometheus" in path.running:
        looked_for = {"StageWayBackDead", *stays}
        wait_until(lambda: platform.shown() & looked_for == stays, f"{gone}: {stays} fire")
    if set(gone) & set(PARTS) == {"relay"}:
        wait_until(lambda: "StageWayBackDead" in path.active(), "StageWayBackDead to page")


def test_the_document_has_the_table_of_the_tests() -> None:
    lines = (ROOT / "docs" / "alerting.md").read_text().splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    documented = {row[0]: row[1:] for row in cells if len(row) == 5}
    for part, row in PARTS_GONE.items():
        protects, word, fires, ready = documented[part.capitalize()]
        assert frozenset(protects.split(" and ")) == row.protects
        assert word.split()[-1] == row.word
        assert frozenset(each.strip("`") for each in fires.split(" ") if "`" in each) == row.fires
        assert int(ready.split()[0]) == row.ready
