"""Every setting comes from the environment, is in the table, and reports errors in one line."""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from stagenorm import env, settings
from tests import children

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "configuration.md"

PRODUCTION = {
    "DATABASE_URL": "postgresql://stagenorm:word@db.internal:5432/stagenorm",
    "DJANGO_SECRET_KEY": "k7Qp2vZ9xW4mB8nR3tY6uI1oL5aS0dF-gH_jK7zX2cV9bN4mQ8wE",
    "DJANGO_ALLOWED_HOSTS": "stages.example.com",
    "ALERTMANAGER_WEBHOOK_SECRETS": (
        "one-secret-of-at-least-thirty-two-letters,another-secret-of-at-least-thirty-two"
    ),
}


def manage(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` in an environment of these variables alone, with an empty data directory."""
    environment = {"PATH": os.environ["PATH"], "STAGENORM_DATA_DIR": str(home), **variables}
    command = [sys.executable, "-W", "error", "manage.py", *arguments]
    return children.run(command, cwd=ROOT, env=environment)


def test_the_table_in_the_documentation_is_the_one_the_reader_declares() -> None:
    shown = re.search(r"<!-- table -->\n(.*?)<!-- end -->", TABLE.read_text(), re.DOTALL)
    assert shown
    assert shown.group(1) == env.table(settings.read.variables)


def test_every_variable_that_the_settings_read_is_declared_once() -> None:
    names = [variable.name for variable in settings.read.variables]
    assert sorted(set(names)) == sorted(names)


def test_deploy_checks_are_clean_with_production_settings(tmp_path: Path) -> None:
    done = manage("check", "--deploy", "--fail-level", "INFO", home=tmp_path, **PRODUCTION)
    assert (done.returncode, done.stdout) == (
        0,
        "System check identified no issues (0 silenced).\n",
    ), done.stderr


@pytest.mark.parametrize("name", PRODUCTION)
def test_production_demands_each_variable_in_one_line_that_names_it(
    name: str, tmp_path: Path
) -> None:
    given = {other: value for other, value in PRODUCTION.items() if other != name}
    done = manage("check", home=tmp_path, **given)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is not set: ")
    assert done.stderr.count("\n") == 1


def test_production_without_any_variable_names_all_of_them(tmp_path: Path) -> None:
    done = manage("check", home=tmp_path)
    assert done.returncode == 1
    assert {line.split(" ")[0] for line in done.stderr.splitlines()} == set(PRODUCTION)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://db/stages"),
        ("DATABASE_URL", "postgresql://user:very-secret@host:port/stages"),
        ("DATABASE_URL", "postgresql://host/"),
        ("DATABASE_URL", "postgresql://host/stages?colour=red"),
        ("DJANGO_SECRET_KEY", "too-short-very-secret"),
        ("DJANGO_ALLOWED_HOSTS", ""),
        ("DJANGO_ALLOWED_HOSTS", "a,,b"),
        ("DJANGO_DEBUG", "maybe"),
        ("ALERTMANAGER_WEBHOOK_SECRETS", "very-secret"),
        (
            "ALERTMANAGER_WEBHOOK_SECRETS",
            PRODUCTION["ALERTMANAGER_WEBHOOK_SECRETS"] + ",very-secret",
        ),
        ("ALERTMANAGER_WEBHOOK_SECRETS", "change-me-change-me-change-me-very-secret"),
        ("ALERTMANAGER_WEBHOOK_SECRETS", "your-webhook-very-secret-of-32-letters-or-more"),
        ("ALERTMANAGER_WEBHOOK_SECRETS", "0123" * 10),
        ("DJANGO_SECRET_KEY", "django-insecure-" + "k7Qp2vZ9xW4mB8nR3tY6uI1oL5aS0dFgHjK7zX2c"),
        ("STAGE_VALIDATION_MODE", "Enforce"),
        ("STAGE_MODE_TTL_SECONDS", "0"),
        ("STAGE_MODE_TTL_SECONDS", "nan"),
        ("STAGE_REDIS_TIMEOUT_MS", "0"),
        ("STAGE_DEPRECATED_SINCE", "1 January"),
        ("SIMULATE_THROTTLE", "often"),
        ("SIMULATE_THROTTLE", "0/minute"),
        ("REDIS_URL", "localhost:6379"),
        ("LOG_LEVEL", "loud"),
        ("DJANGO_SCRIPT_NAME", "stages"),
        ("DJANGO_SCRIPT_NAME", "/stages/"),
        ("DJANGO_SCRIPT_NAME", "/?very-secret"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "1.5"),
    ],
)
def test_a_malformed_value_is_one_line_that_names_the_variable_and_keeps_the_value_to_itself(
    name: str, value: str, tmp_path: Path
) -> None:
    done = manage("check", home=tmp_path, **{**PRODUCTION, name: value})
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is malformed: ")
    assert done.stderr.count("\n") == 1
    assert "very-secret" not in done.stderr


@pytest.mark.parametrize("own", [{}, {"DJANGO_SCRIPT_NAME": "/other"}])
def test_a_path_that_only_the_server_would_know_is_refused(
    own: dict[str, str], tmp_path: Path
) -> None:
    done = manage("check", home=tmp_path, **PRODUCTION, SCRIPT_NAME="/stages", **own)
    assert done.returncode == 1
    assert done.stderr.startswith("SCRIPT_NAME is set alone: set DJANGO_SCRIPT_NAME to the same")


def test_development_makes_its_secrets_once_and_keeps_them_private(tmp_path: Path) -> None:
    first = dict(env.development_file(tmp_path))
    assert first == dict(env.development_file(tmp_path))
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    assert [place.name for place in tmp_path.iterdir()] == ["env"]
    assert len(set(first.values())) == 3


@pytest.mark.parametrize(
    "said", [{"DATABASE_URL": "postgresql://host/stages"}, {"DJANGO_DEBUG": "0"}]
)
def test_the_development_file_never_speaks_where_the_environment_does(
    said: dict[str, str], tmp_path: Path
) -> None:
    env.development_file(tmp_path)
    environment = dict(said)
    env.adopt_development_file(tmp_path, environment)
    assert environment == said


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:p%40ss@h:5433/d",
            {"USER": "u", "PASSWORD": "p@ss", "HOST": "h", "PORT": "5433", "NAME": "d"},
        ),
        (
            "postgres:///d?host=/run/pg&user=u",
            {"USER": "u", "PASSWORD": "", "HOST": "/run/pg", "PORT": "", "NAME": "d"},
        ),
    ],
)
def test_a_database_address_is_read_as_libpq_reads_it(url: str, expected: dict[str, str]) -> None:
    found = env.database_settings(url)
    assert {name: found[name] for name in expected} == expected


def test_tls_options_of_a_database_address_reach_the_driver() -> None:
    assert env.database_settings("postgresql://h/d?sslmode=verify-full")["OPTIONS"] == {
        "sslmode": "verify-full"
    }


def test_a_made_secret_is_never_taken_for_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["s4CQ-J_Y6oIi5XwxXXXw_bOzRTAVBvHrR5LLJE", "s4CQ-J_Y6oIi5Xwxw_bOzRTAVBvHrR5LLJE"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: next(drawn))
    assert env.make_secret() == "s4CQ-J_Y6oIi5Xwxw_bOzRTAVBvHrR5LLJE"
