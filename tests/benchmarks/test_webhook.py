"""What response times reveal to a forger, and how far a flood of deliveries slows requests."""

import http.client
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean
from time import perf_counter_ns

import pytest
from scipy.stats import mannwhitneyu

from normalization.models import RolloutChange
from ops.alerts.signature import Forged, Genuine, sign, verify
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests import children
from tests.benchmarks import open_loop
from tests.benchmarks.harness import Ratio, hold
from tests.ops.deliveries import PATH, payload, raw, signed
from tests.servers import ROOT, Service

# Rounds of other signatures: the memory layout moves a round by up to 0.07, either way. Within a
# round in a random order, so that nothing that slows the machine down meets one of the two alone.
ROUNDS, SAMPLES = 32, 1_000
SECRETS = ["first-secret-of-the-benchmark-0123456789", "second-secret-of-the-benchmark-0123456789"]
BODY = raw(payload())
NOW = 1_800_000_000

FLOOD_RATE, FLOOD_SECONDS, API_RATE = 100, 20, 40


@dataclass(frozen=True)
class Attempt:
    """One of the two deliveries whose times are told apart."""

    secrets: list[str]
    timestamp: str
    signature: str
    judge: Callable[..., Genuine | Forged] = verify

    def time_ns(self, kind: type) -> int:
        """How long the verdict took, which must be of `kind`."""
        start = perf_counter_ns()
        verdict = self.judge(self.secrets, self.timestamp, self.signature, BODY, NOW)
        taken = perf_counter_ns() - start
        assert isinstance(verdict, kind)
        return taken


def separation(pair: Callable[[str], tuple[Attempt, Attempt]], kind: type) -> float:
    """How well the time separates the attempts of `pair(timestamp)`: 0 not at all, 1 perfectly."""
    rounds = [
        round_of(pair(str(NOW - number)), kind, random.Random(number)) for number in range(ROUNDS)
    ]
    return abs(mean(rounds))


def round_of(pair: tuple[Attempt, Attempt], kind: type, chance: random.Random) -> float:
    """From -1 (the first always takes longer) to 1 (the second does): 2 × (AUC - ½)."""
    times: tuple[list[int], list[int]] = ([], [])
    order = [0, 1] * SAMPLES
    chance.shuffle(order)
    for which in order:
        times[which].append(pair[which].time_ns(kind))
    return 2 * float(mannwhitneyu(times[1], times[0]).statistic) / SAMPLES**2 - 1


def wrong_at(position: int, timestamp: str) -> Attempt:
    """The right signature with one digit wrong."""
    right = sign(SECRETS[0], timestamp, BODY)
    wrong = right[:position] + ("0" if right[position] != "0" else "1") + right[position + 1 :]
    return Attempt(SECRETS, timestamp, wrong)


def both_secrets(
    timestamp: str, judge: Callable[..., Genuine | Forged] = verify
) -> tuple[Attempt, Attempt]:
    """One delivery signed with the first secret, one with the second."""
    one, other = (
        Attempt(SECRETS, timestamp, sign(secret, timestamp, BODY), judge) for secret in SECRETS
    )
    return one, other


def leaky(
    secrets: list[str], timestamp: str, signature: str, body: bytes, now: float
) -> Genuine | Forged:
    """What must not be written: it stops at the first match and at the first wrong digit."""
    for secret in secrets:
        if all(
            mine == theirs
            for mine, theirs in zip(sign(secret, timestamp, body), signature, strict=True)
        ):
            return Genuine(signature)
    return Forged("signature wrong")


def test_a_leak_would_be_seen() -> None:
    found = separation(
        lambda at: (replace(wrong_at(0, at), judge=leaky), replace(wrong_at(63, at), judge=leaky)),
        Forged,
    )
    hold(
        Ratio(
            "webhook: digits compared one by one",
            0.5,
            found,
            "",
            at_least=True,
            note="0 to 1; must be seen",
        )
    )
    found = separation(lambda at: both_secrets(at, leaky), Genuine)
    hold(
        Ratio(
            "webhook: no look at the second secret",
            0.5,
            found,
            "",
            at_least=True,
            note="0 to 1; must be seen",
        )
    )


def test_the_time_tells_nothing_about_the_first_wrong_digit() -> None:
    # Two signatures that are wrong at the same byte show what noise alone does (about 0.01).
    noise = separation(lambda at: (wrong_at(32, at), wrong_at(33, at)), Forged)
    hold(Ratio("webhook: noise alone", None, noise, "", note="0 to 1"))
    found = separation(lambda at: (wrong_at(0, at), wrong_at(63, at)), Forged)
    hold(
        Ratio("webhook: wrong at the first digit against the last", 0.05, found, "", note="0 to 1")
    )


def test_the_time_tells_nothing_about_which_secret_matched() -> None:
    found = separation(both_secrets, Genuine)
    hold(Ratio("webhook: first secret matched against the second", 0.05, found, "", note="0 to 1"))


def p99_ms(service: Service, key: str, fund: int, seconds: float) -> float:
    """p99 of the companies endpoint at API_RATE requests a second over two connections, in ms."""
    path = f"/api/funds/{fund}/companies?stage=series-a"
    answers = open_loop.send(service, key, [lambda _: path] * 2, API_RATE, seconds)
    assert set(answers.statuses) == {200}
    return open_loop.p99(answers.milliseconds)


@pytest.mark.django_db(transaction=True)
def test_a_flood_of_bad_deliveries_slows_nobody_and_the_genuine_one_comes_through(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    fund = Fund.objects.create(name="Fund")
    _, key = create_key("client")
    service = granian_server(workers=2)
    p99_ms(service, key, fund.pk, 3)
    quiet = [p99_ms(service, key, fund.pk, FLOOD_SECONDS)]
    figures = map(str, (service.port, FLOOD_RATE, FLOOD_SECONDS + 2))
    command = [sys.executable, "-m", "tests.benchmarks.flood", *figures]
    flood = children.start(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    outcome: list[str] = []
    genuine = threading.Timer(FLOOD_SECONDS / 2, lambda: outcome.append(_deliver(service)))
    genuine.start()
    flooded = p99_ms(service, key, fund.pk, FLOOD_SECONDS)
    genuine.join()
    count = int(flood.communicate(timeout=60)[0])
    quiet.append(p99_ms(service, key, fund.pk, FLOOD_SECONDS))
    assert outcome == ["downgraded"]
    assert RolloutChange.objects.filter(source="alert").count() == 1
    rate = count / (FLOOD_SECONDS + 2)
    hold(
        Ratio(
            "webhook: bad deliveries a second in the flood",
            0.95 * FLOOD_RATE,
            rate,
            "/s",
            at_least=True,
        )
    )
    calm = sum(quiet) / 2
    note = f"{flooded:.1f} ms against {quiet[0]:.1f} ms before and {quiet[1]:.1f} ms after"
    hold(Ratio("API p99 during a flood of bad deliveries", 1.5, flooded / calm, note=note))


def _deliver(service: Service) -> str:
    link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    link.request("POST", PATH, BODY, {"Content-Type": "application/json", **signed(BODY)})
    try:
        return str(json.loads(link.getresponse().read())["outcome"])
    finally:
        link.close()
