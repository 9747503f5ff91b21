"""The metrics behind the alerts: exact over processes, with bounded labels, sampled in logs."""

import contextlib
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.test import RequestFactory

from normalization import boundary as boundaries
from normalization import metrics
from normalization.boundary import Boundary, open_boundary
from normalization.outcomes import OUTCOMES
from normalization.problems import UnknownStage
from normalization.rollout import Mode
from normalization.sampling import Sampler
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests import children
from tests.alert_path import figure
from tests.logs import Logged
from tests.servers import ROOT, Service, wait_until

SERIES = re.compile(
    r"^stage_validation_requests_total"
    r'\{endpoint="([^"]*)",mode="([^"]*)",outcome="([^"]*)"\} (\S+)$',
    re.M,
)


def ask(address: str, **headers: str) -> tuple[int, str]:
    """Status and body of a GET over a new connection."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=20
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def counted(service: Service) -> dict[tuple[str, str, str], float]:
    """The request counter as /metrics has it."""
    text = ask(f"{service.address}/metrics")[1]
    return {
        (endpoint, mode, outcome): float(value)
        for endpoint, mode, outcome, value in SERIES.findall(text)
    }


@pytest.mark.django_db(transaction=True)
def test_requests_over_several_workers_are_counted_exactly_and_every_series_begins_at_zero(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    fund = Fund.objects.create(name="Fund")
    _, key = create_key("client")
    service = granian_server(workers=3)
    every = set(product(settings.STAGE_ENDPOINTS, Mode, OUTCOMES))
    assert counted(service) == dict.fromkeys(every, 0.0)
    sent = ["series-a"] * 40 + ["SERIES_A"] * 30 + ["Seires%20A"] * 20
    address = f"{service.address}/api/funds/{fund.pk}/companies?limit=1&stage="
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(lambda stage: ask(address + stage, Authorization=f"Api-Key {key}"), sent))
    found = counted(service)
    assert set(found) == every
    assert {series[2]: value for series, value in found.items() if value} == {
        "canonical": 40.0,
        "normalized": 30.0,
        "rejected": 20.0,
    }
    assert {series[:2] for series, value in found.items() if value} == {
        ("fund-companies", "enforce")
    }


@pytest.mark.django_db(transaction=True)
def test_the_gauges_of_a_killed_worker_are_removed_and_its_counts_kept(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    set_mode("warn")
    _, key = create_key("client")
    fund = Fund.objects.create(name="Fund")
    service = granian_server(workers=2)
    address = f"{service.address}/api/funds/{fund.pk}/companies?stage=series-a"

    def send(times: int) -> None:
        for _ in range(times):
            ask(address, Authorization=f"Api-Key {key}")

    send(40)
    first = int(figure(service.address, "stage_mode_version"))
    directory = service.metrics
    reporting = {
        int(place.stem.rpartition("_")[2]) for place in directory.glob("gauge_livemin_*.db")
    }
    assert service.process
    workers = [
        each.pid
        for each in psutil.Process(service.process.pid).children()
        if each.pid in reporting
    ]
    assert len(workers) == 2
    before = counted(service)["fund-companies", "warn", "canonical"]
    os.kill(workers[0], signal.SIGKILL)
    version = set_mode("enforce")

    def gone() -> bool:
        with contextlib.suppress(OSError):  # connections that the dead worker had not accepted
            send(4)
            return figure(service.address, "stage_mode_version") == version
        return False

    wait_until(gone, "the dead worker's version to go")
    assert version > first
    assert counted(service)["fund-companies", "warn", "canonical"] >= before
    assert not list(directory.glob(f"gauge_live*_{workers[0]}.db"))


@pytest.mark.django_db
def test_ten_thousand_spellings_add_no_series(
    set_mode: Callable[..., int], rf: RequestFactory
) -> None:
    from prometheus_client import REGISTRY

    def counter() -> set[tuple[str, ...]]:
        samples = next(iter(metrics.REQUESTS.collect())).samples
        return {
            tuple(sample.labels.values()) for sample in samples if sample.name.endswith("_total")
        }

    def series() -> set[tuple[str, ...]]:
        return {
            tuple(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            for family in REGISTRY.collect()
            if family.name.startswith("stage_")
            for sample in family.samples
        }

    metrics.begin_at_zero(settings.STAGE_ENDPOINTS)
    before = counter()  # other tests of this process have endpoints of their own
    spellings = [f"Stage \N{SNOWMAN} {number} “{number % 7}”\n" for number in range(10_000)]
    for mode in Mode:
        set_mode(mode)
        for number, endpoint in enumerate(settings.STAGE_ENDPOINTS):
            chunk = spellings[number::3]
            for start in range(0, len(chunk), 100):
                boundary = Boundary(endpoint, f"client {start}")
                try:
                    boundary.check(chunk[start : start + 100], pointer=lambda i: f"/{i}")
                except UnknownStage:
                    assert mode is Mode.ENFORCE
    assert counter() == before
    assert before >= set(product(settings.STAGE_ENDPOINTS, map(str, Mode), OUTCOMES))
    text = json.dumps(sorted(map(str, series())))
    assert "Stage " not in text
    assert "client " not in text
    assert "\\u2603" not in text


def test_the_first_events_of_a_minute_are_all_kept_and_then_a_known_share() -> None:
    now = [0.0]
    sampler = Sampler(all_below=10, then_one_in=100, clock=lambda: now[0])
    assert [sampler.rate() for _ in range(10)] == [1.0] * 10
    later = [sampler.rate() for _ in range(1000)]
    assert sum(rate > 0 for rate in later) == 10
    assert {rate for rate in later if rate} == {0.01}
    assert sum(1 / rate for rate in later if rate) == 1000  # the rates add up to the true number
    now[0] = 60.0
    assert sampler.rate() == 1.0


@pytest.mark.django_db
def test_the_event_of_a_decision_carries_its_sampling_rate_and_text_that_is_cut_and_escaped(
    set_mode: Callable[..., int],
    rf: RequestFactory,
    monkeypatch: pytest.MonkeyPatch,
    logged: Logged,
) -> None:
    from rest_framework.request import Request

    minute_without_end = Sampler(all_below=10, then_one_in=100, clock=lambda: 0.0)
    monkeypatch.setattr(boundaries, "_sampler", minute_without_end)
    set_mode("warn")
    logged.take()
    for number in range(150):
        boundary = open_boundary(Request(rf.get("/")), endpoint="fund-companies")
        boundary.check([f"Evil\x1b[31m\n{number}" + "x" * 300], pointer=lambda i: "/")
    open_boundary(Request(rf.get("/")), endpoint="fund-companies").check(
        ["series-a"], pointer=lambda i: "/"
    )
    records: list[dict[str, Any]] = [
        json.loads(line) for line in logged.take().splitlines() if line.startswith("{")
    ]
    events = [record for record in records if record["event"] == "stage_not_canonical"]
    assert [event["sampling_rate"] for event in events] == [1.0] * 10 + [0.01]
    for event in events:
        assert event["spellings"][0].startswith("Evil?[31m?")
        assert len(event["spellings"][0]) == 100


@pytest.mark.django_db(transaction=True)
def test_a_mode_change_is_one_event_that_is_never_sampled(
    set_mode: Callable[..., int], logged: Logged
) -> None:
    logged.take()
    for mode in ["warn", "off"] * 20:
        set_mode(mode)
    events = [line for line in logged.take().splitlines() if '"stage_mode_changed"' in line]
    assert len(events) == 40


def test_observe_names_missing_programs_and_how_to_install_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stagenorm.observe"]
    environment = {**os.environ, "PATH": str(tmp_path), "STAGENORM_DATA_DIR": str(tmp_path)}
    done = children.run(command, cwd=ROOT, env=environment, seconds=60)
    assert done.returncode == 1
    assert done.stderr.startswith("prometheus and alertmanager cannot be found.")
    assert done.stderr.count("\n") == 1
    assert "apt install" in done.stderr
