"""What the service and the rollout depend on, each with its state and its remedy.

`manage.py preflight` prints every check; `/readyz?verbose` has the cheap ones, as words. A check
asks the function that the gates, the pages and the system checks ask, so that all of them agree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psycopg
from django.conf import settings
from django.core import checks as system_checks
from django.db import DEFAULT_DB_ALIAS, connection
from django.db import Error as DatabaseFault

from normalization import checks, conf, instance_registry, instances
from normalization.redis_link import RedisUnavailable, link
from ops import clock
from ops.alerts.signature import WINDOW_SECONDS
from ops.alerts.way_back import instance_facts, way_back_facts
from ops.backups.children import find_tools
from ops.backups.create import require_room
from ops.backups.history import backup_verdict
from ops.backups.outcomes import BackupRefused
from ops.backups.records import present
from ops.backups.source import (
    require_dumping_role,
    require_restoring_role,
    require_same_database,
    source,
)
from ops.gates import rules
from ops.gates.instances_rule import all_servers, missing_fault, store_fault
from ops.gates.rules import GateOutcome, GateVerdict
from stagenorm import health, session_checks
from stagenorm.sessions import database_fault

# The timer makes one every 20 minutes; one may fail.
BACKUP_TIMER_MAX_AGE: Final = timedelta(minutes=45)
METRICS_LEAST_FREE: Final = 100 * 1024 * 1024  # bytes
NAMES_LISTED: Final = 3
ABOUT_ROLE: Final = """
SELECT current_database(), rolname, rolsuper, current_setting('server_version')
FROM pg_roles WHERE rolname = current_user
"""


class PreflightOutcome(StrEnum):
    """The state of one dependency. A warning does not stop a rollout, a failure does."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


OK, WARNING, FAILED = PreflightOutcome


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """One check: `sentence` is what was found, `remedy` what to do ("" if it is ok)."""

    name: str
    outcome: PreflightOutcome
    sentence: str
    remedy: str = ""

    def to_wire(self) -> dict[str, str]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "remedy": self.remedy,
        }


Found = tuple[PreflightOutcome, str, str]
Look = Callable[[], Found]


def examine() -> list[PreflightResult]:
    """Run every check. Without a database, those that need it are warnings: not checked."""
    results = [_result("database", _database)]
    away = results[0].outcome is FAILED
    for name, look in _CHECKS:
        if away and name not in _WITHOUT_DATABASE:
            sentence = "Not checked: the check of the database failed."
            results.append(PreflightResult(name, WARNING, sentence))
        else:
            results.append(_result(name, look))
    return results


def public_words() -> Iterator[tuple[str, str]]:
    """Yield the name and outcome of each check that is cheap, and that anyone may know.

    They read a few rows and no files. The sentences, which have names and addresses, are left out.
    """
    for name, look in _PUBLIC:
        yield name, _result(name, look).outcome.value


def _result(name: str, look: Look) -> PreflightResult:
    try:
        return PreflightResult(name, *look())
    except BackupRefused as refusal:
        sentence, remedy = _with_remedy(str(refusal))
    except (DatabaseFault, psycopg.Error) as fault:
        sentence, remedy = _with_remedy(database_fault(fault) or str(fault).partition("\n")[0])
    except OSError as fault:
        sentence, remedy = f"{fault.strerror}: {fault.filename}", "correct the path or its owner"
    return PreflightResult(name, FAILED, sentence, remedy)


def _with_remedy(text: str) -> tuple[str, str]:
    """Split a message at the place where its remedy begins."""
    for mark, verb in ((". Set ", "set "), (". Run ", "run "), (". Check ", "check ")):
        sentence, found, remedy = text.partition(mark)
        if found:
            return f"{sentence}.", verb + remedy
    sentence, _, remedy = text.partition(": ")
    return f"{sentence.removesuffix('.')}.", remedy


def _of_messages(messages: Sequence[system_checks.CheckMessage], well: str) -> Found:
    """Return the worst of these messages of system checks, or that all is `well`."""
    if not messages:
        return OK, well, ""
    serious = any(each.is_serious() or each.id in _SERIOUS for each in messages)
    sentence = " ".join(each.msg for each in messages)
    remedy = " ".join(each.hint for each in messages if each.hint)
    return FAILED if serious else WARNING, sentence, remedy


# Warnings, so that the service starts without them; a rollout does not begin without them.
_SERIOUS: Final = {checks.REDIS_UNREACHABLE}


def _of_gate(verdict: GateVerdict) -> Found:
    outcomes = {
        GateOutcome.PASS: OK,
        GateOutcome.INCONCLUSIVE: WARNING,
        GateOutcome.FAIL: FAILED,
    }
    return outcomes[verdict.outcome], verdict.sentence, verdict.remedy


def _database() -> Found:
    with connection.cursor() as cursor:
        cursor.execute(ABOUT_ROLE)
        database, role, superuser, version = cursor.fetchone()
    sentence = f"PostgreSQL {version.split()[0]}, database {database}, role {role}."
    try:
        health.writes()
    except health.NotReady as fault:
        remedy = "wait for the end of the failover, or let DATABASE_URL find the primary"
        return FAILED, f"{sentence} Not usable: {fault.args[0]}", remedy
    if superuser and conf.production():
        remedy = "let DATABASE_URL name a role that owns the tables and is not a superuser"
        return WARNING, f"{sentence} The role is a superuser.", remedy
    return OK, sentence, ""


def _database_sessions() -> Found:
    pooled = settings.SERVICE_DATABASE is not None
    way = "goes through a pooler in transaction mode" if pooled else "uses no pooler"
    well = f"The parameters of sessions are as needed; the service {way}."
    return _of_messages(session_checks.check_sessions([DEFAULT_DB_ALIAS]), well)


def _migrations() -> Found:
    missing = health.unapplied()
    if not missing:
        return OK, "Every migration is applied.", ""
    named = ", ".join(missing[:NAMES_LISTED])
    return FAILED, f"Migrations not applied: {len(missing)} ({named} …).", "run manage.py migrate"


def _redis() -> Found:
    if not conf.redis_configured():
        seconds = f"{conf.ttl_seconds():g} s"
        return OK, f"REDIS_URL is not set: the database carries the mode, within {seconds}.", ""
    return _of_messages(checks.check_redis(), "Redis answers and allows every command needed.")


def _redis_link() -> Found:
    working = link.open or not conf.redis_configured()
    return (OK, "Redis answered last.", "") if working else (FAILED, "Redis did not answer.", "")


def _shared_store() -> Found:
    servers = instance_facts()
    fault = store_fault(conf.shared_store(), servers)
    if fault:
        return FAILED, *fault
    if not servers:
        return OK, "No server reports that could use another Redis.", ""
    what = "the same Redis" if conf.redis_configured() else "the database and no Redis"
    return OK, f"This process and {all_servers(len(servers))} use {what}.", ""


def _clocks() -> Found:
    """Compare the clocks of this host, of Redis and of the servers."""
    off = {"the database": instance_registry.measured_skew()}
    if conf.redis_configured():
        with contextlib.suppress(RedisUnavailable):  # the check of Redis reports it
            off["Redis"] = instances.redis_skew()
    by = ", ".join(f"{round(skew, 1) + 0.0:+.1f} s to {name}" for name, skew in off.items())
    servers = {each.name: each.skew for each in instances.serving()}
    wrong = {name: skew for name, skew in servers.items() if _is_off(skew)}
    sentence = f"The clock of this host: {by}."
    if not (wrong or any(map(_is_off, off.values()))):
        return OK, f"{sentence} Servers to the database: at most {_most(servers)} s.", ""
    if wrong:
        listed = ", ".join(f"{name} {skew:+.0f} s" for name, skew in _first(wrong))
        sentence = f"{sentence} Servers off the database's clock: {listed}."
    worst = max(map(abs, [*off.values(), *servers.values()]))
    return FAILED if worst >= WINDOW_SECONDS else WARNING, sentence, "synchronize them by NTP"


def _is_off(skew: float) -> bool:
    return abs(skew) > checks.CLOCK_LIMIT_SECONDS


def _most(skews: dict[str, float]) -> str:
    return f"{max(map(abs, skews.values()), default=0.0):.1f}"


def _first(named: dict[str, float]) -> list[tuple[str, float]]:
    return list(named.items())[:NAMES_LISTED]


def _instances() -> Found:
    servers, expected = instances.serving(), conf.expected_instances()
    silent = [each.name for each in servers if each.silent]
    if silent:
        named = ", ".join(silent[:NAMES_LISTED])
        remedy = "restart them; manage.py stage_mode forget NAME removes one that is gone"
        return FAILED, f"{len(silent)} of {len(servers)} servers are silent: {named}.", remedy
    fault = missing_fault(expected, instance_facts())
    if fault:
        return FAILED, *fault
    if not servers:
        return WARNING, "No server reports.", "start the service"
    note = "" if expected else " EXPECTED_INSTANCES is not set: a missing one is not noticed."
    return OK, f"Servers that report: {len(servers)}.{note}", ""


def _alert_path() -> Found:
    return _of_gate(rules.way_by_alerts(way_back_facts()))


def _guard() -> Found:
    return _of_gate(rules.way_by_guard(way_back_facts()))


def _backup() -> Found:
    return _of_gate(backup_verdict(read_files=False))


def _backup_timer() -> Found:
    newest, remedy = present().first(), "enable the timer of manage.py backup_cycle"
    if newest is None:
        return FAILED, "No backup of this database was made yet.", remedy
    age = clock.database_now() - newest.snapshot_at
    sentence = f"The newest backup was made {age.total_seconds() / 60:.0f} min ago"
    if age > BACKUP_TIMER_MAX_AGE:
        return FAILED, f"{sentence}; the timer makes one every 20 min.", remedy
    return OK, f"{sentence}.", ""


def _backup_role() -> Found:
    with source().connect() as holder:
        require_same_database(holder)
        require_dumping_role(holder)
        require_restoring_role(holder)
        tools = find_tools(holder.info.server_version)
    if tools.warning:
        return WARNING, tools.warning, "update the PostgreSQL client"
    return OK, "The role may dump and restore; pg_dump and pg_restore fit the server.", ""


def _disk_for_backups() -> Found:
    directory = _existing(settings.BACKUP_DIR)
    if not os.access(directory, os.W_OK):
        return FAILED, f"This user may not write {directory}.", "set BACKUP_DIR, or its owner"
    with source().connect() as holder:
        free = require_room(directory, holder)
    return OK, f"{settings.BACKUP_DIR} has {free:,} bytes free; the next backup fits.", ""


def _disk_for_metrics() -> Found:
    if Path() == settings.METRICS_DIR:
        return OK, "PROMETHEUS_MULTIPROC_DIR is not set here: metrics are in memory.", ""
    directory = _existing(settings.METRICS_DIR)
    if not os.access(directory, os.W_OK):
        remedy = "set PROMETHEUS_MULTIPROC_DIR, or its owner"
        return FAILED, f"This user may not write {directory}.", remedy
    free = shutil.disk_usage(directory).free
    if free < METRICS_LEAST_FREE:
        sentence = f"{directory} has {free:,} bytes free: new workers may not export metrics."
        return FAILED, sentence, "make room on that disk, or set PROMETHEUS_MULTIPROC_DIR"
    return OK, f"{settings.METRICS_DIR} has {free:,} bytes free.", ""


def _existing(directory: Path) -> Path:
    """Return `directory`, or the nearest parent that exists: the rest is made when needed."""
    return next(each for each in (directory, *directory.parents) if each.exists())


def _settings() -> Found:
    asked_apart = {checks.REDIS_UNREACHABLE, checks.REDIS_RIGHTS}
    found: list[Any] = system_checks.run_checks()
    serious = [each for each in found if each.level >= system_checks.WARNING]
    left = [each for each in serious if each.id not in asked_apart]
    return _of_messages(left, "The system checks of the settings found nothing.")


_CHECKS: Final[tuple[tuple[str, Look], ...]] = (
    ("database_sessions", _database_sessions),
    ("migrations", _migrations),
    ("redis", _redis),
    ("shared_store", _shared_store),
    ("clocks", _clocks),
    ("instances", _instances),
    ("guard", _guard),
    ("alert_path", _alert_path),
    ("backup", _backup),
    ("backup_timer", _backup_timer),
    ("backup_role", _backup_role),
    ("disk_for_backups", _disk_for_backups),
    ("disk_for_metrics", _disk_for_metrics),
    ("settings", _settings),
)
_WITHOUT_DATABASE: Final = {"redis", "disk_for_metrics", "settings"}
_PUBLIC: Final[tuple[tuple[str, Look], ...]] = (
    ("redis", _redis_link),
    ("clocks", _clocks),
    ("instances", _instances),
    ("guard", _guard),
    ("alert_path", _alert_path),
    ("backup", _backup),
    ("backup_timer", _backup_timer),
)
