"""An operator takes the real vocabulary from the first import to enforcement by commands alone.

The demonstration's funds, an import of PLAY_ROWS companies (300,000 is the full size) and five
clients of a running service. No gate is overridden. Each gate is examined before and after, so
that it passes for the right reason.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import random
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Sum
from pytest_django import Settings

from normalization import decision_file, decision_store, rollout_store
from normalization.decision_effects import stored_texts
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, OutcomeTally, RolloutChange
from normalization.rollout import Mode, Rollout
from normalization.spelling_groups import group_of
from normalization.stages import Known, Outside, Stage, fold, normalize, stage_name
from ops.gates import facts
from ops.gates.rules import GateVerdict, examine
from stagenorm.portfolio import demonstration
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.ops.deliveries import HEARTBEAT, alert, payload, raw, signed
from tests.servers import Service, get, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]

ROWS = int(os.environ.get("PLAY_ROWS", "5000"))
MOST_COMMANDS = 25
UNDECIDED_LEFT = 0.002  # the operator stops deciding at this share of the rows
PACKS = 3
# What each client sends on a day. A verdict needs 1,000 requests of the clients to be enforced.
CLIENTS = {
    "deal-flow": {"series-a": 200, "Series A": 60, "Seires A": 40, "Grant": 5},
    "lp-portal": {"seed": 180, "Seed Round": 60, "Early Stage VC (Series A)": 40, "Angel": 5},
    "data-lake-importer": {"series-b": 180, "Later Stage VC (Series B)": 70, "1st Round": 30},
    "crm-sync": {"series-c+": 180, "SERIES C": 60, "Seires A": 10, "Series D": 10},
    "deal-desk": {"pre-seed": 160, "Pre Seed": 60, "Early Stage VC": 10, "PIPE": 5},
}
SPELLINGS = {raw for spellings in CLIENTS.values() for raw in spellings}
ENDPOINT = "fund-companies"
Outcomes = dict[str, str]


class CommandLine:
    """Runs commands as the operator types them, and counts them."""

    def __init__(self) -> None:
        self.typed: list[str] = []

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run one command; return what it printed.

        `status`: the expected exit status; 4 also stands for 0, because it only adds that rows are
        left.
        """
        self.typed.append(" ".join(words))
        output, refusal, ended = io.StringIO(), "", 0
        try:
            call_command(*words, stdout=output, stderr=io.StringIO())
        except SystemExit as end:
            ended = int(end.code or 0)
        except CommandError as error:
            ended, refusal = error.returncode, str(error)
        assert ended == status or (ended, status) == (0, 4), f"{words}: {ended} {refusal}"
        return output.getvalue()

    def json(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Run one command with --json; return the last object that it printed."""
        answer: dict[str, Any] = json.loads(
            self(*words, "--json", status=status).strip().splitlines()[-1]
        )
        return answer

    def decide(self, file: str, reason: str) -> None:
        """Look at the plan of a file or pack, then apply exactly that plan: two commands."""
        plan = self.json("stage_decisions", "plan", file)
        assert plan["unconfirmed"] == plan["conflicts"] == []
        approved = ("--plan", plan["hash"], "--reason", reason)
        self("stage_decisions", "apply", file, *approved, status=4)


class ClientTraffic:
    """Five clients of the service; each sends its stages to the filter of companies."""

    def __init__(self, service: Service, fund: int) -> None:
        self._service, self._fund = service, fund
        self._keys = {name: create_key(name)[1] for name in CLIENTS}

    def day(self, *, without: frozenset[str] = frozenset(), part: int = 1) -> set[int]:
        """Send a day's requests, or a `part`th of them; return the statuses of the answers.

        Waits until the service has tallied them.
        """
        before = self._tallied()
        with ThreadPoolExecutor(len(CLIENTS)) as pool:
            found = pool.map(lambda name: self._send(name, without, part), CLIENTS)
            statuses = Counter(status for each in found for status in each)
        wait_until(lambda: self._tallied() == before + statuses.total(), "the tallies")
        return set(statuses)

    def one(self, client: str, stage: str) -> int:
        """Send one request; return the status of its answer."""
        with self._link() as link:
            return self._ask(client, stage, link)

    def outside(self) -> frozenset[str]:
        """Return what the clients read to be outside, in /api/deprecations.

        Waits until the service has the newest decisions: without Redis that takes up to 5 s.
        """
        table = decision_store.newest()
        decided = {raw for raw in SPELLINGS if isinstance(normalize(raw, table), Outside)}
        wait_until(lambda: self._listed_outside() == decided, "the listing of the decisions")
        return self._listed_outside()

    def _listed_outside(self) -> frozenset[str]:
        _, _, body = get(f"{self._service.address}/api/deprecations")
        folded = {entry["spelling"] for entry in json.loads(body)["outside"]}
        return frozenset(raw for raw in SPELLINGS if fold(raw) in folded)

    def _send(self, client: str, without: frozenset[str], part: int) -> list[int]:
        sent = {raw: times for raw, times in CLIENTS[client].items() if raw not in without}
        with self._link() as link:
            return [
                self._ask(client, spelling, link)
                for spelling, times in sent.items()
                for _ in range(max(1, times // part))
            ]

    def _ask(self, client: str, stage: str, link: http.client.HTTPConnection) -> int:
        query = urllib.parse.urlencode({"stage": stage, "limit": "1"})
        headers = {"Authorization": f"Api-Key {self._keys[client]}"}
        link.request("GET", f"/api/funds/{self._fund}/companies?{query}", headers=headers)
        answer = link.getresponse()
        answer.read()
        return answer.status

    def _link(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=60))

    def _tallied(self) -> int:
        return OutcomeTally.objects.aggregate(sent=Sum("requests"))["sent"] or 0


@pytest.fixture
def service(granian_server: Callable[..., Service], settings: Settings, tmp_path: Path) -> Service:
    """A serving process with its guard; the commands of this process ask the gates."""
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    settings.STAGE_DECISION_GATEKEEPER = "ops.gates.ask.examine_decisions"
    settings.BACKUP_DIR, settings.DATA_DIR = tmp_path / "backups", tmp_path
    demonstration.load()
    return granian_server(workers=1)


def company_file(path: Path, rows: int) -> Path:
    """Write a CSV of companies whose stages have the frequencies of the real vocabulary."""
    chance = random.Random(demonstration.SEED)
    spellings, counts = demonstration.vocabulary()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "stage"])
        drawn = chance.choices(spellings, counts, k=rows)
        writer.writerows((f"Company {number}", raw) for number, raw in enumerate(drawn, start=1))
    return path


def decision_lines(path: Path, undecided: list[dict[str, Any]]) -> Path:
    """Write a file of decisions about the heaviest spellings, as their groups usually are."""
    left = UNDECIDED_LEFT * PortfolioCompany.objects.count()
    rest = sum(each["rows"] for each in undecided)
    rows = []
    for each in undecided:
        if rest <= left and not each["requests"]:
            break
        rest -= each["rows"]
        rows.append(decision_about(each["spelling"], each["suggestions"]))
    path.write_text(decision_file.write(rows), encoding="utf-8")
    return path


def decision_about(spelling: str, suggestions: list[str]) -> DecisionRow:
    """Decide as the suggestion or the closed group is; what is left to the house is outside."""
    source = "looked at one by one: confirmed"
    group = group_of(spelling)
    stage = Stage(suggestions[0]) if len(suggestions) == 1 else group.stage if group else None
    if stage is not None:
        return DecisionRow(spelling, DecisionVerdict.STAGE, stage, source=source)
    kind = group.label if group else "not one of the six"
    return DecisionRow(spelling, DecisionVerdict.OUTSIDE, None, kind, source=source)


def a_day_passes() -> None:
    """Move what clients have sent to the day before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE normalization_outcometally SET minute = minute - interval '25 hours'"
        )
        cursor.execute(
            "UPDATE normalization_observedspelling SET day = day - 1, "
            "first_seen = first_seen - interval '25 hours', "
            "last_seen = last_seen - interval '25 hours'"
        )


def gates(asked: Rollout) -> dict[str, GateVerdict]:
    """Return the verdict of each gate on a rollout."""
    found = examine(facts.collect(rollout_store.newest().version, asked))
    return {verdict.gate: verdict for verdict in found}


def outcomes(verdicts: dict[str, GateVerdict]) -> Outcomes:
    """Return gate → outcome."""
    return {name: verdict.outcome.value for name, verdict in verdicts.items()}


def beat(service: Service) -> None:
    """Deliver the watchdog's heartbeat, as Alertmanager does through the relay."""
    body = raw(payload(alert("StageWatchdog")))
    headers = {"Content-Type": "application/json", **signed(body)}
    request = urllib.request.Request(f"{service.address}{HEARTBEAT}", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def share_by_verdict() -> dict[str, float]:
    """Return the percentage of stored rows by what they mean today."""
    table, found = decision_store.newest(), Counter[str]()
    for each in stored_texts():
        meaning = normalize(each.text, table)
        if isinstance(meaning, Known):
            name = "built in" if isinstance(normalize(each.text), Known) else "decided a stage"
        else:
            name = "outside" if isinstance(meaning, Outside) else "undecided"
        found[name] += each.rows
    return {name: 100 * rows / found.total() for name, rows in found.items()}


def test_the_real_vocabulary_reaches_enforcement_by_commands_without_an_override(
    service: Service, tmp_path: Path
) -> None:
    run = CommandLine()
    fund = Fund.objects.create(name="Data lake")
    traffic = ClientTraffic(service, fund.pk)
    all_clients = Rollout(Mode.ENFORCE)

    # The first day: import, warn, and look at what clients send.
    file = company_file(tmp_path / "companies.csv", ROWS)
    importing = ("import_companies", str(file), "--fund", str(fund.pk))
    run(*importing, "--apply", run.json(*importing)["plan"])
    run("stage_mode", "set", "warn", "--reason", "the first import is done", "--wait")
    assert traffic.day() == {200}
    before = gates(all_clients)
    assert outcomes(before) == {
        "backup_valid": "fail",
        "stored_stages_clean": "fail",
        "would_refuse": "fail",
        "way_back_proven": "inconclusive",
        "instances_converged": "pass",
        "cooldown": "pass",
        "consumers_known": "inconclusive",
    }
    run("rollout_status", status=1)

    # Packs first, then a file of what is left, heaviest first.
    offers = run.json("stage_decisions", "packs")["packs"]
    for offer in offers[:PACKS]:
        run.decide(f"pack:{offer['name']}", "it is their vocabulary")
    undecided = run.json("stage_decisions", "list", "--undecided")["undecided"]
    run.decide(str(decision_lines(tmp_path / "decisions.csv", undecided)), "looked at")
    held = gates(all_clients)["stored_stages_clean"]
    assert (held.outcome, held.evidence["not_derived_rows"] > 0) == ("fail", True)
    assert held.evidence["undecided_rows"] < 0.005 * held.evidence["rows"]

    # Who calls: the service's own log of the day.
    audited = run.json(
        *("consumer_audit", "--access-log", str(service.log)),
        *("--decide", "internal-only", "--reason", "the log of the first day"),
    )
    assert (
        audited["decision"]["requests"] == OutcomeTally.objects.aggregate(n=Sum("requests"))["n"]
    )
    called = {each["endpoint"]: each for each in audited["audit"]["endpoints"]}
    companies = called["GET /api/funds/{fund_id}/companies"]
    assert {each["client"] for each in companies["clients"]} == CLIENTS.keys()

    # The stored rows.
    run("backup_cycle")
    run("normalize_stages", "--apply", "--backoff-ms", "0", status=4)

    # Clients stop sending what is outside; a day later the gates agree.
    assert outcomes(gates(all_clients)) == {
        "backup_valid": "pass",
        "stored_stages_clean": "pass",
        "would_refuse": "fail",
        "way_back_proven": "inconclusive",
        "instances_converged": "pass",
        "cooldown": "pass",
        "consumers_known": "pass",
    }
    a_day_passes()
    traffic.day(without=traffic.outside())
    beat(service)
    for option, enforced in (
        (("--pilots", "deal-flow", "--percent", "0"), {"deal-flow"}),
        (("--percent", "30"), CLIENTS.keys() - {"deal-desk"}),
        (("--percent", "100"), CLIENTS.keys()),
    ):
        step(run, option, set(enforced))
    assert traffic.day(without=traffic.outside(), part=4) == {200}
    assert traffic.one("deal-flow", "Grant") == 400
    run("rollout_status")
    finish(run)


def step(run: CommandLine, option: tuple[str, ...], enforced: set[str]) -> None:
    """Take one step of the rollout; all gates pass, each for its own reason."""
    words = ("stage_mode", "set", "enforce", *option, "--reason", "all checks pass", "--wait")
    run(*words)
    change = RolloutChange.objects.latest("id")
    recorded = {each["gate"]: each for each in change.evidence["gates"]}
    assert {each["outcome"] for each in recorded.values()} == {"pass"}
    assert "overrides" not in change.evidence
    stored = recorded["stored_stages_clean"]["evidence"]
    assert stored["not_derived_rows"] == 0
    assert stored["undecided_rows"] < 0.005 * stored["rows"]
    sent = recorded["would_refuse"]["evidence"]
    assert sent["clients"] == len(enforced)
    assert sent["refused"] == 0
    now = rollout_store.newest().rollout
    assert {name for name in CLIENTS if now.mode_for(ENDPOINT, name) is Mode.ENFORCE} == enforced


def finish(run: CommandLine) -> None:
    """Hold the limits of the whole rollout, and print its figures."""
    now = rollout_store.newest().rollout
    assert (now.mode, now.enforce_percent) == (Mode.ENFORCE, Decimal(100))
    for changes in (RolloutChange.objects, DecisionBatch.objects):
        assert not any("overrides" in evidence for (evidence,) in changes.values_list("evidence"))
    table = decision_store.newest()
    stored = PortfolioCompany.objects.values_list("stage_raw", "stage").distinct()
    assert all(stage == stage_name(normalize(text, table)) for text, stage in stored)
    shares = share_by_verdict()
    print(f"\n{len(run.typed)} commands, {PortfolioCompany.objects.count():,} rows")
    for name, percent in sorted(shares.items(), key=lambda each: -each[1]):
        print(f"{name:>16} {percent:6.2f} %")
    assert shares.get("undecided", 0) <= 0.5
    assert len(run.typed) <= MOST_COMMANDS
