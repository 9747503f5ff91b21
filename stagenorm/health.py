"""Health: ``/healthz`` says that the process answers, ``/readyz`` that it can do its work."""

from collections.abc import Callable

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from health_check.checks import Database
from health_check.exceptions import HealthCheckException


class NotReady(HealthCheckException):  # type: ignore[misc]  # ships no types
    """The work cannot be done; the message says why."""

    message_type = "Not ready"


@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers at all; touches nothing else."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every check passes; else 503, and ``checks`` says what fails. The database's timeouts bound it."""
    answers: dict[str, str] = {}
    ready = True
    for name, check in CHECKS.items():
        # What needs a database that is away would only wait for it once more.
        answers[name] = _verdict(check) if ready or name in _without_database else "not checked"
        ready = ready and answers[name] == "ok"
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "checks": answers},
        status=200 if ready else 503,
    )


def register(name: str, check: Callable[[], None]) -> None:
    """Have /readyz ask ``check`` as well; it raises NotReady, and can do without the database."""
    CHECKS[name] = check
    _without_database.add(name)


def _verdict(check: Callable[[], None]) -> str:
    try:
        check()
    except (HealthCheckException, DatabaseError) as failure:
        # The first line without libpq's address: enough for an operator, nothing for a stranger.
        return str(failure).partition("\n")[0][:200] or type(failure).__name__
    return "ok"


def _database() -> None:
    Database().run()


def _migrations() -> None:
    if missing := _unapplied():
        raise HealthCheckException(f"not applied: {', '.join(missing)}. Run `manage.py migrate`.")


def _unapplied() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


CHECKS: dict[str, Callable[[], None]] = {"database": _database, "migrations": _migrations}
_without_database: set[str] = set()
