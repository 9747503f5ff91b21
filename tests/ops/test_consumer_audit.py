"""`manage.py consumer_audit`: what it reads and counts, and the decision that it records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.utils import DatabaseError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from normalization import observations
from normalization.models import AppendOnlyError, ClientAgent
from ops.consumers import audit as consumer_audit
from ops.consumers import deciding
from ops.consumers.audit import endpoint_of
from ops.consumers.log_files import LONGEST_LINE
from ops.consumers.models import ConsumerDecision
from stagenorm.logging import escape_user_agent
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.backup_faults import execute
from tests.logs import Logged
from tests.pages import Page

pytestmark = pytest.mark.django_db

COMPANIES = "GET /api/funds/{fund_id}/companies"
SIMULATE = "POST /api/monte-carlo/simulate"
Found = dict[str, Any]


def combined(
    address: str, request: str, status: int = 200, agent: str = "desk/1", days: float = 0
) -> str:
    at = timezone.now() - timedelta(days=days)
    moment = f"{at:%d/%b/%Y:%H:%M:%S +0000}"
    return f'{address} - - [{moment}] "{request} HTTP/1.1" {status} 9 "-" "{agent}"'


def ours(client: str, address: str, request: str, status: int = 200) -> str:
    record = {"event": "request_finished", "request": request, "code": status, "ip": address}
    named = {"client": client} if client else {}
    return json.dumps({**record, **named, "timestamp": timezone.now().isoformat()})


def log(path: Path, lines: Iterable[str | bytes], *, packed: bool = False) -> Path:
    texts = [line if isinstance(line, bytes) else line.encode() for line in lines]
    data = b"".join(text + b"\n" for text in texts)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def run(*words: object) -> str:
    out = StringIO()
    call_command("consumer_audit", *map(str, words), stdout=out)
    return out.getvalue()


def found(*words: object) -> Found:
    answer: Found = json.loads(run(*words, "--json"))
    return answer


def by_name(entries: list[Found], member: str) -> dict[str, int]:
    return {each[member]: each["requests"] for each in entries}


def test_requests_are_counted_by_endpoint_address_agent_client_and_key(tmp_path: Path) -> None:
    companies, simulate = "GET /api/funds/1/companies?stage=x", "POST /api/monte-carlo/simulate"
    plain = log(
        tmp_path / "access.log",
        [
            combined("10.0.0.7", companies),
            combined("10.0.0.7", "HEAD /api/funds/22/companies", agent="curl/8"),
            combined("203.0.113.9", companies, agent="-"),
            combined("203.0.113.9", companies, 401),
            combined("198.51.100.4", companies, 404),
            combined("10.0.0.7", companies, days=8),
            combined("10.0.0.7", "GET /static/x.css"),
            combined("10.0.0.7", "GET /api/nothing"),
        ],
    )
    packed = log(
        tmp_path / "ours.1",
        [
            ours("desk", "192.168.1.2", simulate),
            ours("", "::ffff:10.0.0.7", simulate, 401),
            ours("desk", "fd00::1", "GET /api/stages"),
            json.dumps({"event": "stage_not_canonical"}),
        ],
        packed=True,
    )
    audit = found("--access-log", plain, packed)["audit"]
    endpoints = {each["endpoint"]: each for each in audit["endpoints"]}
    assert list(endpoints)[:3] == [SIMULATE, "POST /api/portfolio/strategies", COMPANIES]
    first = endpoints[COMPANIES]
    assert (first["requests"], first["external_requests"]) == (5, 3)
    assert (first["without_key"], first["key_not_logged"]) == (1, 4)
    assert [(each["place"], each["address"], each["requests"]) for each in first["addresses"]] == [
        ("external", "203.0.113.9", 2),
        ("external", "198.51.100.4", 1),
        ("internal", "10.0.0.7", 2),
    ]
    assert by_name(first["user_agents"], "user_agent") == {"desk/1": 3, "(none)": 1, "curl/8": 1}
    second = endpoints[SIMULATE]
    assert (second["requests"], second["external_requests"], second["without_key"]) == (2, 0, 1)
    assert by_name(second["clients"], "client") == {"desk": 1}
    assert endpoints["GET /api/stages"]["requests"] == 1
    assert (audit["elsewhere"], audit["older"], audit["other_records"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("GET", "/api/funds/1/companies", COMPANIES),
        ("HEAD", "http://api.example/api/funds/1/companies", COMPANIES),
        ("GET", "/stages/api/%66unds/1/companies", COMPANIES),
        ("BREW", "/api/funds", "OTHER /api/funds"),
        ("GET", "/api/funds/x/companies", ""),
        ("GET", "/admin/", ""),
        ("GET", "/api/funds/" + "1" * 600 + "/companies", ""),
        ("", "", ""),
    ],
)
def test_a_request_belongs_to_the_endpoint_that_would_answer_it(
    settings: Settings, method: str, path: str, endpoint: str
) -> None:
    settings.SCRIPT_NAME = "/stages"
    endpoint_of.cache_clear()
    assert endpoint_of(method, path) == endpoint
    endpoint_of.cache_clear()


def test_lines_and_files_that_cannot_be_read_never_end_the_audit(tmp_path: Path) -> None:
    good = combined("10.0.0.7", "GET /api/funds/1/companies")
    plain = log(
        tmp_path / "a.log",
        ["garbage secret-1", good, b"x" * (3 * LONGEST_LINE), "", *["{"] * 5, good],
    )
    cut = log(tmp_path / "b.gz", [good] * 2_000, packed=True)
    cut.write_bytes(cut.read_bytes()[:-20])
    shown = run("--access-log", plain, cut)
    assert f"{plain}, line 1: neither combined nor JSON." in shown
    assert f"{plain}, line 3: longer than 64 KiB." in shown
    assert f"{plain}, line 5: not valid JSON." in shown
    assert f"{plain}: 2 more unreadable lines." in shown
    assert "7 unreadable lines" in shown
    assert f"{cut} is damaged after line" in shown
    assert "secret-1" not in shown
    audit = found("--access-log", plain, cut)["audit"]
    assert audit["requests"] > 2
    assert [each["unreadable"] for each in audit["files"]] == [7, 0]
    with pytest.raises(CommandError, match="could not be read"):
        run("--access-log", tmp_path / "missing")


def test_further_addresses_count_as_others_and_totals_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_audit, "KEPT", 3)
    request = "GET /api/funds/1/companies"
    path = log(tmp_path / "a", [combined(f"203.0.113.{n}", request) for n in range(9)])
    answer = found("--access-log", path)["audit"]
    (companies,) = [each for each in answer["endpoints"] if each["requests"]]
    assert (companies["requests"], companies["external_requests"]) == (9, 9)
    assert len(companies["addresses"]) == 3
    with pytest.raises(CommandError, match="others"):
        run("--access-log", path, "--decide", "internal-only", "--reason", "r")


def test_code_that_names_an_endpoint_is_found_with_file_and_line(tmp_path: Path) -> None:
    files = {
        "client.py": 'BASE = "x"\nurl = f"{BASE}/api/funds/{fund}/companies"\n',
        "web/app.js": 'fetch("/api/funds/" + id + "/companies")\n// monte-carlo/simulate\n',
        "web/other.js": "portfolio/strategiesX\n/funds/companies\n",
        "node_modules/x.js": "monte-carlo/simulate",
        ".git/x": "monte-carlo/simulate",
        "data.bin": "\0monte-carlo/simulate",
        "big.txt": "monte-carlo/simulate\n" * 120_000,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = found("--code", tmp_path)["code"]
    assert [(Path(hit["file"]).name, hit["line"], hit["endpoint"]) for hit in code["hits"]] == [
        ("client.py", 2, "fund-companies"),
        ("app.js", 1, "fund-companies"),
        ("app.js", 2, "monte-carlo-simulate"),
    ]
    assert (code["files"], code["binary"], code["too_large"]) == (3, 1, 1)
    assert "client.py:2" in run("--code", tmp_path)
    with pytest.raises(CommandError, match="is not a directory"):
        run("--code", tmp_path / "client.py")


def test_a_decision_records_who_when_why_and_the_audit_and_expires(
    tmp_path: Path, settings: Settings
) -> None:
    settings.CONSUMER_DECISION_DAYS = 30
    path = log(tmp_path / "a.log", [ours("desk", "10.0.0.7", "GET /api/funds/1/companies")])
    words = ("--decide", "internal-only", "--reason", "all ours", "--actor", "ann")
    shown = run("--access-log", path, *words)
    row = ConsumerDecision.objects.get()
    assert (row.verdict, row.owners, row.reason, row.decided_by) == (
        "internal-only", [], "all ours", "ann",
    )  # fmt: skip
    assert row.evidence["requests"] == 1
    assert row.evidence["clients"] == ["desk"]
    assert row.expires_at - row.decided_at == pytest.approx(
        timedelta(days=30), abs=timedelta(seconds=10)
    )
    assert "The consumers are internal only. Decided from 1 logged requests by ann" in shown
    run("--decide", "external", "--owner", "Acme", "--owner", "Beta", "--reason", "r")
    known = deciding.newest()
    assert known is not None
    assert (known.owners, known.requests) == (("Acme", "Beta"), None)
    assert found("--code", tmp_path)["decision"]["decision"] == "external"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--decide", "internal-only"], "Give a reason"),
        (["--decide", "internal-only", "--reason", " "], "Give a reason"),
        (
            ["--decide", "internal-only", "--reason", "r", "--owner", "x"],
            "external consumers only",
        ),
        (["--decide", "internal-only", "--reason", "r" * 501], "longer than 500"),
        (["--decide", "external", "--reason", "r"], "Name who answers"),
        (["--decide", "external", "--reason", "r", "--owner", " "], "Name who answers"),
        ([], "at least one of"),
        (["--code", ".", "--internal", "10.0.0.0/99"], "use for example 10.0.0.0/8"),
    ],
)
def test_an_incomplete_decision_is_refused(words: list[str], refusal: str) -> None:
    with pytest.raises(CommandError, match=refusal):
        run(*words)
    assert not ConsumerDecision.objects.exists()


@pytest.mark.parametrize(
    ("status", "more", "recorded"),
    [
        (200, [], False),
        (400, [], False),
        (401, [], True),
        (404, [], True),
        (200, ["--internal", "203.0.113.0/24"], True),
        (200, ["--confirm-external"], True),
    ],
)
def test_internal_only_is_refused_while_external_addresses_were_served(
    tmp_path: Path, status: int, more: list[str], recorded: bool
) -> None:
    path = log(tmp_path / "a.log", [combined("203.0.113.9", "GET /api/funds/1/companies", status)])
    words = ("--access-log", path, "--decide", "internal-only", "--reason", "r", *more)
    if recorded:
        run(*words)
    else:
        with pytest.raises(
            CommandError, match=r"external addresses were served: 203\.0\.113\.9\."
        ):
            run(*words)
    assert ConsumerDecision.objects.exists() is recorded


def test_a_decision_cannot_be_changed_or_deleted(operator: Client) -> None:
    run("--decide", "internal-only", "--reason", "<b>ours</b>")
    row = ConsumerDecision.objects.get()
    for change in (row.save, row.delete):
        with pytest.raises(AppendOnlyError):
            change()
    for statement in ("UPDATE {} SET reason = ''", "DELETE FROM {}"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            execute(statement.format("ops_consumerdecision"))
    page = Page.get(operator, "/admin/ops/consumerdecision/")
    assert "The consumers are internal only. Decided without an access log" in page.text
    assert "<b>ours</b>" in page.text
    assert page.faults() == []


def test_the_request_log_of_the_service_is_read_by_the_audit(
    client: Client, logged: Logged, tmp_path: Path
) -> None:
    agent = "desk/1 \x1b[31m" + "x" * 300
    key = create_key("desk")[1]
    Fund.objects.create(pk=1, name="f")
    headers = {"authorization": f"Api-Key {key}", "user-agent": agent}
    client.get("/api/funds/1/companies?stage=Seed", headers=headers, REMOTE_ADDR="10.0.0.7")
    client.get("/api/funds", REMOTE_ADDR="203.0.113.9")
    text = logged.take()
    assert "\x1b" not in text
    path = log(tmp_path / "service.log", text.splitlines())
    endpoints = {
        each["endpoint"]: each for each in found("--access-log", path)["audit"]["endpoints"]
    }
    (address,) = endpoints[COMPANIES]["addresses"]
    assert (address["address"], address["last_client"]) == ("10.0.0.7", "desk")
    assert address["last_user_agent"] == agent[:200]
    funds = endpoints["GET /api/funds"]
    assert (funds["requests"], funds["external_requests"], funds["without_key"]) == (1, 1, 1)
    observations.flush()
    assert ClientAgent.objects.get().user_agent == "desk/1 ?" + agent[8:200]


def test_a_terminal_gets_no_control_characters_of_a_user_agent() -> None:
    shown = escape_user_agent(None, "info", {"user_agent": "a\x1b[31m\x9b é"})
    assert shown["user_agent"] == r"a\u001b[31m\u009b \u00e9"
