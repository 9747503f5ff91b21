"""The register of serving processes: what a process reports, and which processes are behind."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from normalization import instance_registry, instances, rollout_store
from normalization.checks import CLOCK_OFF, check_clock
from normalization.guard import Guard
from normalization.instance_reporter import InstanceReporter
from normalization.models import ServedVersion, ServingInstance
from stagenorm import redis_url
from tests.observed import serves

pytestmark = pytest.mark.django_db

NO_SUCH_PID = 2**22 - 7  # above the highest process id of a usual kernel


def silence(name: str, seconds: float) -> None:
    """Let a process have reported for the last time `seconds` ago."""
    at = timezone.now() - timedelta(seconds=seconds)
    ServingInstance.objects.filter(name=name).update(seen_at=at)


def test_a_process_reports_its_version_its_guard_and_its_clock(
    set_mode: Callable[..., int],
) -> None:
    version = set_mode("warn")
    rollout_store.current()
    guard = Guard()
    guard.tick()
    reporter = InstanceReporter(guard)
    reporter.report()
    [row] = instance_registry.registered()
    assert (row.host, row.pid, row.version) == (socket.gethostname(), os.getpid(), version)
    assert (row.mode, row.guard, row.store) == ("warn", "act", "database")
    assert row.guard_age is not None
    assert 0 <= row.guard_age < 60
    assert abs(row.skew) < 5
    assert instances.convergence(version, 0).why == "all of 1 instance run version " + (
        f"{version} or newer"
    )
    reporter.leave()
    assert instance_registry.registered() == ()


def test_a_report_is_written_every_two_seconds(set_mode: Callable[..., int]) -> None:
    set_mode("warn")
    rollout_store.current()
    now = [100.0]
    reporter = InstanceReporter(Guard(), lambda: now[0])
    written = []
    for _ in range(5):
        ServingInstance.objects.all().delete()
        reporter.report()
        written.append(ServingInstance.objects.exists())
        now[0] += 1
    assert written == [True, False, True, False, True]


def test_a_new_version_is_reported_at_once_and_its_first_report_is_kept(
    set_mode: Callable[..., int],
) -> None:
    reporter = InstanceReporter(Guard(), lambda: 100.0)
    versions = []
    for mode in ("warn", "off", "off"):
        versions.append(set_mode(mode))
        rollout_store.current()
        reporter.report()
    assert versions[1] == versions[2]
    first, second = ServedVersion.objects.order_by("version")
    assert [first.version, second.version] == versions[:2]
    assert first.name == instance_registry.identity()["name"]
    recorded = second.served_at - timedelta(seconds=2)
    processes, seconds = instance_registry.followed(versions[1], recorded)
    assert processes == 1
    assert seconds == pytest.approx(2.0)
    assert instance_registry.followed(versions[0], recorded) == (0, None)


@pytest.mark.parametrize(
    ("version", "silent", "behind"),
    [(7, 0, False), (8, 0, False), (6, 0, True), (7, 14, False), (7, 16, True), (7, 9_999, True)],
)
def test_a_process_with_an_older_version_or_without_a_report_is_behind(
    version: int, silent: float, behind: bool
) -> None:
    serves(7, "a:1")
    serves(version, "b:2", age=0)
    silence("b:2", silent)
    seen = instances.convergence(7, 60)
    assert seen.converged is not behind
    assert [each.name for each in seen.behind] == (["b:2"] if behind else [])


def test_a_frozen_process_is_behind_until_it_is_removed_by_name() -> None:
    serves(7, "a:1")
    serves(7, "b:2")
    silence("b:2", 86_400)
    assert "1 of 2 instances stopped reporting" in instances.convergence(7, 60).why
    out = StringIO()
    with pytest.raises(CommandError, match=r"No process b:3 is registered\. Registered: a:1, b:2"):
        call_command("stage_mode", "forget", "b:3")
    call_command("stage_mode", "forget", "b:2", stdout=out)
    assert "b:2 is removed" in out.getvalue()
    assert instances.convergence(7, 60).converged


def test_fewer_processes_than_expected_have_not_converged(settings: Settings) -> None:
    serves(7, "a:1")
    settings.EXPECTED_INSTANCES = 2
    assert instances.convergence(7, 60).why == "1 of 2 expected instances report"
    serves(7, "b:2")
    assert instances.convergence(7, 60).converged


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("redis://localhost", "redis://ann:secret@127.0.0.1:6379/0", True),
        ("redis://Cache.example/1", "rediss://cache.example:6379/1", True),
        ("redis://a:6379/0", "redis://a:6379/1", False),
        ("redis://a:6379/0", "redis://a:6380/0", False),
        ("redis://a:6379/0", "redis://b:6379/0", False),
        ("unix:///run/r.sock?db=1", "unix://ann:secret@/run/r.sock?db=1", True),
        ("unix:///run/r.sock", "unix:///run/s.sock", False),
        ("redis+sentinel://a,b:5/main/2", "redis+sentinel://ann:secret@b:5,a:26379/main/2", True),
        ("redis+sentinel://a/main/2", "redis+sentinel://a/other/2", False),
    ],
)
def test_the_digest_of_a_redis_depends_on_its_place_and_not_on_the_login(
    first: str, second: str, same: bool
) -> None:
    one, two = (redis_url.digest(redis_url.cache(url, 1)) for url in (first, second))
    assert (one == two) is same
    assert re.fullmatch("[0-9a-f]{16}", one)


@pytest.mark.parametrize(
    ("pid", "silent", "listed"),
    [(NO_SUCH_PID, 2, True), (NO_SUCH_PID, 5, False), (os.getpid(), 9_999, True)],
    ids=["just killed", "killed", "frozen"],  # ids must not differ between the test processes
)
def test_a_killed_process_of_this_host_is_removed_and_a_frozen_one_stays(
    set_mode: Callable[..., int], pid: int, silent: float, listed: bool
) -> None:
    name = f"{socket.gethostname()}:{pid}"
    set_mode("warn")
    rollout_store.current()
    if pid == os.getpid():
        serves(1, name)
        silence(name, silent)
        assert [each.name for each in instance_registry.registered()] == [name]
        return
    serves(1, name)
    silence(name, silent)
    assert bool(instance_registry.registered()) is listed
    InstanceReporter(Guard()).report()
    assert ServingInstance.objects.filter(name=name).exists() is listed


def test_set_wait_fails_and_names_the_process_that_did_not_confirm(
    set_mode: Callable[..., int],
) -> None:
    serves(0, "b:2")
    with pytest.raises(CommandError, match=r"1 of 1 instance run an older version: b:2 \(version"):
        call_command("stage_mode", "set", "warn", "--reason", "r", "--wait", "0.2")


@pytest.mark.parametrize(("off", "warns"), [(0, False), (4, False), (600, True), (-600, True)])
def test_a_clock_that_is_off_the_database_s_is_a_warning_at_start(
    monkeypatch: pytest.MonkeyPatch, off: float, warns: bool
) -> None:
    moment = time.time
    monkeypatch.setattr(time, "time", lambda: moment() + off)
    found = check_clock(["default"])
    assert [each.id for each in found] == ([CLOCK_OFF] if warns else [])
    assert check_clock([]) == []
