"""Health endpoints: ``/healthz`` for liveness, ``/readyz`` for readiness."""

from collections.abc import Callable, Iterable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from stagenorm import sessions


class NotReady(Exception):
    """A readiness check failed; the message is the reason."""

    def __str__(self) -> str:
        return f"Not ready: {super().__str__()}"


@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """Return 200 while the process answers, without asking any store."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Return 200 when every check passes, else 503; ``checks`` has the result of each.

    While the database takes no writes, the status is "read-only", and ``checks.writes`` has the
    reason. `?verbose` adds what `register_details` was given.
    The timeouts of the database limit the time this takes.
    """
    results: dict[str, str] = {}
    ready = True
    for name, check in CHECKS.items():
        # After a failure, a check that needs the database would only wait for it again.
        results[name] = _result(check) if ready or name in _without_database else "not checked"
        ready = ready and results[name] == "ok"
    status = "ok" if ready else "unavailable"
    # A balancer keeps an instance that can still read: a failover makes all of them read-only.
    taken = _result(writes) if ready else "ok"
    if taken != "ok":
        status, results["writes"] = "read-only", taken
    body: dict[str, object] = {"status": status, "checks": results}
    if "verbose" in request.GET and ready:
        body["preflight"] = {name: word for read in _DETAILS for name, word in read()}
    return JsonResponse(body, status=200 if ready else 503)


def register(name: str, check: Callable[[], None]) -> None:
    """Add ``check`` to /readyz. It raises NotReady, and must not need the database."""
    CHECKS[name] = check
    _without_database.add(name)


def register_details(read: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Add the names and words that `read` yields to /readyz?verbose.

    Anyone can ask: words only, such as "ok", and no addresses or names. They do not change the
    status.
    """
    _DETAILS.append(read)


def _result(check: Callable[[], None]) -> str:
    from health_check.exceptions import HealthCheckException

    try:
        check()
    except (NotReady, HealthCheckException, DatabaseError) as failure:
        # Only the first line: the others name the database server's address, and anyone can ask.
        return str(failure).partition("\n")[0][:200] or type(failure).__name__
    return "ok"


def _database() -> None:
    from health_check.checks import Database  # takes 0.1 s, which commands do without

    Database().run()
    _sessions()


def _migrations() -> None:
    missing = unapplied()
    if missing:
        from health_check.exceptions import HealthCheckException

        raise HealthCheckException(f"not applied: {', '.join(missing)}. Run `manage.py migrate`.")


def unapplied() -> list[str]:
    """Return the migrations that are not applied, as "app.name"."""
    global _complete  # noqa: PLW0603 (threads may at worst do the same comparison)
    applied = frozenset(MigrationRecorder(connection).applied_migrations())
    if _complete is not None and _complete <= applied:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        _complete = applied
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def writes() -> None:
    """Raise NotReady with the reason if the database takes no writes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only'), pg_is_in_recovery()")
        read_only, standby = cursor.fetchone()
    if read_only == "on":
        why = "it is a standby" if standby else "it is set to read only"
        raise NotReady(f"the database refuses writes, because {why}. Reads work.")


def _sessions() -> None:
    with connection.cursor() as cursor:
        found = sessions.faults(cursor, settings.SESSION_NEEDS)
    limits = [each for each in found if each.name.endswith("_timeout")]
    if limits:
        raise NotReady(f"{limits[0]}: `manage.py check --database default` names the remedy.")


# The applied migrations with which nothing was missing. More of them cannot make one missing, so
# the graph of all migrations is built once, not for each probe.
_complete: frozenset[tuple[str, str]] | None = None
CHECKS: dict[str, Callable[[], None]] = {"database": _database, "migrations": _migrations}
_without_database: set[str] = set()
_DETAILS: list[Callable[[], Iterable[tuple[str, str]]]] = []
