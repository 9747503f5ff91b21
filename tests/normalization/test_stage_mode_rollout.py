"""`manage.py stage_mode`: status, changes of the rollout, convergence, explanations."""

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from normalization import decision_store, instances, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from stagenorm import redis_url
from tests.observed import serves
from tests.servers import RedisServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
SET = ["set", "--reason", "because", "--actor", "ann"]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("stage_mode", *arguments, stdout=out, stderr=out)
    return out.getvalue().strip()


@pytest.fixture
def shared(redis_server: RedisServer, settings: Settings) -> Iterator[RedisServer]:
    # Patient: within the 100 ms of production a busy machine may not come to Redis's answer.
    settings.STAGE_REDIS_TIMEOUT_MS = 30_000
    settings.CACHES = {**settings.CACHES, "rollout": redis_url.cache(redis_server.url(), 30)}
    yield redis_server
    rollout_store.forget()
    decision_store.forget()


def test_every_part_of_the_rollout_can_be_set_and_what_is_not_named_stays() -> None:
    run(
        *SET,
        "warn",
        "--pilots",
        "a, b",
        "--holdouts",
        "z",
        "--percent",
        "12.5",
        "--enforce-at",
        "2026-12-31",
    )
    run(*SET, "--endpoint-mode", "fund-companies=off", "--endpoint-mode", "rounds=warn")
    row = RolloutChange.objects.first()
    assert row
    assert (row.mode, row.pilots, row.holdouts, str(row.enforce_percent)) == (
        "warn",
        ["a", "b"],
        ["z"],
        "12.50",
    )
    assert row.overrides == {"fund-companies": "off", "rounds": "warn"}
    assert f"{row.enforce_at:%F %T%z}" == "2026-12-31 00:00:00+0000"
    run(*SET, "enforce", "--pilots", "", "--endpoint-mode", "rounds=none", "--enforce-at", "none")
    again = RolloutChange.objects.first()
    assert again
    assert (again.mode, again.pilots, again.holdouts, again.enforce_at) == (
        "enforce",
        [],
        ["z"],
        None,
    )
    assert again.overrides == {"fund-companies": "off"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--percent", "101"], ["--percent", "nan"], ["--percent", "x"], ["--endpoint-mode", "x"],
        ["--endpoint-mode", "x=loud"], ["--enforce-at", "soon"],
        ["--pilots", "a", "--holdouts", "a"],
    ],
)  # fmt: skip
def test_what_is_no_rollout_is_an_error_and_changes_nothing(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run(*SET, *arguments)
    assert not RolloutChange.objects.exists()


@pytest.mark.parametrize(
    ("client", "endpoint", "says"),
    [
        ("p", "fund-companies", "enforce: the client is a pilot"),
        ("h", "fund-companies", "warn: the client is a holdout"),
        ("p", "portfolio-strategies", "warn: the endpoint is overridden"),
        ("somebody", "fund-companies", "warn: bucket"),
    ],
)
def test_explain_says_which_mode_applies_and_why(
    client: str, endpoint: str, says: str, set_mode: Callable[..., int]
) -> None:
    from decimal import Decimal

    set_mode(
        "enforce", enforce_percent=Decimal("0.01"), pilots=frozenset("p"), holdouts=frozenset("h"),
        overrides={"portfolio-strategies": Mode.WARN},
    )  # fmt: skip
    assert run("explain", "--client", client, "--endpoint", endpoint).startswith(says)
    body = json.loads(run("explain", "--client", client, "--endpoint", endpoint, "--json"))
    assert says == f"{body['mode']}: {body['why']}"[: len(says)]


def test_an_unknown_endpoint_is_reported() -> None:
    said = "No endpoint of the API is called fund-company; the endpoints are monte-carlo-simulate,"
    assert said in run("explain", "--client", "c", "--endpoint", "fund-company")
    assert said in run(*SET, "warn", "--endpoint-mode", "fund-company=off")
    assert said not in run(*SET, "--endpoint-mode", "fund-company=none")


def test_status_shows_what_people_typed_as_they_typed_it_and_nothing_steers_the_terminal() -> None:
    typed = "see [/b] [red]this[/red] :smile:"
    run("set", "warn", "--reason", f"{typed} \x1b[2J", "--actor", "[/ann]", "--pilots", "[/p]")
    text = run("status")
    assert f"{typed} \\x1b[2J" in text
    assert "[/ann]" in text
    assert "[/p]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["loud"], "choose from 'off', 'warn', 'enforce'"),
        (["--percent", "x"], "'x' is not a number from 0 to 100"),
        (["--endpoint-mode", "a=loud"], "'a=loud' is not ENDPOINT=off"),
        (["--enforce-at", "soon"], "'soon' is not a date such as 2027-01-31"),
    ],
)
def test_a_malformed_argument_is_answered_with_its_form(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        run("set", *arguments)


def test_status_shows_the_rollout_and_the_instances(shared: RedisServer) -> None:
    run(*SET, "warn", "--pilots", "early-bird")
    version = rollout_store.current().version
    instances.announce(version, "warn", 0.1)
    text = run("status")
    for shown in (
        "warn",
        str(version),
        "early-bird",
        "ann (command)",
        "because",
        "Instances",
        "Converged: the only instance runs",
    ):
        assert shown in text
    body = json.loads(run("status", "--json"))
    assert (body["version"], body["converged"], body["instances"][0]["version"]) == (
        version,
        True,
        version,
    )
    assert json.loads(run("--json", "status")).keys() == body.keys()


def test_status_names_who_is_behind(shared: RedisServer) -> None:
    run(*SET, "warn")
    instances.announce(0, "off", 0.1)
    assert "Not converged: 1 of 1 instance run an older version" in run("status")


def test_set_wait_prints_the_measured_time_until_every_instance_runs_it(
    shared: RedisServer, settings: Settings
) -> None:
    settings.STAGE_MODE_TTL_SECONDS = 600
    assert rollout_store.current().rollout == Rollout(
        Mode.OFF
    )  # this process is an instance and listens
    wait_until(lambda: bool(instances.report()), "its report")
    text = run(*SET, "warn", "--wait", "60")
    assert "spread to every instance" in text
    assert "the only instance runs version" in text
    body = json.loads(run(*SET, "off", "--wait", "60", "--json"))
    assert body["waited_seconds"] < 60  # it heard of the change, long before its snapshot expires


def test_set_wait_that_waits_in_vain_says_who_is_behind_and_fails(shared: RedisServer) -> None:
    run(*SET, "warn")
    instances.announce(0, "off", 0.1)
    with pytest.raises(
        CommandError, match=r"is recorded, but after .* 1 of 1 .*:\d+ \(version 0\)"
    ):
        run(*SET, "off", "--wait", "0.2")
    assert rollout_store.newest().rollout.mode is Mode.OFF


def test_without_redis_set_wait_waits_a_ttl(settings: Settings) -> None:
    settings.STAGE_MODE_TTL_SECONDS = 0.2
    assert "the TTL of 0.2 s has passed" in run(*SET, "warn", "--wait")


def test_a_redis_that_is_away_is_never_convergence(shared: RedisServer) -> None:
    shared.kill()
    seen = instances.convergence(7, 9_999)
    assert not seen.converged
    assert seen.why.endswith("no process has confirmed version 7")
    serves(7)  # the database knows it without Redis
    assert instances.convergence(7, 0).converged


def test_a_redis_that_is_away_is_told_and_the_change_holds(shared: RedisServer) -> None:
    shared.kill()
    assert "recorded, not yet spread" in run(*SET, "warn")
    assert rollout_store.newest().rollout.mode is Mode.WARN
