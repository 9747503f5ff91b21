"""Each gate over facts: when it passes, fails or is inconclusive."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.gates.backup_rule import (
    BackupFiles,
    BackupRecord,
    BackupValidity,
    FileState,
    validity,
)
from ops.gates.consumers_rule import ConsumerVerdict, KnownConsumers
from ops.gates.instances_rule import InstanceFact
from ops.gates.rules import (
    GATES,
    GateFacts,
    GateOutcome,
    backup_valid,
    both_ways_dead,
    consumers_known,
    cooldown,
    examine,
    instances_converged,
    stored_stages_clean,
    way_back_proven,
    would_refuse,
)
from ops.gates.stored_rule import StoredStages
from ops.gates.traffic_rule import EnforcedTraffic, RefusedClient

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Check:
    kind: str
    verdict: str = "passed"
    sha256: str = "sha"
    reason: str = "it works"


VALID = validity(
    BackupRecord(
        "a.dump", "sha", NOW - timedelta(seconds=60), [Check("verify"), Check("restore")]
    ),
    BackupFiles(FileState.SAME),
    NOW,
)
GOOD = GateFacts(
    now=NOW,
    version=7,
    ttl_seconds=5,
    backups=(VALID,),
    stored=StoredStages(1_000, 0, 4, ("grant",)),
    traffic=EnforcedTraffic(2_000, 9, 5, 5),
    last_heartbeat_at=NOW - timedelta(minutes=4),
    instances=(InstanceFact("a:1", 7, 0.1, guard_age=0.9),),
    consumers=KnownConsumers(
        ConsumerVerdict.INTERNAL_ONLY,
        (),
        "ann",
        NOW - timedelta(days=1),
        NOW + timedelta(days=89),
        requests=12_345,
    ),
)
PASS, FAIL, INCONCLUSIVE = GateOutcome.PASS, GateOutcome.FAIL, GateOutcome.INCONCLUSIVE


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_all_gates_pass_over_good_facts_and_none_over_no_facts() -> None:
    assert {verdict.outcome for verdict in examine(GOOD)} == {PASS}
    nothing = {
        verdict.gate: verdict.outcome
        for verdict in examine(GateFacts(now=NOW, version=0, ttl_seconds=5))
    }
    assert nothing == {
        "backup_valid": FAIL,
        "stored_stages_clean": INCONCLUSIVE,
        "would_refuse": INCONCLUSIVE,
        "way_back_proven": INCONCLUSIVE,
        "instances_converged": PASS,  # by the TTL
        "cooldown": PASS,
        "consumers_known": INCONCLUSIVE,
    }


def test_the_gates_are_those_of_the_design_and_verdicts_have_their_names() -> None:
    names = [
        "backup_valid",
        "stored_stages_clean",
        "would_refuse",
        "way_back_proven",
        "instances_converged",
        "cooldown",
        "consumers_known",
    ]
    assert [gate.__name__ for gate in GATES] == names
    assert [verdict.gate for verdict in examine(GOOD)] == names


def backup(
    age: float = 60,
    files: FileState = FileState.SAME,
    name: str = "a.dump",
    passed: tuple[str, ...] = ("verify", "restore"),
) -> BackupValidity:
    checks = [Check(kind) for kind in passed]
    return validity(
        BackupRecord(name, "sha", ago(age), checks), BackupFiles(files, "on the host b"), NOW
    )


@pytest.mark.parametrize(
    ("age", "outcome", "said"),
    [
        (0, PASS, "passed both checks"),
        (3599, PASS, "3599 s old"),
        (3600, FAIL, "3600 s old; the limit is 3600 s"),
        (3601, FAIL, "3601 s old; the limit is 3600 s"),
        (-1, FAIL, "1 s in the future"),
    ],
)
def test_a_backup_is_fresh_from_its_snapshot_for_less_than_an_hour(
    age: float, outcome: GateOutcome, said: str
) -> None:
    verdict = backup_valid(replace(GOOD, backups=(backup(age),)))
    assert (verdict.outcome, said in verdict.sentence) == (outcome, True), verdict.sentence


CYCLE = "manage.py backup_cycle"


@pytest.mark.parametrize(
    ("backups", "outcome", "said", "remedy"),
    [
        ((), FAIL, "This database has no backup.", CYCLE),
        (
            (backup(passed=("verify",)),),
            FAIL,
            "a.dump has not passed restore.",
            "manage.py test_restore a.dump",
        ),
        ((backup(files=FileState.MISSING),), FAIL, "a.dump is no longer complete on disk", CYCLE),
        ((backup(files=FileState.CHANGED),), FAIL, "changed on disk since its checks", CYCLE),
        (
            (backup(files=FileState.TOUCHED),),
            INCONCLUSIVE,
            "was touched on disk",
            "verify_backup a.dump",
        ),
        (
            (backup(files=FileState.ELSEWHERE),),
            INCONCLUSIVE,
            "a.dump is on the host b",
            "run the command on the host",
        ),
        (
            (backup(files=FileState.UNREADABLE),),
            INCONCLUSIVE,
            "a.dump cannot be read",
            "run the command as the user",
        ),
        ((backup(passed=()), backup()), PASS, "a.dump passed both checks", ""),
        (
            (backup(files=FileState.MISSING), backup(name="b.dump")),
            PASS,
            "b.dump passed both checks",
            "",
        ),
        (
            (backup(files=FileState.TOUCHED), backup(name="b.dump")),
            PASS,
            "b.dump passed both checks",
            "",
        ),
        ((backup(passed=()), backup(7200, name="b.dump")), FAIL, "b.dump is 7200 s old", CYCLE),
    ],
)
def test_the_backup_that_comes_closest_to_passing_decides_the_newest_of_equals(
    backups: tuple[BackupValidity, ...], outcome: GateOutcome, said: str, remedy: str
) -> None:
    verdict = backup_valid(replace(GOOD, backups=backups))
    assert (verdict.outcome, said in verdict.sentence, remedy in verdict.remedy) == (
        outcome,
        True,
        True,
    ), verdict
    assert bool(verdict.remedy) == bool(remedy)


DERIVE, DECIDE = "normalize_stages --apply", "decide these spellings"


@pytest.mark.parametrize(
    ("stored", "outcome", "said", "remedies"),
    [
        (None, INCONCLUSIVE, "not known", ["--verify"]),
        (StoredStages(0, 0, 0), PASS, "0 of 0", []),
        (StoredStages(1_000, 0, 4), PASS, "4 of 1,000 (0.40 %)", []),
        (StoredStages(1_000, 0, 5, ("grant",)), FAIL, "Most frequent: 'grant'", [DECIDE]),
        (StoredStages(1_000, 1, 0), FAIL, "give: 1 of 1,000", [DERIVE]),
        (StoredStages(90_000, 10_000, 0), FAIL, "at least 10,000", [DERIVE]),
        (StoredStages(10, 3, 2, ("a", "b")), FAIL, "2 of 10 (20.00 %)", [DERIVE, DECIDE]),
    ],
)
def test_stored_stages_are_clean_if_all_are_derived_and_few_undecided_each_with_its_own_remedy(
    stored: StoredStages | None, outcome: GateOutcome, said: str, remedies: list[str]
) -> None:
    verdict = stored_stages_clean(replace(GOOD, stored=stored))
    assert verdict.outcome is outcome
    assert said in verdict.sentence
    named = [each for each in (DERIVE, DECIDE, "--verify") if each in verdict.remedy]
    assert named == remedies


def traffic(requests: int, refused: int, clients: int = 5, **more: Any) -> EnforcedTraffic:
    return EnforcedTraffic(requests, refused, clients, more.pop("clients_seen", 5), **more)


@pytest.mark.parametrize(
    ("requests", "refused", "outcome"),
    [
        (999, 0, INCONCLUSIVE),
        (999, 999, INCONCLUSIVE),
        (1_000, 0, PASS),
        (1_000, 4, PASS),
        (1_000, 5, FAIL),  # exactly 0.5 %
        (200_000, 999, PASS),
        (200_000, 1_000, FAIL),
    ],
)
def test_fewer_than_half_a_percent_of_a_thousand_requests_may_be_refused(
    requests: int, refused: int, outcome: GateOutcome
) -> None:
    facts = replace(GOOD, traffic=traffic(requests, refused))
    assert would_refuse(facts).outcome is outcome


def test_pilots_need_no_thousand_requests() -> None:
    facts = replace(GOOD, traffic=traffic(3, 0, clients=1, pilots_alone=True))
    assert would_refuse(facts).outcome is PASS
    facts = replace(GOOD, traffic=traffic(3, 1, clients=1, pilots_alone=True))
    assert would_refuse(facts).outcome is FAIL


def test_a_change_that_enforces_no_client_is_refused_with_that_sentence() -> None:
    verdict = would_refuse(replace(GOOD, traffic=traffic(0, 0, clients=0)))
    assert (verdict.outcome, verdict.sentence) == (
        FAIL,
        "The change enforces none of the clients that sent stages within 24 hours.",
    )
    verdict = would_refuse(replace(GOOD, traffic=EnforcedTraffic()))
    assert verdict.outcome is INCONCLUSIVE


def test_the_gate_names_the_clients_and_the_spellings_that_hold_the_change() -> None:
    hurt = (RefusedClient("deal-flow", 40, 50),)
    sent = traffic(1_000, 40, refused_clients=hurt, spellings=("Grant", "1st\nRound"))
    sentence = would_refuse(replace(GOOD, traffic=sent)).sentence
    assert sentence == (
        "Too many requests would be refused: 40 of 1,000 requests (4.00 %). The limit is 0.5 %. "
        "Clients: deal-flow (40). Spellings: 'Grant', '1st\\nRound'."
    )


def test_while_clients_are_hurt_no_gate_can_be_overridden() -> None:
    for hurt in (
        replace(GOOD, alert_fires=True),
        replace(GOOD, guard_sees="4 of 4 requests in 10 s were refused (100.0 %)"),
    ):
        fires = examine(hurt)
        assert not any(verdict.overridable for verdict in fires)
        assert next(each for each in fires if each.gate == "cooldown").outcome is FAIL
    assert all(verdict.overridable for verdict in examine(GOOD))


def server(guard_age: float | None, guard: str = "act", name: str = "a:1") -> InstanceFact:
    return InstanceFact(name, 7, 0.1, guard, guard_age)


@pytest.mark.parametrize(
    ("age", "servers", "outcome", "said"),
    [
        (None, [server(1)], INCONCLUSIVE, "is not proven"),
        (0, [server(1)], PASS, "The way back works."),
        (360, [server(1)], PASS, "6 minutes ago"),
        (361, [server(1)], INCONCLUSIVE, "unproven"),
        (900, [server(1)], INCONCLUSIVE, "unproven"),
        (901, [server(1)], FAIL, "is dead"),
        (0, [server(10)], PASS, "the only server"),
        (0, [server(1), server(11, name="b:2")], FAIL, "silent on 1 of 2 servers: b:2."),
        (0, [server(1), server(None, name="b:2")], FAIL, "silent on 1 of 2 servers: b:2."),
        (0, [server(1, "notify")], INCONCLUSIVE, "STAGE_GUARD is notify"),
        (0, [server(None, "off")], INCONCLUSIVE, "STAGE_GUARD is off"),
        (0, [], INCONCLUSIVE, "No server reports that its guard ticks"),
        (901, [], FAIL, "is dead"),
    ],
)
def test_the_way_back_is_proven_by_a_young_heartbeat_and_by_every_guard(
    age: float | None, servers: list[InstanceFact], outcome: GateOutcome, said: str
) -> None:
    last = None if age is None else ago(age)
    verdict = way_back_proven(replace(GOOD, last_heartbeat_at=last, instances=tuple(servers)))
    assert verdict.outcome is outcome
    assert said in verdict.sentence


@pytest.mark.parametrize(
    ("age", "servers", "dead"),
    [
        (None, [], True),
        (901, [], True),
        (901, [server(None, "off")], True),
        (901, [server(1, "notify"), server(30, name="b:2")], True),
        (901, [server(1), server(30, name="b:2")], False),
        (900, [], False),
        (0, [], False),
    ],
)
def test_both_ways_are_dead_if_no_guard_acts_and_no_heartbeat_came_for_15_minutes(
    age: float | None, servers: list[InstanceFact], dead: bool
) -> None:
    last = None if age is None else ago(age)
    facts = replace(GOOD, last_heartbeat_at=last, instances=tuple(servers))
    assert both_ways_dead(facts) is dead


@pytest.mark.parametrize(
    ("instances", "outcome"),
    [
        (None, INCONCLUSIVE),
        ((), INCONCLUSIVE),
        ((InstanceFact("a/1", 7, 0.1), InstanceFact("a/2", 7, 4.9)), PASS),
        ((InstanceFact("a/1", 7, 0.1), InstanceFact("b/2", 6, 0.1)), FAIL),
        ((InstanceFact("a/1", 7, 0.1), InstanceFact("b/2", 7, 5.1)), FAIL),
    ],
)
def test_with_redis_every_server_has_to_report_the_version(
    instances: tuple[InstanceFact, ...] | None, outcome: GateOutcome
) -> None:
    verdict = instances_converged(replace(GOOD, shared_store=True, instances=instances))
    assert verdict.outcome is outcome
    assert ("b/2" in verdict.sentence) is (outcome is FAIL)


def test_without_redis_the_servers_agree_within_the_ttl() -> None:
    nobody = replace(GOOD, instances=())
    assert "within 5 s (the TTL)" in instances_converged(nobody).sentence


def test_without_redis_a_registered_server_has_to_serve_the_version() -> None:
    frozen = InstanceFact("b:2", 7, 60.0)
    for servers, outcome in (((), PASS), ((frozen,), FAIL)):
        instances = (*GOOD.instances, *servers)  # type: ignore[misc]
        verdict = instances_converged(replace(GOOD, instances=instances))
        assert verdict.outcome is outcome
    assert "b:2" in verdict.sentence


def on(*stores: str) -> tuple[InstanceFact, ...]:
    return tuple(InstanceFact(f"a:{n}", 7, 0.1, store=store) for n, store in enumerate(stores))


@pytest.mark.parametrize(
    ("own", "servers", "sentence"),
    [
        ("database", ("database", "database"), ""),
        ("5f", ("5f", "5f"), ""),
        ("5f", ("", "5f"), ""),  # a server of an earlier release does not report its store
        ("", ("5f", "database"), ""),
        ("database", ("5f", "5f"), "has no REDIS_URL, but 2 of 2 servers use Redis."),
        (
            "5f",
            ("database", "5f"),
            "uses Redis, but 1 of 2 servers have no REDIS_URL.",
        ),
        ("5f", ("77", "5f"), "another Redis than that of 1 of 2 servers."),
    ],
)
def test_every_server_has_to_read_the_store_of_this_process(
    own: str, servers: tuple[str, ...], sentence: str
) -> None:
    facts = replace(GOOD, shared_store=own == "5f", store=own, instances=on(*servers))
    verdict = instances_converged(facts)
    assert verdict.outcome is (FAIL if sentence else PASS)
    assert sentence in verdict.sentence
    assert ("REDIS_URL" in verdict.remedy) is bool(sentence)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("expected", "reporting", "outcome"),
    [(0, 1, PASS), (2, 2, PASS), (2, 3, PASS), (2, 1, FAIL), (2, 0, INCONCLUSIVE)],
)
def test_with_expected_instances_fewer_servers_hold_the_gate(
    shared: bool, expected: int, reporting: int, outcome: GateOutcome
) -> None:
    servers = on(*[""] * reporting)
    facts = replace(GOOD, shared_store=shared, instances=servers, expected_instances=expected)
    verdict = instances_converged(facts)
    assert verdict.outcome is outcome
    if outcome is FAIL:
        assert verdict.sentence == "1 of 2 expected servers report."


@pytest.mark.parametrize(("age", "outcome"), [(None, PASS), (1799, FAIL), (1800, PASS)])
def test_after_an_automatic_way_back_half_an_hour_has_to_pass(
    age: float | None, outcome: GateOutcome
) -> None:
    assert (
        cooldown(
            replace(GOOD, last_automatic_downgrade_at=None if age is None else ago(age))
        ).outcome
        is outcome
    )


def decided(expires_at: datetime, owners: tuple[str, ...] = (), **more: Any) -> KnownConsumers:
    verdict = ConsumerVerdict.EXTERNAL if owners else ConsumerVerdict.INTERNAL_ONLY
    return KnownConsumers(verdict, owners, "ann", ago(3600), expires_at, **more)


@pytest.mark.parametrize(
    ("known", "outcome", "sentence"),
    [
        (None, INCONCLUSIVE, "The consumers are not known: no decision about them is recorded."),
        (
            decided(NOW + timedelta(seconds=1), requests=12_345),
            PASS,
            "The consumers are internal only. Decided from 12,345 logged requests by ann on "
            "2026-07-01; valid until 2026-07-01.",
        ),
        (
            decided(NOW, requests=0),
            FAIL,
            "The decision about the consumers expired on 2026-07-01. It was: internal only. "
            "Decided from 0 logged requests by ann on 2026-07-01.",
        ),
        (
            decided(NOW + timedelta(days=90), ("Acme", "Beta")),
            PASS,
            "The consumers are internal, and external ones of Acme, Beta. Decided without an "
            "access log by ann on 2026-07-01; valid until 2026-09-29.",
        ),
    ],
)
def test_a_decision_about_the_consumers_holds_until_the_moment_that_it_expires(
    known: KnownConsumers | None, outcome: GateOutcome, sentence: str
) -> None:
    verdict = consumers_known(replace(GOOD, consumers=known))
    assert (verdict.outcome, verdict.sentence) == (outcome, sentence)
    assert bool(verdict.remedy) is (outcome is not PASS)
    json.dumps(verdict.to_wire())


def test_every_gate_that_does_not_pass_has_a_remedy() -> None:
    bad = GateFacts(
        now=NOW,
        version=7,
        ttl_seconds=5,
        stored=StoredStages(9, 3, 0),
        traffic=EnforcedTraffic(1_000, 500, 5, 5),
        last_heartbeat_at=ago(9_999),
        shared_store=True,
        instances=(InstanceFact("a/1", 6, 0),),
        last_automatic_downgrade_at=ago(1),
        consumers=decided(NOW),
    )
    assert [(verdict.outcome, bool(verdict.remedy)) for verdict in examine(bad)] == [
        (FAIL, True)
    ] * len(GATES)
