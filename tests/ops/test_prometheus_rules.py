"""Rules, routes and dashboard, tested with the real promtool, amtool and Prometheus."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from normalization.outcomes import OUTCOMES
from normalization.rollout import Mode
from stagenorm import observe
from tests import children
from tests.servers import free_port, wait_until

DIRECTORY = Path(__file__).resolve().parents[2] / "ops" / "prometheus"
DASHBOARD = DIRECTORY.parent / "grafana" / "stagenorm.json"
RUNBOOK = DIRECTORY.parents[1] / "docs" / "runbook.md"
RULES = (DIRECTORY / "rules.yml").read_text()
ALERTS = {
    "StageRejectRateHigh",
    "StageWayBackTaken",
    "StageWayBackFailed",
    "StageWayBackDead",
    "StageGuardSilent",
    "StageServiceDown",
    "StageScrapeFailing",
    "StageClientHeldOut",
    "StageRedisSlow",
    "StageClockSkew",
    "StageUnknownRateHigh",
    "StageValidatorSlow",
    "StageModeStoreDown",
    "StageBackupStale",
    "StageBackfillStalled",
    "StageWatchdog",
}


EVENTS = {"StageWayBackTaken", "StageWayBackDead", "StageClientHeldOut", "StageWatchdog"}
"""Alerts that report at once, without `for`."""


def run(*command: str) -> str:
    """Run a program in the directory of the rules and return its output. It has to succeed."""
    done = children.run(command, cwd=DIRECTORY, seconds=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
@pytest.mark.timeout(900)  # many samples are evaluated: minutes of work for a slow machine
@pytest.mark.parametrize("table", ["rules_test", "rules_day_test", "rules_way_back_test"])
def test_the_rules_fire_on_a_breach_and_only_then(table: str, tmp_path: Path) -> None:
    tests = yaml.safe_load((DIRECTORY / f"{table}.yml").read_text())
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups_for(tests["tests"])}))
    shutil.copy(DIRECTORY / f"{table}.yml", tmp_path)
    assert "SUCCESS" in run("promtool", "test", "rules", str(tmp_path / f"{table}.yml"))


def groups_for(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups with the rules that the tests name and those that these read.

    promtool evaluates every rule at every moment of every test. Rules affect each other through
    records and `ALERTS` only, so the others would take a third of the time and change nothing.
    """
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    read = [case["expr"] for test in tests for case in test.get("promql_expr_test", ())]
    groups = yaml.safe_load(RULES)["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    wanted: set[str] = set()
    more = {case["alertname"] for case in cases} | rules_read_by(read)
    while more - wanted:
        wanted |= more
        more = rules_read_by([rule["expr"] for rule in every if name_of(rule) in wanted])
    assert wanted <= {name_of(rule) for rule in every}
    return [
        {**group, "rules": [rule for rule in group["rules"] if name_of(rule) in wanted]}
        for group in groups
    ]


def name_of(rule: dict[str, Any]) -> str:
    """Return the name of an alert or of a record."""
    return str(rule.get("alert") or rule["record"])


def rules_read_by(expressions: list[str]) -> set[str]:
    """Return the records and alerts that expressions read; only records have colons."""
    return set(re.findall(r'\bstage:[\w:]+|(?<=alertname=")\w+', " ".join(expressions)))


@pytest.mark.e2e
def test_prometheus_accepts_its_configuration() -> None:
    run("promtool", "check", "config", "prometheus.yml")


@pytest.mark.e2e
def test_alertmanager_accepts_its_configuration_and_routes_as_meant() -> None:
    run("amtool", "check-config", "alertmanager.yml")

    def receivers(*labels: str) -> str:
        return run(
            "amtool", "config", "routes", "test", "--config.file=alertmanager.yml", *labels
        ).strip()

    assert (
        receivers("alertname=StageRejectRateHigh", "stagenorm_action=auto_downgrade")
        == "stagenorm-downgrade,operator"
    )
    assert receivers("alertname=StageRejectRateHigh") == "operator"
    assert receivers("alertname=StagePageTest", "severity=page", "code=a") == "operator"
    assert receivers("alertname=StageWatchdog") == "stagenorm-heartbeat"
    for other in ALERTS - {"StageRejectRateHigh", "StageWatchdog"}:
        assert receivers(f"alertname={other}") == "operator"


def test_the_rules_are_those_of_the_design() -> None:
    assert set(re.findall(r"- alert: (\w+)", RULES)) == ALERTS


def test_every_alert_is_tested_to_fire_and_to_stay_silent() -> None:
    cases = [
        case
        for place in DIRECTORY.glob("*_test.yml")
        for test in yaml.safe_load(place.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert ALERTS - {"StageWatchdog"} - fires == set(), "never expected to fire"
    assert ALERTS - {"StageWatchdog"} - silent == set(), "never expected to be silent"


def test_every_alert_has_a_severity_and_waits_unless_it_reports_an_event() -> None:
    groups = yaml.safe_load(RULES)["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert {rule["alert"] for rule in alerts} == ALERTS
    assert {rule["alert"] for rule in alerts if "for" not in rule} == EVENTS
    severities = {rule["labels"].get("severity") for rule in alerts}
    assert severities == {"page", "warning", "ticket", "none"}


def test_every_runbook_link_leads_to_a_heading() -> None:
    links = re.findall(r'runbook_url: "(.+)"', RULES)
    anchors = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    }
    assert len(links) == len(re.findall("- alert:", RULES))
    docs = "{{ $externalLabels.stagenorm_docs }}/runbook.md"
    assert {link.partition("#")[0] for link in links} == {docs}
    assert {link.partition("#")[2] for link in links} <= anchors


def test_every_alert_has_what_happened_by_itself_what_next_and_absolute_links() -> None:
    alerts = RULES.split("- alert: ")[1:]
    for text in alerts:
        found = dict(re.findall(r'^          (\w+): "(.+)"$', text, re.MULTILINE))
        wanted = ["summary", "by_itself", "next", "page_url", "runbook_url"]
        assert list(found) == wanted, text[:40]
        assert found["page_url"].startswith("{{ $externalLabels.stagenorm_url }}/admin/")


def test_the_downgrade_is_delivered_again_within_thirty_seconds() -> None:
    route = (DIRECTORY / "alertmanager.yml").read_text().split("stagenorm-downgrade")[1]
    assert re.findall(r"repeat_interval: (\w+)", route)[0] == "30s"


def test_make_observe_fills_in_the_addresses_of_the_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE_PUBLIC_URL", "https://stages.example/")
    observe.write_configuration(tmp_path, observe.Ports())
    text = (tmp_path / "prometheus.yml").read_text()
    assert "stagenorm_url: https://stages.example\n" in text
    assert re.search(r"stagenorm_docs: file:///.+/docs\n", text)


def test_every_metric_of_a_rule_is_exported() -> None:
    source = "".join(
        place.read_text()
        for app in ("normalization", "ops")
        for place in (DIRECTORY.parents[1] / app).rglob("*.py")
    )
    for expressions in (RULES, DASHBOARD.read_text()):
        for name in set(re.findall(r"\bstage_[a-z_]+\b", expressions)):
            exported = re.sub(r"_(bucket|count|sum)$", "", name)
            assert f'"{exported}"' in source or f'"{exported.removesuffix("_total")}"' in source, (
                name
            )


# -- The dashboard ------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that have queries."""
    return [
        panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
    ]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Prometheus with our rules and without targets; return its address."""
    directory = tmp_path_factory.mktemp("prometheus")
    ports = observe.Ports(free_port(), free_port(), free_port(), free_port())
    observe.write_configuration(directory, ports)
    command = observe.commands(
        {"prometheus": shutil.which("prometheus") or "", "alertmanager": ""}, directory, ports
    )
    server = children.start_shared(
        command["prometheus"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{ports.prometheus}"
    try:
        wait_until(lambda: _answers(f"{address}/-/ready"), "Prometheus")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(60)
        finally:
            server.kill()
            server.wait()


def _answers(address: str) -> bool:
    import requests

    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.RequestException:  # not started yet, or too slow to answer
        return False


@pytest.mark.e2e
def test_every_expression_of_the_dashboard_is_accepted_by_prometheus(prometheus: str) -> None:
    import requests

    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert len(expressions) >= 15
    for expression in expressions:
        asked = (
            expression.replace("$__rate_interval", "1m")
            .replace("$__range", "1h")
            .replace("$endpoint", ".*")
        )
        assert "$" not in asked, expression
        answer = requests.post(
            f"{prometheus}/api/v1/query", data={"query": asked}, timeout=60
        ).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"


def test_the_dashboard_shows_every_metric_of_the_design() -> None:
    asked = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    for name in (
        "stage_validation_requests_total",
        "stage_validation_seconds_bucket",
        "stage_mode_info",
        "stage_mode_version",
        "stage_mode_age_seconds",
        "stage_mode_store_seconds_bucket",
        "stage_mode_store_errors_total",
        "stage_mode_changes_total",
        "stage_webhook_requests_total",
        "stage_backfill_rows_total",
        "stage_backfill_run_state",
        "stage_backup_last_valid_timestamp_seconds",
        "stage_backup_checks_total",
        "stage_guard_acted_total",
        "stage_guard_tick_age_seconds",
        "stage_clients_hurt",
        "stage_clock_skew_seconds",
    ):
        assert name in asked, name


def test_every_panel_is_described_and_links_to_the_console() -> None:
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        [link] = panel["links"]
        assert link["url"].startswith("${console}/admin/"), panel["title"]


def test_every_outcome_and_mode_has_a_fixed_colour() -> None:
    coloured = {
        override["matcher"]["options"].strip(r".*\b")
        for panel in panels()
        for override in panel["fieldConfig"].get("overrides", [])
    }
    assert coloured >= {*OUTCOMES, *map(str, Mode)}


def test_a_change_of_the_rollout_is_one_annotation_with_author_and_reason() -> None:
    [annotation] = json.loads(DASHBOARD.read_text())["annotations"]["list"]
    assert annotation["useValueForTime"] == "on"
    text = annotation["titleFormat"] + annotation["textFormat"]
    for name in ("version", "mode", "author", "reason"):
        assert f"{{{{{name}}}}}" in text


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_titles() -> None:
    taken: dict[tuple[int, int], str] = {}
    dashboard = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
